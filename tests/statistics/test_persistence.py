from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cascade_otel.statistics.detector.persistence import NO_SCORE, Standing, judge

ALL = np.ones(1, bool)


def scores(shifted: list[float], ended: list[float]) -> list[float]:
    known, found = Standing.fresh(1), []
    for a, b in zip(shifted, ended, strict=True):
        verdict, known = judge(known, np.array([a]), np.array([b]), ALL, np.array([10.0]))
        found.append(float(verdict.score[0]))
    return found


def test_sudden_evidence_scores_after_seven_hours() -> None:
    found = scores([1.0] * 20 + [1e6] * 10, [0.0] * 30)
    assert max(found[:26]) <= 0
    assert found[26:] == [np.log(1e6)] * 4


def test_evidence_that_has_been_strong_for_long_scores_at_once() -> None:
    evidence = np.arange(0, 15, 0.5)
    found = scores(list(np.exp(evidence)), [0.1 * odds for odds in np.exp(evidence)])
    assert np.allclose(found[17:], evidence[17:])
    assert max(found[:17]) <= 0


def test_a_spike_never_scores() -> None:
    """Evidence jumps for six hours, then the shift is more likely to have ended than to stand."""
    shifted = [1.0] * 20 + [1e6] * 6 + [1e5] * 20
    ended = [0.1] * 20 + [1e5] * 6 + [1e6] * 20
    assert max(scores(shifted, ended)) <= 0


def test_a_shift_that_may_have_ended_does_not_score() -> None:
    assert max(scores([1e6] * 20, [0.3e6] * 20)) <= 0
    assert scores([1e6] * 20, [0.2e6] * 20)[-1] == np.log(1e6)


@given(st.lists(st.tuples(st.floats(0, 1e8), st.floats(0, 1e8)), min_size=1, max_size=40))
def test_the_rule_only_lowers_the_evidence(hours: list[tuple[float, float]]) -> None:
    found = scores(*map(list, zip(*hours, strict=True)))
    for score, (shifted, _) in zip(found, hours, strict=True):
        assert score <= max(np.log(max(shifted, 1e-30)), NO_SCORE)


def test_a_task_that_is_not_watched_waits() -> None:
    """A task that joins later scores as one that was watched from its own first hour."""
    known, late = Standing.fresh(2), []
    for hour in range(30):
        active = np.array([True, hour >= 10])
        verdict, known = judge(known, np.array([1.0, 1e6]), np.zeros(2), active, np.full(2, 10.0))
        late.append(verdict.score[1])
    assert late[:10] == [NO_SCORE] * 10
    assert late[10:] == scores([1e6] * 20, [0.0] * 20)


def test_where_little_is_needed_less_is_strong() -> None:
    """A page on 3 nats (a generous budget for one task) waits for seven hours of 3 nats."""
    known, watched = Standing.fresh(1), np.ones(1, bool)
    pages = []
    for _ in range(10):
        verdict, known = judge(known, np.exp([3.5]), np.zeros(1), watched, np.array([3.0]))
        pages.append(bool(verdict.page[0]))
    assert pages == [False] * 6 + [True] * 4
