"""Since when is a stream another, and from what to what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_otel.analysis.watching.learned import Learned, Source
from cascade_otel.analysis.watching.monitor import Standing
from cascade_otel.analysis.watching.streams import HIGH_QUANTILES, KINDS, Counts, count, histogram
from cascade_otel.records import HourCells, Measured
from cascade_otel.statistics.detector.change_point import ChangePoint, change_point
from cascade_otel.storage.schema import COST_CELLS_PER_OCTAVE, LATENCY_CELLS_PER_OCTAVE, log_cell_lower_edge

Ints = NDArray[np.int64]
MICRO, NANO = 1e6, 1e9


@dataclass(frozen=True)
class Change:
    """Hours since 1970; what ``before`` and ``now`` are says ``records.Finding``."""

    since_hour: int
    low_hour: int
    high_hour: int
    before: float | None
    now: float | None
    quantile: float | None


def changed(source: Source, standing: Standing, place: int) -> Change:
    """The change of one task, by the indicator that shows it most clearly."""
    learned, until = standing.learned.take(np.array([place])), standing.point.hour
    start = int(learned.ends[0])
    cells = source(KINDS[learned.stream].measure, learned.tasks, learned.tiers, start, until)
    counts = count(learned.stream, cells, learned.cuts, start, until)
    found = {cut: _change_point(learned, counts, cut) for cut in np.nonzero(learned.use)[0].tolist()}
    clearest = max(found, key=lambda cut: found[cut].log_odds)
    since = start + found[clearest].index
    before, now, quantile = _from_to(learned, cells, counts, clearest, since)
    return Change(since, start + found[clearest].low, start + found[clearest].high, before, now, quantile)


def _change_point(learned: Learned, counts: Counts, cut: int) -> ChangePoint:
    null, first = learned.null, int(learned.ends[0])
    hours = first + np.arange(counts.calls.shape[2])
    return change_point(
        null.logit(hours)[cut],
        counts.calls[0, cut],
        counts.hits[0, cut],
        first_hour=first,
        dispersion=float(null.dispersion[cut]),
        wobble=float(np.sqrt((null.weights[cut] * null.sigma[cut] ** 2).sum())),
        level_se=float(null.level_se[cut]),
        most_calls=null.settings.most_calls,
    )


def _from_to(
    learned: Learned, cells: HourCells, counts: Counts, cut: int, since: int
) -> tuple[float | None, float | None, float | None]:
    measure = KINDS[learned.stream].measure
    if measure.startswith(("latency", "cost")):
        later = cells.hour >= since
        own = HourCells(*(part[later] for part in (cells.task, cells.hour, cells.cell, cells.calls)))
        share = np.cumsum(histogram(own, 1)[0])
        quantile = HIGH_QUANTILES[cut]
        now = int(np.searchsorted(share, quantile * share[-1])) if len(own.cell) else None
        return _amount(measure, int(learned.cuts[0, cut])), _amount(measure, now), quantile
    late = slice(since - int(learned.ends[0]), None)
    before = _share(learned.hits[0, cut], learned.calls[0, cut])
    return before, _share(counts.hits[0, cut, late].sum(), counts.calls[0, cut, late].sum()), None


def _share(hits: int, calls: int) -> float | None:
    return float(hits / calls) if calls else None


def _amount(measure: Measured, cell: int | None) -> float | None:
    """Middle of a log cell: seconds, or units of money."""
    if cell is None:
        return None
    per_octave = LATENCY_CELLS_PER_OCTAVE if measure.startswith("latency") else COST_CELLS_PER_OCTAVE
    edges = log_cell_lower_edge(np.array([cell, cell + 1]), per_octave)
    return float(edges.mean()) / (MICRO if measure.startswith("latency") else NANO)
