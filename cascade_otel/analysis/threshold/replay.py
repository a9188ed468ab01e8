"""The last days under another threshold, before anybody changes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cascade_otel.analysis.threshold.calls import read
from cascade_otel.records import ThresholdDay
from cascade_otel.storage.reading.rollup import Reader

FEW = 0.01
"""Up to this share of a day's calls may lack a cost."""


def replay_threshold(
    reader: Reader, task: str, threshold: float, start_hour: int, end_hour: int, declared: float | None = None
) -> list[ThresholdDay]:
    """Each UTC day of [start_hour, end_hour) with calls, as it was and as it would have been.

    Whether an answer was wrong is known of escalated and of audited or labelled calls alone; accepted calls
    of which it is not known are counted as ``unknown``. Costs not recorded are estimated as
    ``threshold_paths.paths`` says. Calls that no threshold decides over are decided as they were.

    Args:
        reader: of the store.
        task: its name.
        threshold: calls with confidence >= it would have been accepted.
        start_hour: since 1970 UTC.
        end_hour: likewise.
        declared: τ of calls that record none.
    """
    calls = read(reader, task, start_hour, end_hour, declared)
    if calls is None:
        return []
    accepted, accepted_then = ~calls.escalated, calls.score >= threshold
    cost, cost_then = (
        np.where(kept, calls.paths.cost_accepted, calls.paths.cost_escalated)
        for kept in (accepted, accepted_then)
    )
    unknown, wrong = np.isnan(calls.wrong), calls.wrong > 0
    day = calls.hour // 24
    return [
        ThresholdDay(
            start_hour=int(one) * 24,
            calls=int(rows.sum()),
            escalated=int((~accepted & rows).sum()),
            escalated_then=int((~accepted_then & rows).sum()),
            differ=int(((accepted != accepted_then) & rows).sum()),
            wrong=int((accepted & wrong & rows).sum()),
            wrong_then=int((accepted_then & wrong & rows).sum()),
            unknown=int((accepted & unknown & rows).sum()),
            unknown_then=int((accepted_then & unknown & rows).sum()),
            cost=_total(cost[rows]),
            cost_then=_total(cost_then[rows]),
        )
        for one in np.unique(day)
        for rows in [day == one]
    ]


def _total(cost: NDArray[np.float64]) -> float | None:
    """The day's cost, of the few calls without one taken to be the mean; None where they are many."""
    return float(np.nanmean(cost) * len(cost)) if np.isnan(cost).mean() <= FEW else None
