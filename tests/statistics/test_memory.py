"""A filter can be put down and taken up again, whole or task by task."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest

from cascade_otel.statistics.detector.filter import Filter, Step
from cascade_otel.statistics.detector.memory import Memory
from cascade_otel.statistics.detector.null_model import Null, Reference, learn

NEEDED = 6.0
GROUPS = np.array([0, 0, 1, 2, 2, 2])


@pytest.fixture(scope="module")
def world(make_world: Callable[..., object]) -> object:
    return make_world(6, 31, traffic=40, to=0.5, watch_days=8)


@pytest.fixture(scope="module")
def null(world: object) -> Null:
    split = world.reference_hours
    calls, hits = world.calls[:, :split], world.hits[:, :split]
    return learn(Reference(world.hours[:split], calls, hits, [np.arange(6)], np.ones(calls.shape, bool)))


def run(
    detector: Filter, world: object, start: int, end: int, streams: np.ndarray | None = None
) -> list[Step]:
    chosen = np.arange(6) if streams is None else streams
    places = world.reference_hours + np.arange(start, end)
    return [
        detector.advance(int(world.hours[at]), world.calls[chosen, at], world.hits[chosen, at])
        for at in places
    ]


def new(null: Null, groups: np.ndarray = GROUPS, memory: Memory | None = None) -> Filter:
    return Filter(null, groups, np.ones(len(groups), bool), NEEDED, memory)


def assert_same(steps: list[Step], others: list[Step], tasks: slice | np.ndarray = slice(None)) -> None:
    for step, other in zip(steps, others, strict=True):
        for field in fields(Step):
            assert np.array_equal(getattr(step, field.name)[tasks], getattr(other, field.name)), field.name


def test_a_filter_rebuilt_from_saved_memory_gives_the_same_steps(world: object, null: Null) -> None:
    """The memory goes through numpy.savez, in the middle of a shift."""
    detector = new(null)
    before = run(detector, world, 0, 115)
    assert before[-1].log_evidence.max() > 3
    file = io.BytesIO()
    np.savez(file, **vars(detector.memory))
    file.seek(0)
    loaded = dict(np.load(file))
    rebuilt = new(null, memory=Memory(**{**loaded, "hour": int(loaded["hour"])}))
    steps = run(detector, world, 115, 192)
    assert any(step.page.any() for step in steps)
    assert_same(steps, run(rebuilt, world, 115, 192))


def test_a_memory_is_not_changed_by_later_hours(world: object, null: Null) -> None:
    detector = new(null)
    run(detector, world, 0, 100)
    kept = detector.memory
    first = run(detector, world, 100, 150)
    detector.restore(kept)
    assert_same(first, run(detector, world, 100, 150))


def test_tasks_can_be_taken_out_and_put_together(world: object, null: Null) -> None:
    """Task 2 and then task 0 go on by themselves, and as one."""
    detector = new(null)
    run(detector, world, 0, 110)
    tasks, streams = np.array([2, 0]), np.array([3, 4, 5, 0, 1])
    taken = detector.memory.take(tasks)
    assert taken.groups.tolist() == [0, 0, 0, 1, 1]
    joined = Memory.join([detector.memory.take([2]), detector.memory.take([0])])
    learned = Null.join([null.take([3, 4, 5]), null.take([0, 1])])
    steps = run(detector, world, 110, 140)
    for memory, model in ((taken, null.take(streams)), (joined, learned)):
        part = new(model, np.array([0, 0, 0, 1, 1]), memory)
        assert_same(steps, run(part, world, 110, 140, streams), tasks)


def test_memories_that_do_not_fit_are_refused(world: object, null: Null) -> None:
    detector = new(null)
    earlier = detector.memory
    run(detector, world, 0, 1)
    with pytest.raises(ValueError, match="one and the same hour"):
        Memory.join([earlier, detector.memory])
    with pytest.raises(ValueError, match="6 streams of 3 tasks, not of these 3 of 2"):
        new(null.take([0, 1, 2]), np.array([0, 0, 1]), earlier)
    with pytest.raises(ValueError, match="at least one"):
        Null.join([])


def test_what_a_page_needs_may_change_on_the_way(world: object, null: Null) -> None:
    detector = new(null)
    quiet = run(detector, world, 0, 130)[-1]
    detector.log_needed = quiet.log_evidence.max() + 50
    assert not run(detector, world, 130, 131)[0].page.any()
