"""Votes and a scorer's logit."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from cascade_otel.confidence import Vote, from_logit, votes


def test_the_share_of_the_most_frequent_answer() -> None:
    assert votes(["a", "b", "a", "a"]) == Vote("a", 0.75, 3, 4, tied=False)
    assert votes(iter([7])) == Vote(7, 1.0, 1, 1, tied=False)


def test_a_tie_goes_to_the_answer_that_appeared_first_and_is_visible() -> None:
    assert votes(["b", "a", "a", "b", "c"]) == Vote("b", 0.4, 2, 5, tied=True)
    assert votes(["c", "a", "b", "a"]).tied is False


def test_no_answer_is_a_vote_for_nothing() -> None:
    assert votes(["a", None, None, "b", "a"]) == Vote("a", 0.4, 2, 5, tied=False)
    assert votes([None, None]) == Vote(None, 0.0, 0, 2, tied=False)


def test_without_votes_there_is_no_answer_and_no_confidence() -> None:
    assert votes([]) == Vote(None, None, 0, 0, tied=False)


def test_a_key_says_which_answers_are_the_same_and_the_first_of_them_is_given() -> None:
    assert votes(["Paris", "paris", "Lyon"], key=str.casefold) == Vote("Paris", 2 / 3, 2, 3, tied=False)
    labels: list[dict[str, Any]] = [{"label": "x", "why": 1}, {"label": "x", "why": 2}, {"label": None}]
    assert votes(labels, key=lambda one: one["label"]) == Vote(labels[0], 2 / 3, 2, 3, tied=False)


@given(st.lists(st.one_of(st.none(), st.integers(0, 4))))
def test_votes_agree_with_a_count(answers: list[int | None]) -> None:
    vote = votes(answers)
    counted = Counter(answer for answer in answers if answer is not None)
    assert (vote.count, vote.total) == (max(counted.values(), default=0), len(answers))
    assert vote.tied == (list(counted.values()).count(vote.count) > 1)
    if answers:
        assert vote.confidence == vote.count / len(answers)
    if vote.answer is not None:
        assert counted[vote.answer] == vote.count
        leading = [answer for answer in answers if answer is not None and counted[answer] == vote.count]
        assert leading[0] == vote.answer


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ("aab", TypeError, "several answers"),
        ({"a": 2}, TypeError, "several answers"),
        ([["a"]], TypeError, "key=lambda"),
        ([math.nan, 1.0], ValueError, "None for no answer"),
        (7, TypeError, "not iterable"),
    ],
)
def test_what_cannot_be_counted_is_refused(wrong: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        votes(wrong)


def test_an_error_of_the_key_is_its_own() -> None:
    with pytest.raises(KeyError):
        votes([{}], key=lambda answer: str(answer["label"]))


@given(st.floats(-1e300, 1e300), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_a_logit_becomes_scipys_probability(logit: float, temperature: float, bias: float) -> None:
    value = from_logit(logit, temperature=temperature, bias=bias)
    assert 0.0 <= value <= 1.0
    assert value == pytest.approx(float(expit(logit / temperature + bias)))


def test_a_logit_by_hand_and_of_numpy() -> None:
    assert from_logit(0.0) == 0.5
    assert from_logit(math.log(3.0)) == pytest.approx(0.75)
    assert from_logit(4.0, temperature=2.0, bias=-2.0) == 0.5
    assert type(from_logit(np.float32(1.5))) is float


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"logit": math.nan}, ValueError),
        ({"logit": -math.inf}, ValueError),
        ({"logit": 10**400}, ValueError),
        ({"logit": "1"}, TypeError),
        ({"logit": True}, TypeError),
        ({"logit": 1.0, "temperature": 0.0}, ValueError),
        ({"logit": 1.0, "temperature": -1.0}, ValueError),
        ({"logit": 1.0, "bias": math.inf}, ValueError),
    ],
)
def test_a_logit_that_is_no_number_is_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="arrived where"):
        from_logit(**arguments)


def test_a_logit_too_large_for_its_temperature_is_still_a_probability() -> None:
    assert from_logit(1e308, temperature=1e-5) == 1.0
    assert from_logit(-1e308, temperature=1e-5) == 0.0
