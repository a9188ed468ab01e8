"""Error rates and delays of the whole detector, simulated; bounds are Poisson or binomial tails below 1 %."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from cascade_otel.statistics.detector import log_needed

YEAR_OF_EIGHT = log_needed(8, 8760, 1, 0.5)
"""Evidence for one false page a year over eight tasks and two streams."""


def test_the_budget_is_the_only_knob() -> None:
    assert log_needed(200, 720, 1, 0.5) == pytest.approx(math.log(288_000))
    assert log_needed(8, 8760, 1, 0.5) > log_needed(8, 8760, 2, 0.5) > log_needed(4, 8760, 2, 0.5)


@pytest.mark.parametrize("wrong", [(0, 1, 1, 1), (1, 1, 0, 1), (1, 1, 1, 2), (1, -1, 1, 1)])
def test_a_budget_that_is_none_is_refused(wrong: tuple[int, float, float, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        log_needed(*wrong)


@pytest.mark.parametrize(
    "world",
    [
        {"wobble": "mixed"},
        {"wobble": 0.12, "traffic": 500},
        {"base": 0.02, "traffic": 50, "wobble": 0.0},
        {"base": 0.95, "traffic": 50, "wobble": 0.0},
        {"wobble": 0.05, "traffic": 80, "spikes_per_month": 3},
        {"wobble": 0.1, "reference_days": 7},
    ],
    ids=["mixed", "busy", "rare", "frequent", "spikes", "week"],
)
def test_false_pages_stay_within_the_budget(
    make_world: Callable[..., object], first_pages: Callable[..., np.ndarray], world: dict[str, object]
) -> None:
    """A budget of one page in a month over 150 tasks; more than four would be a 0.4 % accident."""
    if world["wobble"] == "mixed":
        sizes = 0.094 * np.exp(np.random.default_rng(0).normal(0, 0.8, 150))
        world = {**world, "wobble": np.clip(sizes, 0.01, 0.38)}
    first = first_pages(make_world(150, 21, watch_days=30, **world), log_needed(150, 720, 1, 1))
    assert (first >= 0).sum() <= 4


@pytest.mark.parametrize(("to", "hours"), [(0.3, 48), (0.4, 18), (0.1, 36)])
def test_shifts_are_found_in_time(
    make_world: Callable[..., object], first_pages: Callable[..., np.ndarray], to: float, hours: int
) -> None:
    """Median delay from .20 at 20 calls an hour, day effects of .1, 100 tasks; hardly a page is early."""
    world = make_world(100, 22, to=to, wobble=0.1, watch_days=18)
    first = first_pages(world, log_needed(200, 720, 1, 1))
    early = (first >= 0) & (first < world.change)
    delay = np.where(first >= 0, first - world.change + 1.0, np.inf)[~early]
    assert early.sum() <= 1
    assert np.median(delay) <= hours
    assert np.mean(np.isfinite(delay)) > 0.95


def test_small_fleets_with_spikes_are_quiet(
    make_world: Callable[..., object], first_pages: Callable[..., np.ndarray]
) -> None:
    """20 fleets of eight tasks, nine days: at most one of 160 quiet tasks pages on one page a year."""
    random = np.random.default_rng(23)
    world = make_world(
        160,
        23,
        traffic=110,
        base=random.uniform(0.15, 0.45, 160),
        spikes_per_month=3,
        reference_days=21,
        watch_days=9,
    )
    assert (first_pages(world, YEAR_OF_EIGHT, fleet_of=8) >= 0).sum() <= 1


def test_small_fleets_find_their_shifts(
    make_world: Callable[..., object], first_pages: Callable[..., np.ndarray]
) -> None:
    """Shifts of 10 to 20 points 36 to 72 hours ago: at least 158 of 160 have paged by now."""
    random = np.random.default_rng(24)
    base = random.uniform(0.15, 0.45, 160)
    world = make_world(
        160,
        24,
        traffic=110,
        base=base,
        to=base + random.uniform(0.1, 0.2, 160),
        change=9 * 24 - random.integers(36, 73, 160),
        spikes_per_month=3,
        reference_days=21,
        watch_days=9,
    )
    assert (first_pages(world, YEAR_OF_EIGHT, fleet_of=8) >= world.change).sum() >= 158


def test_a_spike_of_six_hours_rarely_pages(
    make_world: Callable[..., object], first_pages: Callable[..., np.ndarray]
) -> None:
    """From .20 to .40 for six hours and back: at most 8 of 100 tasks page (3 % do: above 8 is .3 %)."""
    world = make_world(100, 25, wobble=0.05, watch_days=8)
    random = np.random.default_rng(25)
    hours = np.arange(world.reference_hours + 100, world.reference_hours + 106)
    rate = np.full(hours.shape, float(expit(logit(0.4))))
    world.hits[:, hours] = random.binomial(world.calls[:, hours], rate)
    assert (first_pages(world, log_needed(200, 720, 1, 1)) >= 0).sum() <= 8


def test_six_hours_at_twice_the_rate_seldom_page(
    make_world: Callable[..., object], first_pages: Callable[..., np.ndarray]
) -> None:
    """.40 for six hours, 150 tasks: at 5 % more than 14 pages would be a 1 % accident."""
    world = make_world(150, 25, wobble=0.05, watch_days=9)
    random = np.random.default_rng(26)
    hits = world.hits.copy()
    starts = world.reference_hours + 96 + random.integers(0, 24, 150)
    for task, start in enumerate(starts):
        spike = slice(start, start + 6)
        hits[task, spike] = random.binomial(world.calls[task, spike], 0.4)
    assert (first_pages(replace(world, hits=hits), log_needed(200, 720, 1, 0.5)) >= 0).sum() <= 14


@pytest.mark.parametrize("memory", [36, 72])
def test_a_level_that_wanders_is_no_shift(
    make_world: Callable[..., object], first_pages: Callable[..., np.ndarray], memory: int
) -> None:
    """An AR(1) level of .02 around .20, 100 tasks for a month: more than three pages would be an accident."""
    world = make_world(100, 27, wobble=0.0, watch_days=30)
    random = np.random.default_rng(28)
    keep, now = math.exp(-1 / memory), random.normal(0, 1, 100)
    level = np.empty(world.calls.shape)
    for place in range(level.shape[1]):
        level[:, place] = now
        now = keep * now + math.sqrt(1 - keep**2) * random.normal(0, 1, 100)
    rate = expit(logit(0.2) + 0.02 / 0.16 * level)
    wandering = replace(world, hits=random.binomial(world.calls, rate))
    assert (first_pages(wandering, log_needed(100, 720, 1, 0.5)) >= 0).sum() <= 3
