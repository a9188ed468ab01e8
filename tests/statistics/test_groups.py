from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_otel.statistics.detector import Filter, Reference, learn, log_needed
from cascade_otel.statistics.detector.groups import Groups, GroupStep, Odds, e_bh

TASKS = 12


def odds(log_evidence: np.ndarray, watched: np.ndarray | None = None) -> Odds:
    watched = np.ones(len(log_evidence), bool) if watched is None else watched
    return Odds(np.exp(log_evidence) * watched, np.zeros(len(log_evidence)), watched)


def after(groups: Groups, evidence: np.ndarray, hours: int = 8) -> GroupStep:
    steps = [groups.advance(odds(evidence)) for _ in range(hours)]
    return steps[-1]


def test_a_group_pages_on_what_none_of_its_tasks_pages_on() -> None:
    """Every task has odds of 8 nats: enough for the group, which needs 7, and not for a task of 200."""
    groups = Groups([np.arange(TASKS)], 7.0)
    first = groups.advance(odds(np.full(TASKS, 8.0)))
    assert first.suspect[0]
    assert not first.page[0]
    found = after(groups, np.full(TASKS, 8.0))
    assert found.page[0]
    assert found.log_evidence[0] >= 7.0


def test_one_task_however_certain_does_not_make_its_group_page() -> None:
    evidence = np.full(TASKS, -1.0)
    evidence[3] = 100
    found = after(Groups([np.arange(TASKS), np.array([3, 4])], 7.0), evidence)
    assert not found.page.any()
    evidence[4] = 100
    assert after(Groups([np.arange(TASKS)], 7.0), evidence).page[0]


def test_a_group_goes_on_from_its_memory() -> None:
    whole, part = Groups([np.arange(TASKS)], 7.0), Groups([np.arange(TASKS)], 7.0)
    for _ in range(6):
        whole.advance(odds(np.full(TASKS, 8.0)))
        part.advance(odds(np.full(TASKS, 8.0)))
    rebuilt = Groups([np.arange(TASKS)], 7.0, part.memory)
    a, b = (groups.advance(odds(np.full(TASKS, 8.0))) for groups in (whole, rebuilt))
    assert a.page[0]
    assert a.page[0] == b.page[0]
    assert a.score[0] == b.score[0]


def test_tasks_that_are_not_watched_are_left_out() -> None:
    watched = np.arange(TASKS) >= 2
    evidence = np.where(watched, 8.0, 0.0)
    groups = Groups([np.arange(TASKS), np.array([0, 2])], 7.0)
    for _ in range(8):
        found = groups.advance(odds(evidence, watched))
    assert found.page.tolist() == [True, False]
    assert found.log_evidence[1] == 0


def test_groups_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two"):
        Groups([np.array([1])], 7.0)
    memory = Groups([np.arange(2)], 7.0).memory
    with pytest.raises(ValueError, match="of 1 groups, not 2"):
        Groups([np.arange(2), np.arange(3)], 7.0, memory)


def test_e_bh_lists_as_many_as_the_evidence_carries() -> None:
    """Level .1 of 4: one alone needs 40, two need 20 each, four need 10 each."""
    assert e_bh(np.log([39, 1, 1, 1]), 0.1).tolist() == [False] * 4
    assert e_bh(np.log([41, 1, 1, 1]), 0.1).tolist() == [True, False, False, False]
    assert e_bh(np.log([21, 1, 21, 1]), 0.1).tolist() == [True, False, True, False]
    assert e_bh(np.log([11, 11, 11, 11]), 0.1).all()
    with pytest.raises(ValueError, match="level"):
        e_bh(np.zeros(3), 1.0)


def test_e_bh_lists_falsely_no_more_often_than_its_level() -> None:
    """Likelihood ratios of normals, 30 of 100 shifted, 400 repetitions: the mean share is within .2."""
    random = np.random.default_rng(3)
    shares = []
    for _ in range(400):
        shifted = np.arange(100) < 30
        x = random.normal(2.5 * shifted, 1)
        listed = e_bh(2.5 * x - 2.5**2 / 2, 0.2)
        shares.append((listed & ~shifted).sum() / max(listed.sum(), 1))
    assert np.mean(shares) <= 0.2
    assert np.mean(shares) > 0


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=30), st.floats(0.01, 0.5))
def test_e_bh_lists_from_the_top(evidence: list[float], level: float) -> None:
    values = np.array(evidence)
    listed = e_bh(values, level)
    if listed.any() and not listed.all():
        assert values[listed].min() >= values[~listed].max()


def test_a_step_of_the_whole_fleet_is_found_before_its_tasks_are(make_world: Callable[..., object]) -> None:
    """40 tasks go from .20 to .30 at the same hour: the group pages when few of its tasks have."""
    world = make_world(40, 41, wobble=0.1, to=0.3, change=np.full(40, 96))
    split = world.reference_hours
    learned = world.calls[:, :split], world.hits[:, :split]
    null = learn(Reference(world.hours[:split], *learned, [np.arange(40)], np.ones((40, split), bool)))
    detector = Filter(null, np.arange(40), np.ones(40, bool), log_needed(40, 720, 1, 0.5))
    groups = Groups([np.arange(40)], log_needed(1, 720, 1, 0.03))
    paged, by_group = np.zeros(40, bool), None
    for hour in range(14 * 24):
        at = split + hour
        step = detector.advance(int(world.hours[at]), world.calls[:, at], world.hits[:, at])
        found = groups.advance(step)
        if by_group is None:
            paged |= step.page
            by_group = hour if found.page[0] else None
    assert by_group is not None
    assert 96 <= by_group < 132
    assert paged.mean() < 0.25
