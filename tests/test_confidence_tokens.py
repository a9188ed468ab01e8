"""Token probabilities and P(True) against reference values of numpy and scipy, and at their edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import gmean

from cascade_otel import confidence

SCORES: list[Callable[[Any], float | None]] = [
    confidence.mean_probability,
    confidence.min_probability,
    confidence.sequence_probability,
    confidence.geometric_mean_probability,
    lambda source: confidence.quantile_probability(source, 0.3),
]
LOGPROBS = st.lists(st.floats(max_value=0.0, allow_nan=False), min_size=1)


@pytest.mark.parametrize("seed", range(20))
def test_scores_are_those_of_numpy_and_scipy(seed: int) -> None:
    p = np.random.default_rng(seed).beta(4, 1, size=1 + seed * 3)
    q = float(np.random.default_rng(seed).uniform())
    logprobs = list(np.log(p))
    assert confidence.mean_probability(logprobs) == pytest.approx(p.mean())
    assert confidence.min_probability(logprobs) == pytest.approx(p.min())
    assert confidence.sequence_probability(logprobs) == pytest.approx(p.prod())
    assert confidence.geometric_mean_probability(logprobs) == pytest.approx(gmean(p))
    assert confidence.quantile_probability(logprobs, q) == pytest.approx(np.quantile(p, q))


def test_by_hand() -> None:
    logprobs = [math.log(0.9), math.log(0.4), math.log(0.1)]
    assert confidence.mean_probability(logprobs) == pytest.approx(1.4 / 3)
    assert confidence.sequence_probability(logprobs) == pytest.approx(0.036)
    assert confidence.geometric_mean_probability(logprobs) == pytest.approx(0.036 ** (1 / 3))
    assert confidence.quantile_probability(logprobs, 0.25) == pytest.approx(0.25)
    assert confidence.quantile_probability(logprobs, 0) == confidence.min_probability(logprobs)
    assert confidence.quantile_probability(logprobs, 1) == pytest.approx(0.9)


@given(LOGPROBS)
def test_every_score_lies_between_the_least_likely_token_or_0_and_1(logprobs: list[float]) -> None:
    for score in SCORES:
        value = score(logprobs)
        assert value is not None
        assert 0.0 <= value <= 1.0
    least = confidence.min_probability(logprobs)
    mean = confidence.mean_probability(logprobs)
    geometric = confidence.geometric_mean_probability(logprobs)
    sequence = confidence.sequence_probability(logprobs)
    assert least is not None
    assert mean is not None
    assert geometric is not None
    assert sequence is not None
    assert sequence <= least + 1e-12
    assert least <= geometric + 1e-12
    assert geometric <= mean + 1e-12


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("unlikely", [-9999.0, -math.inf, -1e308, np.float32("-inf")])
def test_a_token_of_no_probability_counts_0(score: Callable[[Any], float | None], unlikely: float) -> None:
    assert score([unlikely]) == 0.0


@pytest.mark.parametrize("score", SCORES)
def test_rounding_above_probability_1_is_clipped(score: Callable[[Any], float | None]) -> None:
    assert score([1e-9, 5e-7, np.float32(1e-7)]) == 1.0


@pytest.mark.parametrize("score", [*SCORES, confidence.margin, confidence.p_true])
@pytest.mark.parametrize("nothing", [[], (), None, np.array([])])
def test_without_tokens_there_is_no_score(score: Callable[[Any], float | None], nothing: Any) -> None:
    assert score(nothing) is None


@pytest.mark.parametrize("score", SCORES)
def test_arrays_are_sequences(score: Callable[[Any], float | None]) -> None:
    assert score(np.array([-0.5, -0.25], dtype=np.float64)) == score([-0.5, -0.25])


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ([math.nan], ValueError, "log-probability"),
        ([math.inf], ValueError, "log-probability"),
        ([0.7, 0.9], ValueError, r"math\.log"),
        ([-(10**400)], ValueError, "beyond every float"),
        ([True], TypeError, "a bool arrived"),
        (["-0.1"], TypeError, "a str arrived"),
        ([None], TypeError, "a NoneType arrived"),
        ([{"token": "a", "logprob": None}], TypeError, "arrived"),
        ([[-0.1, -0.2]], TypeError, "only margin and p_true"),
        ("0.5", TypeError, r"choices\[0\]"),
        (-0.5, TypeError, "a float arrived"),
        ({}, TypeError, "a dict arrived"),
        (object(), TypeError, "an? object arrived"),
    ],
)
def test_what_is_no_log_probability_is_refused(
    score: Callable[[Any], float | None], wrong: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        score(wrong)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan, "0.5", None])
def test_a_quantile_lies_between_0_and_1(q: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="a quantile"):
        confidence.quantile_probability([-0.1], q)


def test_margin_is_the_mean_gap_between_the_two_likeliest() -> None:
    position = {"Paris": math.log(0.5), "Lyon": math.log(0.3), "Nice": math.log(0.1)}
    assert confidence.margin([position]) == pytest.approx(0.2)
    assert confidence.margin([[math.log(0.1), math.log(0.3), math.log(0.5)]]) == pytest.approx(0.2)
    assert confidence.margin([position, {"a": 0.0, "b": -9999.0}]) == pytest.approx(0.6)
    assert confidence.margin(np.log([[0.5, 0.3], [0.6, 0.4]])) == pytest.approx(0.2)


@pytest.mark.parametrize("short", [[[-0.1, -3.0], [-0.1]], [-0.1, -0.2], [{"token": "a", "logprob": -0.1}]])
def test_margin_is_unknown_where_a_token_has_no_two_alternatives(short: list[Any]) -> None:
    assert confidence.margin(short) is None


@given(st.lists(st.lists(st.floats(max_value=0.0, allow_nan=False), min_size=2), min_size=1))
def test_a_margin_lies_between_0_and_1(positions: list[list[float]]) -> None:
    value = confidence.margin(positions)
    assert value is not None
    assert 0.0 <= value <= 1.0


def test_p_true_sums_the_spellings_of_a_word() -> None:
    listed = {"Yes": -0.5, " yes": -2.0, "▁YES\n": -4.0, "No": -1.5, "Ġno": -3.0, "Maybe": -6.0}
    said_yes, said_no = logsumexp([-0.5, -2.0, -4.0]), logsumexp([-1.5, -3.0])
    expected = math.exp(said_yes - logsumexp([said_yes, said_no]))
    assert confidence.p_true(listed) == pytest.approx(expected)
    assert confidence.p_true([listed]) == pytest.approx(expected)


def test_p_true_keeps_its_precision_where_both_words_are_unlikely() -> None:
    assert confidence.p_true({"True": -800.0, "False": -801.0}) == pytest.approx(1 / (1 + math.exp(-1)))
    assert confidence.p_true({"True": 0.0, "False": -700.0}) == 1.0
    assert confidence.p_true({"True": -700.0, "False": 0.0}) == pytest.approx(math.exp(-700))


def test_p_true_with_words_of_ones_own() -> None:
    listed = {"(A": math.log(0.6), "(B": math.log(0.2)}
    assert confidence.p_true(listed, affirmative=["(a"], negative=["(b"]) == pytest.approx(0.75)
    assert confidence.p_true(listed) is None


def test_p_true_never_looks_surer_than_a_short_list_allows() -> None:
    """A negative word that is not listed has at most what is left, and no more than the least listed."""
    assert confidence.p_true({"Yes": math.log(0.6)}) == pytest.approx(0.6)
    assert confidence.p_true({"Yes": math.log(0.6), "I": math.log(0.05)}) == pytest.approx(0.6 / 0.65)
    assert confidence.p_true({"Yes": math.log(0.6), "I": math.log(0.3)}) == pytest.approx(0.6 / 0.7)
    assert confidence.p_true({"Yes": 0.0}) == 1.0
    assert confidence.p_true({"No": math.log(0.6)}) == 0.0
    assert confidence.p_true({"Yes": -0.1, "No": -9999.0}) == 1.0
    assert confidence.p_true({"Yes": -9999.0, "No": -9999.0}) is None


@given(
    st.dictionaries(
        st.sampled_from(["yes", "Yes", " no", "NO", "true", "I", ""]),
        st.floats(max_value=0.0, allow_nan=False),
    )
)
def test_p_true_is_none_or_a_probability(listed: dict[str, float]) -> None:
    value = confidence.p_true(listed or None)
    assert value is None or 0.0 <= value <= 1.0


def test_p_true_refuses_numbers_without_tokens_and_words_on_both_sides() -> None:
    with pytest.raises(TypeError, match="token to log-probability"):
        confidence.p_true([-0.1, -0.2])
    with pytest.raises(ValueError, match="affirmative and as negative"):
        confidence.p_true({"yes": -0.1}, negative=["Yes", "no"])
    with pytest.raises(TypeError, match="several words"):
        confidence.p_true({"yes": -0.1}, affirmative="yes")
    with pytest.raises(ValueError, match="log-probability"):
        confidence.p_true({"yes": math.nan})
