from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_otel.statistics.calibration import auroc, auroc_interval, brier, ece, effective, reliability

CALLS = st.lists(
    st.tuples(st.integers(0, 20).map(lambda cell: cell / 20), st.booleans()), min_size=1, max_size=60
)


@given(CALLS)
def test_auroc_is_the_share_of_pairs_in_order(calls: list[tuple[float, bool]]) -> None:
    right = [score for score, correct in calls if correct]
    wrong = [score for score, correct in calls if not correct]
    if not right or not wrong:
        assert math.isnan(auroc(*zip(*calls, strict=True)))
        return
    pairs = [(a > b) + 0.5 * (a == b) for a in right for b in wrong]
    assert auroc(*zip(*calls, strict=True)) == pytest.approx(np.mean(pairs))


@given(CALLS)
def test_auroc_does_not_depend_on_the_scale(calls: list[tuple[float, bool]]) -> None:
    score, correct = (np.array(column) for column in zip(*calls, strict=True))
    assert auroc(score, correct) == pytest.approx(auroc(np.exp(3 * score), correct), nan_ok=True)


WEIGHTED = st.lists(
    st.tuples(st.integers(0, 10).map(lambda cell: cell / 10), st.booleans(), st.integers(1, 5)),
    min_size=2,
    max_size=40,
)


@given(WEIGHTED)
def test_a_call_of_weight_n_counts_as_n_calls(calls: list[tuple[float, bool, int]]) -> None:
    score, correct, weight = (np.array(column) for column in zip(*calls, strict=True))
    copies = np.repeat(score, weight), np.repeat(correct, weight)
    for figure in (auroc, ece, brier):
        assert figure(score, correct, weight=weight) == pytest.approx(figure(*copies), nan_ok=True)


@given(WEIGHTED)
def test_turning_scores_or_labels_around_turns_the_auroc_around(
    calls: list[tuple[float, bool, int]],
) -> None:
    score, correct, weight = (np.array(column) for column in zip(*calls, strict=True))
    whole, (low, high) = auroc(score, correct, weight), auroc_interval(score, correct, weight)
    for turned in ((1 - score, correct), (score, ~correct)):
        assert auroc(*turned, weight) == pytest.approx(1 - whole, nan_ok=True)
        assert auroc_interval(*turned, weight) == pytest.approx((1 - high, 1 - low))
    assert 0 <= low <= high <= 1
    assert math.isnan(whole) or low - 1e-9 <= whole <= high + 1e-9


def test_a_handful_in_perfect_order_does_not_prove_it() -> None:
    low, high = auroc_interval([0.1, 0.2, 0.3, 0.7, 0.8, 0.9], [0, 0, 0, 1, 1, 1])
    assert (low < 0.9, high) == (True, 1)
    assert auroc_interval([0.5, 0.7], [0, 1]) == (0, 1)


def test_weights_of_a_few_heavy_calls_tell_as_much_as_those_few() -> None:
    assert effective(np.array([1.0] * 10)) == pytest.approx(10)
    assert effective(np.array([1000.0, 1000.0, 1.0, 1.0])) == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("share", [1.0, 0.2])
def test_nine_intervals_in_ten_hold_the_auroc_also_of_weighted_calls(share: float) -> None:
    """Wrong answers lie around .4, right ones around .6; of accepted calls only a share is labelled."""
    random, trials = np.random.default_rng(11), 400
    truth = 0.7602  # of two normals whose means lie one standard deviation apart
    held = 0
    for _ in range(trials):
        right = random.random(500) < 0.7
        score = random.normal(np.where(right, 0.6, 0.4), 0.2)
        kept = (score < 0.5) | (random.random(500) < share)
        weight = np.where(score < 0.5, 1.0, 1 / share)
        low, high = auroc_interval(score[kept], right[kept], weight[kept])
        held += low <= truth <= high
    assert 0.9 * trials - 20 <= held <= 0.9 * trials + 24


