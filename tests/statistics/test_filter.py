from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import expit

from cascade_otel.statistics.detector.filter import Filter
from cascade_otel.statistics.detector.grid import DAY_NODES, LEVEL_NODES
from cascade_otel.statistics.detector.null_model import Null, Reference, Settings, learn
from cascade_otel.statistics.detector.wobble import day_transition

MIDNIGHT = 20_000 * 24
NEVER = 60.0


def simple_null(streams: int, settings: Settings | None = None, base: float = -1.0) -> Null:
    """A known null: day effects of .05 (usual), .1 and .2, no rhythm, no bursts."""
    return Null(
        base=np.full((streams, 24), base),
        week=np.zeros((streams, 7)),
        dispersion=np.zeros(streams),
        sigma=np.tile([0.05, 0.1, 0.2], (streams, 1)),
        weights=np.tile([0.5, 0.43, 0.07], (streams, 1)),
        phi=np.zeros(streams),
        turn=np.zeros(streams, int),
        level_se=np.full(streams, 0.05),
        rate=np.full(streams, float(expit(base))),
        settings=settings or Settings(),
    )


def single(streams: int, null: Null, needed: float = NEVER) -> Filter:
    return Filter(null, np.arange(streams), np.ones(streams, bool), needed)


def test_evidence_is_a_shiryaev_roberts_sum() -> None:
    """Counts drawn from the null itself, its priors included: after t hours the mean odds are t."""
    random = np.random.default_rng(11)
    streams, null = 20_000, simple_null(20_000, Settings(spikes=0))
    _, law = day_transition(DAY_NODES, 0.0, 6)
    level_law = np.exp(-(LEVEL_NODES**2) / 2)
    sigma = random.choice(null.sigma[0], streams, p=null.weights[0])
    level = 0.05 * random.choice(LEVEL_NODES, streams, p=level_law / level_law.sum())
    rate = expit(-1 + level + sigma * random.choice(DAY_NODES, streams, p=law))
    detector = single(streams, null)
    for hour in range(1, 6):
        step = detector.advance(MIDNIGHT + hour, np.full(streams, 3.0), random.binomial(3, rate))
        odds = np.exp(step.log_evidence)
        assert odds.mean() == pytest.approx(hour, abs=4 * odds.std() / np.sqrt(streams))


def test_a_shift_is_suspect_before_it_pages_and_ends_when_it_is_over() -> None:
    detector = single(1, simple_null(1), 8.0)
    calls = np.full(1, 60.0)
    usual, shifted = np.round(60 * expit(np.array([-1.0]))), np.round(60 * expit(np.array([0.0])))
    steps = [detector.advance(MIDNIGHT + hour, calls, usual) for hour in range(48)]
    assert not any(step.suspect[0] or step.page[0] or step.ended[0] for step in steps)
    steps = [detector.advance(MIDNIGHT + 48 + hour, calls, shifted) for hour in range(48)]
    suspect, page = [step.suspect[0] for step in steps], [step.page[0] for step in steps]
    assert suspect.index(True) < page.index(True) < 24
    assert page[-1]
    assert not steps[-1].ended[0]
    steps = [detector.advance(MIDNIGHT + 96 + hour, calls, usual) for hour in range(72)]
    assert steps[-1].ended[0]
    assert not steps[-1].page[0]


def test_one_wild_hour_is_no_evidence() -> None:
    detector = single(1, simple_null(1), 8.0)
    calls = np.full(1, 100.0)
    steps = [
        detector.advance(MIDNIGHT + hour, calls, np.full(1, 80.0 if hour == 30 else 27.0))
        for hour in range(72)
    ]
    assert max(step.log_evidence[0] for step in steps) < 8
    assert not any(step.page[0] for step in steps)


def test_a_dead_cheap_model_pages_within_a_day() -> None:
    """Every call a hit: each hour alone could be a spike, twelve of them cannot."""
    detector = single(1, simple_null(1), 12.0)
    pages = [
        hour
        for hour in range(48)
        if detector.advance(MIDNIGHT + hour, np.full(1, 50.0), np.full(1, 13.0 if hour < 24 else 50.0)).page[
            0
        ]
    ]
    assert 24 < pages[0] < 36


