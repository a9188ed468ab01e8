"""Counters that cost one list update per addition, and histograms; both right in a forked child."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeAlias

from opentelemetry import metrics

from cascade_otel import semconv

Attributes: TypeAlias = dict[str, str | bool | int | float]
Cell: TypeAlias = list[float]

METRICS = {metric.name: metric for metric in semconv.METRICS}
before_collection: list[Callable[[], None]] = []
"""What is done before cells are read, so that what waits is counted."""

meter = metrics.get_meter(semconv.SCOPE)
# told apart by a version: a meter that is asked for before the SDK is installed loses its attributes
_meter_of_forked = metrics.get_meter(semconv.SCOPE, "forked")
adding = threading.RLock()  # re-entrant: the garbage collector may run a finaliser of ours while we hold it
_generation = 0  # 0 in the process that imported us, 1 in one forked from it


class Counter:
    """A counter of ``semconv.METRICS``, registered twice: a forked child reports from 0, in its own scope.

    Zeroing the cells under the first scope would show a delta reader a negative increment; keeping them
    would count twice what the parent had counted.
    """

    all: ClassVar[list[Counter]] = []

    def __init__(self, name: str, from_zero: bool = False) -> None:
        metric = METRICS[name]
        # Whether a cell shows before its first addition: a rate needs it, a cost must not.
        self.from_zero = from_zero
        self.cells: dict[frozenset[tuple[str, Any]], tuple[Attributes, Cell]] = {}
        self.all.append(self)
        for generation, each in enumerate((meter, _meter_of_forked)):
            observe = functools.partial(self._observe, generation)
            each.create_observable_counter(name, [observe], metric.unit, metric.note)

    def cell(self, attributes: Attributes) -> Cell:
        """The cell of these attributes, the same one at every call."""
        return self.cells.setdefault(frozenset(attributes.items()), (attributes, [0]))[1]

    def _observe(self, generation: int, _: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        if generation != _generation:
            return []
        for step in before_collection:
            step()
        cells = list(self.cells.values())
        return [
            metrics.Observation(cell[0], attributes)
            for attributes, cell in cells
            if cell[0] or self.from_zero
        ]


class Histogram:
    """A histogram of ``semconv.METRICS``, registered twice: a forked child records into one of its own.

    The first holds what the parent had recorded, and perhaps a lock that a thread of the parent's held.
    """

    all: ClassVar[list[Histogram]] = []

    def __init__(self, name: str, bounds: list[float]) -> None:
        metric = METRICS[name]
        now, self._of_forked = (
            each.create_histogram(name, metric.unit, metric.note, explicit_bucket_boundaries_advisory=bounds)
            for each in (meter, _meter_of_forked)
        )
        self.record = now.record
        self.all.append(self)

    def forked(self) -> None:
        """From now on this is a child."""
        self.record = self._of_forked.record


def add(cell: Cell, amount: float) -> None:
    """Adds an amount to a cell."""
    with adding:
        cell[0] += amount


def _after_fork() -> None:
    global adding, _generation
    adding, _generation = threading.RLock(), 1
    for counter in Counter.all:
        for _, cell in counter.cells.values():
            cell[0] = 0
    for histogram in Histogram.all:
        histogram.forked()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
