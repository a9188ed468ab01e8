"""The grid on which the filter is exact: sizes of the day effect x levels x day effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_otel.statistics.detector.fleet_prior import MEMORIES
from cascade_otel.statistics.detector.null_model import Null
from cascade_otel.statistics.detector.wobble import day_transition

Grid = NDArray[np.float32]
Ints = NDArray[np.int64]

DAY_NODES = np.array([-4.2, -2.4, -1.4, -0.65, 0, 0.65, 1.4, 2.4, 4.2])
"""(Z,) grid of the standardised day effect."""
LEVEL_NODES = np.array([-1.8, 0.0, 1.8])
"""(U,) grid of the error of the reference level, in standard errors."""
SHIFTS = np.array([0.25, 0.35, 0.48, 0.7, 1.0, 1.5])
"""Sizes of a shift worth a page, logit, either way."""
SHIFT_WEIGHTS = np.array([0.5, 0.9, 1.6, 1.8, 1.0, 0.6])
NULLS = slice(0, len(LEVEL_NODES))
"""Levels of a stream in which nothing has happened."""
SHIFTED = slice(len(LEVEL_NODES), len(LEVEL_NODES) + 2 * len(SHIFTS))
"""Levels of a shift that is still there; the last one of all is that of a shift that has ended."""


@dataclass(frozen=True)
class States:
    """Grid of B streams: S sizes of the day effect x X levels x Z day effects, and what moves on it."""

    logit: Grid
    """(B, S, X, Z) shift of each state from the usual level."""
    odds: Grid
    """(B, S, X, Z) its exponential."""
    start: Grid
    """(B, S, X, Z) weights before the first hour: the null's."""
    day_law: Grid
    """(B, 1, 1, Z) stationary law of the day effect."""
    level_law: Grid
    """(U, 1) prior of the nodes of the level's error."""
    shift_law: Grid
    """(X - U - 1, 1) prior of the size of a shift."""
    chains: list[tuple[Grid, Ints]]
    """Transition (Z, Z) of the day effect over midnight, and the streams it is for."""


def lay(null: Null) -> States:
    """Lay out the states of every stream of a null."""
    size = len(null.base)
    nearest = np.abs(null.phi[:, None] - MEMORIES).argmin(1)
    chains = [day_transition(DAY_NODES, memory, null.settings.day_freedom) for memory in MEMORIES]
    day_law = np.stack([law for _, law in chains])[nearest][:, None, None]
    level_law = np.exp(-(LEVEL_NODES**2) / 2)[:, None]
    level_law /= level_law.sum()
    shifts = np.concatenate([-SHIFTS[::-1], SHIFTS])
    shift_law = np.concatenate([SHIFT_WEIGHTS[::-1], SHIFT_WEIGHTS])[:, None]
    # Rare events and thin references have a wide null, and a shift must lie outside it.
    outside = np.maximum(LEVEL_NODES[-1] * null.level_se - 0.4, 0)[:, None]
    levels = np.concatenate(
        [null.level_se[:, None] * LEVEL_NODES, shifts + np.sign(shifts) * outside, np.zeros((size, 1))],
        axis=1,
    )
    logit = (levels[:, None, :, None] + null.sigma[:, :, None, None] * DAY_NODES).astype(np.float32)
    start = np.zeros_like(logit)
    start[:, :, NULLS] = null.weights[:, :, None, None] * level_law * day_law
    return States(
        logit=logit,
        odds=np.exp(logit),
        start=start,
        day_law=day_law.astype(np.float32),
        level_law=level_law.astype(np.float32),
        shift_law=(shift_law / shift_law.sum()).astype(np.float32),
        chains=[(chains[i][0].astype(np.float32), np.nonzero(nearest == i)[0]) for i in np.unique(nearest)],
    )