def test_streams_of_a_task_are_averaged_and_unused_ones_left_out() -> None:
    calls, hits = np.full(3, 50.0), np.array([25.0, 13.0, 50.0])
    null = simple_null(3)
    alone = single(3, null)
    pair = Filter(null, np.array([0, 0, 0]), np.array([True, True, False]), NEVER)
    for hour in range(5):
        odds = np.exp(alone.advance(MIDNIGHT + hour, calls, hits).log_evidence)
        together = pair.advance(MIDNIGHT + hour, calls, hits).log_evidence
    assert together[0] == pytest.approx(np.log((odds[0] + odds[1]) / 2), rel=1e-5)


def test_a_task_whose_watch_begins_later_is_as_one_watched_alone() -> None:
    random = np.random.default_rng(2)
    hits = random.binomial(40, 0.4, (60, 2)).astype(float)
    both, late = single(2, simple_null(2)), single(1, simple_null(1))
    for hour in range(60):
        active = np.array([True, hour >= 31])
        step = both.advance(MIDNIGHT + hour, np.full(2, 40.0), hits[hour], active)
        if hour < 31:
            assert step.log_evidence[1] == 0
            assert not any(field[1] for field in (step.suspect, step.page, step.ended))
        else:
            alone = late.advance(MIDNIGHT + hour, np.full(1, 40.0), hits[hour, 1:])
            assert step.log_evidence[1] == pytest.approx(alone.log_evidence[0], abs=1e-3)
            assert step.score[1] == pytest.approx(alone.score[0], abs=1e-3)


def test_budgets_may_differ_between_tasks() -> None:
    null = simple_null(2)
    detector = Filter(null, np.arange(2), np.ones(2, bool), np.array([4.0, 60.0]))
    for hour in range(48):
        step = detector.advance(MIDNIGHT + hour, np.full(2, 50.0), np.full(2, 28.0))
    assert step.page.tolist() == [True, False]


def test_hours_without_calls_add_little_evidence() -> None:
    """Nothing is learned in a week of silence: the odds stay near one chance per hour."""
    detector = single(1, simple_null(1))
    for hour in range(168):
        step = detector.advance(MIDNIGHT + hour, np.zeros(1), np.zeros(1))
    assert step.log_evidence[0] == pytest.approx(np.log(168), abs=0.01)


def test_gaps_of_days_are_passed_over() -> None:
    detector = single(1, simple_null(1))
    detector.advance(MIDNIGHT, np.full(1, 20.0), np.full(1, 5.0))
    step = detector.advance(MIDNIGHT + 24 * 400, np.full(1, 20.0), np.full(1, 5.0))
    assert np.isfinite(step.log_evidence[0])


def test_counts_of_any_size_leave_the_state_finite() -> None:
    detector, paged = single(4, simple_null(4), 12.0), np.zeros(4, bool)
    for hour in range(100):
        calls = np.array([1e6, 1e6, 1.0, 0.0])
        step = detector.advance(MIDNIGHT + hour, calls, calls * np.array([1, 0, 1, 0]))
        paged |= step.page
        assert np.all(np.isfinite(step.log_evidence))
    assert paged.tolist() == [True, True, True, False]


def test_hours_must_ascend_and_shapes_must_fit(make_world: Callable[..., object]) -> None:
    world = make_world(2, 1)
    reference = Reference(
        world.hours[:336], world.calls[:, :336], world.hits[:, :336], [np.arange(2)], np.ones((2, 336), bool)
    )
    null = learn(reference)
    with pytest.raises(ValueError, match="one entry per stream"):
        Filter(null, np.arange(3), np.ones(3, bool), 10.0)
    detector = single(2, null)
    detector.advance(MIDNIGHT, np.ones(2), np.zeros(2))
    with pytest.raises(ValueError, match="ascend"):
        detector.advance(MIDNIGHT, np.ones(2), np.zeros(2))


def test_evidence_is_told_whole_though_it_is_kept_bounded() -> None:
    """A larger shift has more evidence at the same hour; back at the old level both are over as soon."""
    needed = 12.0
    detector = Filter(simple_null(2), np.arange(2), np.ones(2, bool), needed)
    calls, usual = np.full(2, 60.0), np.full(2, 60 * expit(-1.0))
    for hour in range(96):
        step = detector.advance(MIDNIGHT + hour, calls, np.array([26.0, 36.0]))
    assert np.all(step.page)
    assert needed + 10 < step.log_evidence[0] < step.log_evidence[1]
    for hour in range(96, 120):
        step = detector.advance(MIDNIGHT + hour, calls, usual)
    assert np.all(step.ended)
    assert np.all(step.log_evidence < needed)
