"""From evidence to a page: a shift must have stood for a while before somebody is woken."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

STAND_HOURS = 4
"""Fast path: the evidence must have held for so many hours more, the shift still there at each."""
STAND_ODDS = 0.25
"""... with odds of *ended* against *still there* at most this."""
GROW_HOURS = 8
"""Slow path: evidence that has been growing for so long need not wait."""
GROW_NATS = 6.0
"""... if it grew by at most this in that time."""
GROW_ODDS = 0.7
"""... with odds of *ended* against *still there* at most this."""
NO_SCORE = -30.0
TINY = 1e-30


class Persistence:
    """Remembers the last hours of evidence of M tasks. It only ever lowers the evidence."""

    def __init__(self, tasks: int) -> None:
        self._hours = np.zeros(tasks, np.int64)
        self._evidence = np.full((GROW_HOURS + 1, tasks), NO_SCORE)
        self._standing = np.full((STAND_HOURS + 1, tasks), NO_SCORE)

    def advance(self, shifted: Floats, ended: Floats, active: Bools) -> Floats:
        """Score (M,) in nats after one more hour.

        Args:
            shifted: (M,) odds of a shift that is still there against no shift.
            ended: (M,) odds of a shift that has ended against no shift.
            active: (M,) tasks that are watched; the others keep what they had and score ``NO_SCORE``.
        """
        evidence = np.log(np.maximum(shifted, TINY))
        held_down = np.minimum(evidence, 0)
        standing = np.where(ended > STAND_ODDS * shifted, held_down, evidence)
        self._evidence[:, active] = np.vstack([self._evidence[1:], evidence])[:, active]
        self._standing[:, active] = np.vstack([self._standing[1:], standing])[:, active]
        self._hours += active

        grown = np.minimum(evidence, self._evidence[0] + GROW_NATS)
        grown = np.where(self._hours > GROW_HOURS, grown, held_down)
        grown = np.where(ended > GROW_ODDS * shifted, held_down, grown)
        stood = np.where(self._hours > STAND_HOURS, self._standing.min(0), NO_SCORE)
        return np.where(active, np.maximum(grown, stood), NO_SCORE)
