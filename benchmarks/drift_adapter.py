"""The detector for any harness that speaks in hourly counts: ``make("rate")`` and ``make("shape")``.

A harness calls ``start(reference)`` once and then the detector itself, hour by hour; a task pages where its
score is at least ``threshold``. Hours count from the midnight on which a Monday begins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cascade_otel.statistics.detector import (
    Filter,
    Reference,
    Settings,
    hits_below,
    indicators,
    learn,
    log_needed,
    useful,
)

MONDAY = 4 * 24
"""Hours from 1970-01-01 to its first Monday."""
MONTH = 720
PAGES = 1.0
"""False pages a month over all tasks and streams."""
WEIGHTS: Mapping[str, float] = {"rate": 0.5, "shape": 0.2}
"""Share of the page budget of each stream when all are watched."""

SETTINGS: Mapping[str, Settings] = {"rate": Settings(), "shape": Settings(caution=1.15)}
"""A shape is nine cuts, and one of them has always moved: what it is watched for can do with more caution."""

Stream = Literal["rate", "shape"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Detector:
    """One stream of M tasks. ``threshold`` is known once ``start`` has told how many tasks there are.

    Args:
        stream: what is watched.
        budget_tasks: how many tasks share the page budget; those of the reference by default.
    """

    def __init__(self, stream: Stream, budget_tasks: int | None = None) -> None:
        self.stream = stream
        self.budget_tasks = budget_tasks
        self.threshold = math.inf

    def start(self, ref: Mapping[str, ArrayLike]) -> None:
        """Learn what is usual.

        Args:
            ref: ``n`` (M, R) calls, ``k`` (M, R) escalated ones, ``hist`` (M, R, C) calls per confidence
                cell, ``hours`` (R,) ascending.
        """
        hours = MONDAY + np.asarray(ref["hours"], np.int64)
        calls, escalated = (np.asarray(ref[name], np.int64) for name in ("n", "k"))
        tasks = len(calls)
        self.threshold = log_needed(self.budget_tasks or tasks, MONTH, PAGES, WEIGHTS[self.stream])
        if self.stream == "shape":
            histogram = np.asarray(ref["hist"])
            total = histogram.sum(1, dtype=np.int64)
            self._cuts = indicators(total, _threshold_cell(total, escalated.sum(1)))
            calls, hits = _below(histogram, self._cuts)
        else:
            calls, hits = calls[:, None], escalated[:, None]
        each = calls.shape[1]
        calls, hits = (counts.reshape(tasks * each, -1) for counts in (calls, hits))
        groups = np.repeat(np.arange(tasks), each)
        fleet = [np.arange(place, tasks * each, each) for place in range(each)]
        null = learn(Reference(hours, calls, hits, fleet, np.ones(calls.shape, bool)), SETTINGS[self.stream])
        self._filter = Filter(null, groups, useful(null.rate, groups), self.threshold)

    def __call__(self, t: int, n: ArrayLike, k: ArrayLike, hist: ArrayLike) -> Floats:
        """Score (M,) after one more hour: ``n`` and ``k`` are (M,), ``hist`` is (M, C)."""
        if self.stream == "shape":
            calls, hits = _below(np.asarray(hist)[:, None], self._cuts)
            return self._filter.advance(MONDAY + int(t), calls.ravel(), hits.ravel()).score
        return self._filter.advance(MONDAY + int(t), n, k).score


def make(stream: Stream) -> Detector:
    """A detector that has not started yet."""
    return Detector(stream)


def _below(histogram: NDArray[np.integer], cuts: Ints) -> tuple[Ints, Ints]:
    """Calls and hits (M, J, T) of the cuts (M, J) of a histogram (M, T, C)."""
    hits = hits_below(histogram, cuts).transpose(0, 2, 1)
    total = histogram.sum(2, dtype=np.int64)[:, None]
    return np.broadcast_to(total, hits.shape), hits


def _threshold_cell(histogram: Ints, escalated: Ints) -> Ints:
    """First accepted cell (M,), which nobody told: as many calls lie below it as escalated."""
    below = np.cumsum(histogram, axis=1) - histogram
    return np.asarray(np.abs(below - escalated[:, None]).argmin(1), np.int64)
