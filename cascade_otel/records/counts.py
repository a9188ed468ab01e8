"""What travels up from a store: counts by hour, and one call as it is recorded from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CELLS = 101
"""Confidence cells of .01: cell c holds confidences in [c/100, (c+1)/100); cell 100 holds 1.0."""

Measured = Literal[
    "escalation",
    "confidence",
    "missing",
    "errors",
    "disagreement",
    "calibration",
    "latency_accepted",
    "latency_escalated",
    "cost_accepted",
    "cost_escalated",
]
"""What is counted for the detector, in cells: of shares 0 and 1; else those of the histograms, and of
``calibration`` twice the cell of the confidence, plus 1 for a wrong answer, plus ``LABELLED`` where a label
said so and not the stronger tier."""

LABELLED = 2 * CELLS
"""What a label calls right is something else than what the stronger tier agrees with."""


@dataclass(frozen=True, slots=True)
class TierCall:
    """One call of one tier, as ``record_call`` takes it. None: unknown."""

    tier: str
    model: str | None = None
    confidence: float | None = None
    threshold: float | None = None
    escalated: bool | None = None
    """None: decided by confidence < threshold where both are known and a later tier follows."""
    duration_s: float = 0.0
    cost: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    response_model: str | None = None
    provider: str | None = None
    reason: str | None = None
    error: str | None = None
    kind: str = "model"


@dataclass(frozen=True)
class TaskHours:
    """Hourly counts of each task's first tier, decided production visits only. M tasks, T hours."""

    tasks: tuple[str, ...]
    tiers: tuple[str, ...]
    hours: NDArray[np.int64]
    """(T,) consecutive hours since 1970 UTC."""
    calls: NDArray[np.int64]
    """(M, T)"""
    escalated: NDArray[np.int64]
    """(M, T)"""
    confidence: NDArray[np.int32] | NDArray[np.int64]
    """(M, T, 101) calls per confidence cell; calls without a confidence are in none."""
    threshold_cell: NDArray[np.int64]
    """(M,) cell of the last declared τ, -1 where none was declared."""


@dataclass(frozen=True, slots=True)
class HourCells:
    """Calls per task, hour and cell of one measure: N entries in any order, those without calls left out."""

    task: NDArray[np.int64]
    """(N,) place of the task in the list that was asked for."""
    hour: NDArray[np.int64]
    """(N,) since 1970 UTC."""
    cell: NDArray[np.int64]
    """(N,)"""
    calls: NDArray[np.int64]
    """(N,)"""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of hours [start_hour, end_hour) and what a task's first tier did in it."""

    start_hour: int
    end_hour: int
    calls: int
    escalated: int

    @property
    def rate(self) -> float:
        """Escalation rate, nan without calls."""
        return self.escalated / self.calls if self.calls else float("nan")
