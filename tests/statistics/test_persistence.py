from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cascade_otel.statistics.persistence import NO_SCORE, Persistence

ALL = np.ones(1, bool)


def scores(shifted: list[float], ended: list[float]) -> list[float]:
    rule = Persistence(1)
    return [
        float(rule.advance(np.array([a]), np.array([b]), ALL)[0]) for a, b in zip(shifted, ended, strict=True)
    ]


def test_sudden_evidence_scores_after_four_more_hours() -> None:
    shifted = [1.0] * 20 + [1e6] * 10
    found = scores(shifted, [0.0] * 30)
    assert max(found[:24]) < np.log(1e6) - 5
    assert found[24] == np.log(1e6)


def test_a_spike_never_scores() -> None:
    """Evidence jumps for three hours, then the shift is more likely to have ended than to stand."""
    shifted = [1.0] * 20 + [1e6] * 3 + [1e5] * 20
    ended = [0.1] * 20 + [1e5] * 3 + [1e6] * 20
    assert max(scores(shifted, ended)) < np.log(1e6) - 5


def test_evidence_that_grows_slowly_scores_at_once() -> None:
    evidence = np.arange(0, 15, 0.5)
    found = scores(list(np.exp(evidence)), [0.5 * odds for odds in np.exp(evidence)])
    assert np.allclose(found[9:], evidence[9:])


@given(st.lists(st.tuples(st.floats(0, 1e8), st.floats(0, 1e8)), min_size=1, max_size=40))
def test_the_rule_only_lowers_the_evidence(hours: list[tuple[float, float]]) -> None:
    found = scores(*map(list, zip(*hours, strict=True)))
    for score, (shifted, _) in zip(found, hours, strict=True):
        assert score <= max(np.log(max(shifted, 1e-30)), NO_SCORE)


def test_a_task_that_is_not_watched_waits() -> None:
    """A task that joins later scores as one that was watched from its own first hour."""
    rule, late = Persistence(2), []
    for hour in range(30):
        active = np.array([True, hour >= 10])
        late.append(rule.advance(np.array([1.0, 1e6]), np.zeros(2), active)[1])
    assert late[:10] == [NO_SCORE] * 10
    assert late[10:] == scores([1e6] * 20, [0.0] * 20)
