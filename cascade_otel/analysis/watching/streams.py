"""What is watched of every task: ten streams of counts, and how much of the page budget each may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cascade_otel.records import CELLS, HourCells, Measured, Stream
from cascade_otel.statistics.detector import indicators

Ints = NDArray[np.int64]

HIGH_QUANTILES = (0.5, 0.9, 0.99)
"""Latency and cost are watched by the calls that exceed these quantiles of the reference."""
CONFIDENCE_BINS = 4
"""Calibration is watched within so many bins of confidence, equally full in the reference; once by what the
stronger tier agrees with and once by labels, so that labelling more is no change."""
SOURCES = 2


@dataclass(frozen=True, slots=True)
class Kind:
    """What a stream counts, and its share of the page budget."""

    measure: Measured
    weight: float
    group_weight: float = 0.0
    """Share of the budget for the same of groups of tasks; 0: groups are not watched for it."""


KINDS: Mapping[Stream, Kind] = {
    "escalation_rate": Kind("escalation", 0.5, 0.03),
    "confidence_shape": Kind("confidence", 0.2, 0.02),
    "missing_confidence_rate": Kind("missing", 0.03),
    "error_rate": Kind("errors", 0.03),
    "audited_disagreement": Kind("disagreement", 0.05),
    "calibration_gap": Kind("calibration", 0.05),
    "latency_accepted": Kind("latency_accepted", 0.02),
    "latency_escalated": Kind("latency_escalated", 0.02),
    "cost_accepted": Kind("cost_accepted", 0.025),
    "cost_escalated": Kind("cost_escalated", 0.025),
}
"""Shares add up to 1, those of groups included."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of J indicators of each of M tasks over T hours."""

    calls: Ints
    """(M, J, T)"""
    hits: Ints
    """(M, J, T)"""


def cuts(stream: Stream, cells: HourCells, threshold_cell: Ints) -> Ints:
    """Cells (M, J) at which each task's histogram of its reference is cut.

    Args:
        stream: what is watched.
        cells: of the reference of M tasks.
        threshold_cell: (M,) first accepted cell of the confidence; -1 unknown.
    """
    tasks = len(threshold_cell)
    if stream == "confidence_shape":
        return indicators(histogram(cells, tasks, CELLS), threshold_cell)
    if stream == "calibration_gap":
        quantiles = np.arange(1, CONFIDENCE_BINS) / CONFIDENCE_BINS
        bins = histogram(replace(cells, cell=cells.cell // 2), tasks, SOURCES * CELLS)
        own = [_quantile_cells(part, quantiles) for part in np.split(bins, SOURCES, axis=1)]
        return np.concatenate(own, axis=1)
    if stream.startswith(("latency", "cost")):
        return _quantile_cells(histogram(cells, tasks), np.array(HIGH_QUANTILES))
    return np.zeros((tasks, 1), np.int64)


def count(stream: Stream, cells: HourCells, cut: Ints, start_hour: int, end_hour: int) -> Counts:
    """Counts over [start_hour, end_hour) of the tasks that ``cut`` (M, J) is of."""
    shares = [_indicator(stream, cells, cut, place) for place in range(_indicators(stream, cut))]
    shape = (len(cut), end_hour - start_hour)
    inside = (cells.hour >= start_hour) & (cells.hour < end_hour)
    at = (cells.task * shape[1] + cells.hour - start_hour)[inside]

    def added(which: NDArray[np.bool_]) -> Ints:
        weights = np.where(which, cells.calls, 0)[inside]
        return np.bincount(at, weights, shape[0] * shape[1]).astype(np.int64).reshape(shape)

    calls, hits = (np.stack([added(share[part]) for share in shares], axis=1) for part in (0, 1))
    return Counts(calls, hits)


def histogram(cells: HourCells, tasks: int, size: int | None = None) -> Ints:
    """(M, C) calls per cell over all hours, of cells from 0 on."""
    width = int(cells.cell.max(initial=0)) + 1 if size is None else size
    flat = np.bincount(cells.task * width + cells.cell, cells.calls, tasks * width)
    return flat.astype(np.int64).reshape(tasks, width)


def _indicators(stream: Stream, cut: Ints) -> int:
    return int(cut.shape[1]) + SOURCES * (stream == "calibration_gap")


def _indicator(
    stream: Stream, cells: HourCells, cut: Ints, place: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which entries count as calls of an indicator, and which as hits."""
    if stream == "calibration_gap":
        # A bin's calls are those above the cut before it, up to its own.
        source, place = divmod(place, CONFIDENCE_BINS)
        own = cut[:, source * (CONFIDENCE_BINS - 1) : (source + 1) * (CONFIDENCE_BINS - 1)]
        edge = np.pad(own, ((0, 0), (1, 1)), constant_values=(-1, CELLS))
        bins = cells.cell // 2 - source * CELLS
        of = (bins > edge[cells.task, place]) & (bins <= edge[cells.task, place + 1])
        of &= (bins >= 0) & (bins < CELLS)
        return of, of & (cells.cell % 2 == 1)
    below = cells.cell <= cut[cells.task, place]
    return np.ones(len(cells.cell), bool), below if stream == "confidence_shape" else ~below


def _quantile_cells(counts: Ints, quantiles: NDArray[np.float64]) -> Ints:
    """First cells (M, Q) with so much of each histogram (M, C) at or below; the last if it is empty."""
    share = np.cumsum(counts, axis=1) / np.maximum(counts.sum(1, keepdims=True), 1)
    cells = (share[:, None, :] < quantiles[:, None] - 1e-12).sum(2)
    return np.asarray(np.minimum(cells, counts.shape[1] - 1), np.int64)
