"""Fleets to be watched: calls, escalations and confidences of tasks, with and without a shift."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Random = np.random.Generator

CELLS = 101
THRESHOLD_CELL = 70
RATE = 0.2
DAY_SIZE = 0.015 / (RATE * (1 - RATE))
"""A day effect of .015 on a rate of .2, logit."""


@dataclass(frozen=True)
class Kind:
    """What a fleet is like; by default a mixed one: every task has its own rhythm and day effect."""

    tasks: int = 200
    traffic: float = 20.0
    base: float = RATE
    to: float | None = None
    """Rate after the shift, half-way through the watch; None: there is none."""
    season: float = 0.4
    """Largest daily swing of the rate, logit."""
    tide: float = 0.8
    """Daily swing of the volume."""
    wobble: float = DAY_SIZE
    """Median size of the day effect, logit."""
    spread: float = 0.8
    """Log standard deviation of that size between tasks."""
    tail: float = 6.0
    """Degrees of freedom of the day effect."""
    memory_hours: float = 0.0
    """The level wanders with this memory (standard deviation .02 on .2), instead of day by day."""
    turns_anywhere: bool = False
    """Day effects change at each task's own hour, not at midnight."""
    burst: float = 0.0
    """Standard deviation of every hour's own effect, logit."""
    weekend: float = 0.0
    """By how much weekends are lower, logit."""
    gaps: bool = False
    """Hours without calls, and batches of twenty times as many."""
    incidents: float = 0.0
    """Three hours at twice the odds and more, so many a month."""
    shock: float = 0.0
    """Standard deviation of a day effect that all tasks share."""
    holidays: int = 0
    """Days of the watch on which the whole fleet is lower by .6, logit."""
    shift_hours: int = 10_000
    ramp_hours: int = 0
    change: str | None = None
    """What happens to accepted confidences at the same rate: ``overconfident`` or ``sliding``."""
    reference_days: int = 14
    watch_days: int = 30
    fleet_of: int | None = None
    """Tasks that learn from each other; all of them by default."""


@dataclass(frozen=True)
class World:
    """Counts of M tasks over a reference and a watch."""

    calls: Counts
    """(M, T)"""
    hits: Counts
    """(M, T) escalated calls."""
    histogram: NDArray[np.int32] | None
    """(M, T, 101)"""
    split: int
    """Hours of the reference."""
    change: Counts
    """(M,) hours of the watch at which something changes, if anything does."""

    @property
    def reference(self) -> Mapping[str, NDArray[Any]]:
        """What a detector starts with."""
        given: dict[str, NDArray[Any]] = {
            "n": self.calls[:, : self.split],
            "k": self.hits[:, : self.split],
            "hours": np.arange(self.split),
        }
        return given if self.histogram is None else {**given, "hist": self.histogram[:, : self.split]}


def simulate(kind: Kind, seed: int, confidences: bool = False) -> World:
    """One world of a kind. The same seed gives the same world."""
    random = np.random.default_rng(seed)
    tasks, split = kind.tasks, kind.reference_days * 24
    hours = np.arange(split + kind.watch_days * 24)
    calls = _calls(kind, random, hours)
    change = kind.watch_days * 6 + random.integers(0, 24, tasks)
    level = logit(kind.base) + _usual(kind, random, hours, split)
    if kind.to is not None:
        since = hours - split - change[:, None]
        grown = np.clip((since + 1) / max(kind.ramp_hours, 1), 0, 1) * (since < kind.shift_hours)
        level = level + grown * (logit(kind.to) - logit(kind.base))
    hits = random.binomial(calls, expit(level))
    after = hours - split >= change[:, None]
    histogram = _confidences(random, calls, hits, after, kind.change) if confidences else None
    return World(calls, hits, histogram, split, change)


def _calls(kind: Kind, random: Random, hours: Counts) -> Counts:
    volume = kind.traffic * (1 + kind.tide * np.sin(2 * np.pi * hours / 24))
    calls = random.poisson(np.broadcast_to(volume, (kind.tasks, len(hours))))
    if kind.gaps:
        for task in range(kind.tasks):
            for start in random.integers(0, len(hours) - 12, 12):
                calls[task, start : start + random.integers(1, 12)] = 0
            for day in random.integers(0, len(hours) // 24, len(hours) // 240):
                calls[task, day * 24 + 2 : day * 24 + 5] *= 20
    return calls


def _usual(kind: Kind, random: Random, hours: Counts, split: int) -> Floats:
    """Logit (M, T) around the base rate as long as nothing happens."""
    tasks, days = kind.tasks, len(hours) // 24 + 2
    swing = random.uniform(0, kind.season, (tasks, 1))
    level = swing * np.sin(2 * np.pi * (hours + random.uniform(0, 24, (tasks, 1))) / 24)
    if kind.memory_hours:
        keep = math.exp(-1 / kind.memory_hours)
        wander = random.normal(0, 1, tasks)
        for place in range(len(hours)):
            level[:, place] += 0.125 * wander
            wander = keep * wander + math.sqrt(1 - keep**2) * random.normal(0, 1, tasks)
    else:
        size = np.clip(kind.wobble * np.exp(kind.spread * random.normal(0, 1, (tasks, 1))), 0, 0.375)
        effect = size * random.standard_t(kind.tail, (tasks, days)) * math.sqrt((kind.tail - 2) / kind.tail)
        turn = random.integers(0, 24, (tasks, 1)) * kind.turns_anywhere
        level += np.take_along_axis(effect, (hours + turn) // 24, axis=1)
    level += kind.burst * random.normal(0, 1, level.shape)
    level -= kind.weekend * (hours // 24 % 7 >= 5)
    level += kind.shock * random.normal(0, 1, days)[hours // 24]
    if kind.incidents:
        starts = random.random(level.shape) < kind.incidents / 720
        level += 0.98 * (starts | np.roll(starts, 1, axis=1) | np.roll(starts, 2, axis=1))
    free = random.choice(np.arange(split // 24, len(hours) // 24), kind.holidays, replace=False)
    return np.asarray(level - 0.6 * np.isin(hours // 24, free))


def _confidences(
    random: Random, calls: Counts, hits: Counts, after: NDArray[np.bool_], change: str | None
) -> NDArray[np.int32]:
    """Lumpy confidences (M, T, 101), as models say them: heaps on multiples of .05 and at 1."""
    cell = np.arange(CELLS)
    lumps = np.exp(-0.5 * ((cell - 86) / 13) ** 2) * np.where(cell % 5 == 0, 6.0, 1.0)
    low, high = (np.where(part, lumps, 0) for part in (cell < THRESHOLD_CELL, cell >= THRESHOLD_CELL))
    high = 0.85 * high / high.sum() + 0.15 * (cell == 100)
    tilted = high * np.exp(-0.03 * cell)
    moved = {
        None: high,
        "overconfident": high * 2 / 3 + (cell == 100) / 3,
        "sliding": tilted / tilted.sum(),
    }[change]
    accepted = calls - hits
    histogram = np.zeros((*calls.shape, CELLS), np.int32)
    for counts, law in (
        (hits, low / low.sum()),
        (np.where(after, 0, accepted), high),
        (np.where(after, accepted, 0), moved),
    ):
        used = np.nonzero(law)[0]
        histogram[:, :, used] += random.multinomial(counts, law[used] / law[used].sum())
    return histogram
