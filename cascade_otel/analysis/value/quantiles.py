"""Quantiles of a latency that is known by its cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cascade_otel.storage import schema

PER_OCTAVE = schema.LATENCY_CELLS_PER_OCTAVE


def edges(cell: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper edges of latency cells, in seconds."""
    return tuple(schema.log_cell_lower_edge(cell + step, PER_OCTAVE) / 1e6 for step in (0, 1))  # type: ignore[return-value]  # two


def of_cells(cell: NDArray[np.int64], count: NDArray[np.int64], shares: Sequence[float]) -> tuple[float, ...]:
    """Quantiles in seconds of calls counted by latency cell (N,), nan without calls; within 9 % of exact."""
    total = np.bincount(cell, count.astype(float), 257) if len(cell) else np.zeros(257)
    if not total.sum():
        return tuple(float("nan") for _ in shares)
    reached = total.cumsum() / total.sum()
    found = np.array([np.searchsorted(reached, share) for share in shares], np.int64)
    lower, upper = edges(found)
    before = np.concatenate([[0.0], reached])[found]
    part = (np.asarray(shares) - before) / np.maximum(reached[found] - before, 1e-12)
    return tuple(float(value) for value in lower + part * (upper - lower))
