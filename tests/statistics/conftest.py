"""Worlds to watch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit

from cascade_otel.statistics.detector import Filter, Reference, learn

MIDNIGHT = 20_000 * 24
"""An hour at which a UTC day begins."""


@dataclass(frozen=True)
class World:
    """Counts of M tasks over a reference and a watch; ``change``: hours of the watch when levels shift."""

    calls: NDArray[np.int64]
    hits: NDArray[np.int64]
    reference_hours: int
    change: NDArray[np.int64] | None

    @property
    def hours(self) -> NDArray[np.int64]:
        return MIDNIGHT + np.arange(self.calls.shape[1])


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    """Tasks with a daily rhythm of volume and rate, a day effect, one-hour spikes and, on demand, a shift."""

    def make(
        tasks: int,
        seed: int,
        *,
        traffic: float = 20.0,
        base: float | NDArray[np.float64] = 0.2,
        to: float | NDArray[np.float64] | None = None,
        wobble: float | NDArray[np.float64] = 0.05,
        spikes_per_month: float = 0.0,
        reference_days: int = 14,
        watch_days: int = 14,
        change: NDArray[np.int64] | None = None,
    ) -> World:
        random = np.random.default_rng(seed)
        reference_hours = reference_days * 24
        hours = np.arange(reference_hours + watch_days * 24)
        phase = random.uniform(0, 24, (tasks, 1))
        rhythm = np.sin(2 * np.pi * (hours + phase) / 24)
        calls = random.poisson(traffic * (1 + 0.7 * rhythm))
        level = logit(np.broadcast_to(np.asarray(base, np.float64), (tasks,)))[:, None] + 0.15 * rhythm
        size = np.broadcast_to(np.asarray(wobble, np.float64), (tasks,))[:, None]
        level = level + (random.normal(0, 1, (tasks, len(hours) // 24)) * size)[:, hours // 24]
        if to is not None:
            if change is None:
                change = 96 + random.integers(0, 24, tasks)
            after = hours - reference_hours >= change[:, None]
            level = level + after * np.reshape(logit(to) - logit(base), (-1, 1))
        rate = expit(level)
        spiked = random.random(rate.shape) < spikes_per_month / 720
        rate = np.where(spiked, np.minimum(2 * rate, 0.95), rate)
        return World(calls, random.binomial(calls, rate), reference_hours, change if to is not None else None)

    return make


@pytest.fixture(scope="session")
def first_pages() -> Callable[..., NDArray[np.int64]]:
    """Hour of the watch at which each task of a world first pages, -1 where it never does."""

    def watch(world: World, needed: float, fleet_of: int | None = None) -> NDArray[np.int64]:
        tasks, split = len(world.calls), world.reference_hours
        everyone = np.arange(tasks)
        fleet = np.split(everyone, range(fleet_of, tasks, fleet_of)) if fleet_of else [everyone]
        learned = world.calls[:, :split]
        null = learn(
            Reference(
                world.hours[:split], learned, world.hits[:, :split], fleet, np.ones(learned.shape, bool)
            )
        )
        detector = Filter(null, everyone, np.ones(tasks, bool), needed)
        first = np.full(tasks, -1)
        for place, hour in enumerate(world.hours[split:]):
            step = detector.advance(int(hour), world.calls[:, split + place], world.hits[:, split + place])
            first = np.where((first < 0) & step.page, place, first)
        return first

    return watch