def test_ece_of_a_worked_example() -> None:
    """Two bins: (.8, .9] with gap .2 of two calls, (.9, 1] with gap 0 of two calls."""
    assert ece([0.9, 0.82, 1.0, 1.0], [1, 1, 1, 1]) == pytest.approx((0.1 + 0.18) / 4)
    assert ece([0.7, 0.7], [1, 0]) == pytest.approx(0.2)


def test_bins_are_closed_on_the_right() -> None:
    """A confidence of .3 lies in (.2, .3]; 0 lies in the first bin, 1 in the last."""
    table = reliability([0.0, 0.1, 0.3, 0.30000001, 0.7, 1.0], [1, 0, 1, 1, 0, 1])
    assert table.calls.tolist() == [2, 0, 1, 1, 0, 0, 1, 0, 0, 1]
    assert table.accuracy[0] == 0.5
    assert math.isnan(table.accuracy[1])


@given(CALLS, st.integers(1, 20))
def test_reliability_keeps_every_call_and_its_intervals_hold_the_accuracy(
    calls: list[tuple[float, bool]], bins: int
) -> None:
    table = reliability(*zip(*calls, strict=True), bins=bins)
    filled = table.calls > 0
    assert table.calls.sum() == len(calls)
    assert np.all((table.low <= table.accuracy)[filled] & (table.accuracy <= table.high)[filled])
    assert np.all((table.edges[:-1] - 1e-9 <= table.confidence)[filled])
    assert np.all((table.confidence <= table.edges[1:] + 1e-9)[filled])
    assert 0 <= ece(*zip(*calls, strict=True), bins=bins) <= 1


def test_bins_closed_on_the_left_are_told_apart() -> None:
    """The answer of confidence .9 moves from (.8, .9] to [.9, 1]."""
    assert ece([0.9, 1.0, 1.0], [0, 1, 1]) == pytest.approx(0.9 / 3)
    assert ece([0.9, 1.0, 1.0], [0, 1, 1], closed="left") == pytest.approx(2.9 / 3 - 2 / 3)
    assert reliability([0.0, 0.9, 1.0], [0, 0, 1], closed="left").calls.tolist() == [1, *[0] * 8, 2]
    assert reliability([0.0, 0.9, 1.0], [0, 0, 1]).calls.tolist() == [1, *[0] * 7, 1, 1]


def test_brier_is_the_mean_squared_gap() -> None:
    assert brier([1.0, 0.5], [True, False]) == pytest.approx(0.125)


def test_no_calls_have_no_figures() -> None:
    assert all(math.isnan(figure([], [])) for figure in (auroc, ece, brier))


@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [
        ([0.5], [1, 0], "one length"),
        ([float("nan")], [1], "leave out"),
        ([1.5], [1], r"\[0, 1\]"),
    ],
)
def test_what_cannot_be_judged_is_refused(confidence: list[float], correct: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ece(confidence, correct)


def test_figures_of_published_logs_are_reproduced(published_logs: Path) -> None:
    """AUROC, ECE and Brier score of every published cell to four decimals, of heaped confidences too.

    Their bins are closed on the left.
    """
    pairs = pd.read_parquet(published_logs / "pairs.parquet")
    summary = pd.read_csv(published_logs / "summary.csv")
    groups = pairs.groupby(["dataset", "split", "cheap_model", "strong_model", "confidence_kind"])
    compared: dict[str, int] = {}
    for row in summary.itertuples():
        calls = groups.get_group((row.dataset, row.split, row.cheap, row.strong, row.confidence_kind))
        calls = calls if row.task == "ALL" else calls[calls.task == row.task]
        both = calls.cheap_confidence, calls.cheap_correct
        if row.confidence_kind == "none":
            continue
        figures = [auroc(*both), ece(*both, closed="left"), brier(*both)]
        assert figures == pytest.approx([row.auroc, row.ece10, row.brier], abs=5e-5, nan_ok=True), row
        compared[row.dataset] = compared.get(row.dataset, 0) + 1
    assert compared["lifeeval_calibration"] == 36
    assert compared["zellinger_mmlu"] > 90
