"""Did the recorded model or version change when the confidences did?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cascade_otel.records import Finding
from cascade_otel.storage import schema
from cascade_otel.storage.reading.rollup import Reader

Column = Literal["response_model", "model", "version"]
COLUMNS: dict[Column, str] = {
    "response_model": "the answering model",
    "model": "the requested model",
    "version": "the version",
}
"""What is looked at, in this order, and what a note calls it."""
SHARE_MOVED = 0.1
SLACK_HOURS = 2
"""A rollout may lie so far outside the interval of the change."""
AROUND_HOURS = 24
LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Move:
    """A value that took calls from another one."""

    what: Column
    old: str
    new: str
    share: float
    """Of calls after the change that have the new value."""
    hour: int
    """First hour of the new value, as well as hourly shares tell."""

    def __str__(self) -> str:
        part = "" if self.share > 0.95 else f" for {self.share:.0%} of calls"
        return f"{COLUMNS[self.what]} changed{part}: {self.old[:LONGEST_NAME]} → {self.new[:LONGEST_NAME]}"


def moved(reader: Reader, finding: Finding) -> tuple[Move, ...]:
    """The changes of model or version in the interval of a finding's change point, most telling first.

    A value counts when its share of the tier's calls differs by 10 points before and after the interval, and
    the hour that divides its hourly shares best lies in the interval, two hours of slack on either side.
    """
    if finding.since_hour is None:
        return ()
    low = finding.since_hour if finding.since_low_hour is None else finding.since_low_hour
    high = finding.since_hour if finding.since_high_hour is None else finding.since_high_hour
    low, high = low - SLACK_HOURS, high + SLACK_HOURS
    start, end = low - AROUND_HOURS, min(high + AROUND_HOURS, finding.hour) + 1
    rows = reader.rows(
        finding.task, start, end, kind=schema.TIER, columns=["hour", "tier", "purpose", "escalated", *COLUMNS]
    )
    rows = rows[
        (rows["tier"] == finding.tier) & (rows["purpose"].fillna("") == "") & rows["escalated"].notna()
    ]
    found = []
    for column in COLUMNS:
        named = rows[rows[column].fillna("").astype(str) != ""]
        found.append(_moved(named["hour"], named[column].astype(str), column, low, high))
    return tuple(move for move in found if move is not None)


def _moved(hours: pd.Series[int], values: pd.Series[str], what: Column, low: int, high: int) -> Move | None:
    if values.nunique() < 2:
        return None
    counts = pd.crosstab(hours, values)
    hour, table = counts.index.to_numpy(np.int64), counts.to_numpy(float)
    before, after = table[hour < low].sum(0), table[hour > high].sum(0)
    if not after.any():
        # The interval reaches up to now: what lies in its newest hour stands for what comes after.
        after = table[-1]
    if not before.any():
        return None
    change = after / after.sum() - before / before.sum()
    new, old = int(np.argmax(change)), int(np.argmin(change))
    if change[new] < SHARE_MOVED:
        return None
    began = int(hour[_best_split(table[:, new], table.sum(1))])
    if not low <= began <= high:
        return None
    share = float(after[new] / after.sum())
    return Move(what, str(counts.columns[old]), str(counts.columns[new]), share, began)


def _best_split(hits: NDArray[np.float64], calls: NDArray[np.float64]) -> int:
    """First place of the later part, where the two parts' shares differ most for their sizes."""
    n0, k0 = np.cumsum(calls)[:-1], np.cumsum(hits)[:-1]
    n1, k1 = calls.sum() - n0, hits.sum() - k0
    between = (k0 / np.maximum(n0, 1) - k1 / np.maximum(n1, 1)) ** 2 * n0 * n1
    return int(np.argmax(between)) + 1
