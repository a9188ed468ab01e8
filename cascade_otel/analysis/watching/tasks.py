"""Which tasks there are: their first tiers, the models these ask, and the days on which they had calls."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cascade_otel.analysis.watching.baselines import LOOK_BACK_DAYS
from cascade_otel.analysis.watching.running import NEVER
from cascade_otel.storage.reading.rollup import Reader

MOST_DAYS = 400
"""An older reference is learning anew."""
LATE_HOURS = 3
"""Between two midnights what is new is read, and what came so late."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task as its calls of the last weeks show it."""

    tier: str
    model: str
    threshold: float | None
    """The last τ that a call recorded."""


@dataclass
class Tasks:
    """Lives as long as the job: the whole look-back is read once a day, the newest hours at every look."""

    known: dict[str, Task] = field(default_factory=dict)
    _days: dict[str, set[int]] = field(default_factory=dict)
    _first_hour: dict[str, int] = field(default_factory=dict)
    _read_until: int | None = None

    def refresh(self, reader: Reader, now_hour: int, since_hour: int | None = None) -> None:
        """Takes in what the store holds before ``now_hour``: the last 49 days, and what came since
        ``since_hour``, where the oldest reference begins.
        """
        read, self._read_until = self._read_until, now_hour
        if read is None or read // 24 != now_hour // 24 or read > now_hour:
            start = (now_hour // 24 - LOOK_BACK_DAYS) * 24
            if since_hour is not None:
                start = max(min(start, since_hour), (now_hour // 24 - MOST_DAYS) * 24)
            self.known, self._days, self._first_hour = {}, {}, {}
        else:
            start = read - LATE_HOURS
        found = reader.first_tiers(start, now_hour)
        columns = (found[name].tolist() for name in ("task", "tier", "model", "threshold", "first_hour"))
        for task, tier, model, threshold, first_hour in zip(*columns, strict=True):
            # A tier that is first in a few hours may be a later one that was asked alone.
            if task not in self.known:
                self.known[task] = Task(tier, model, None if math.isnan(threshold) else threshold)
                self._first_hour[task] = NEVER if math.isnan(first_hour) else int(first_hour)
        names, tiers = list(self.known), [one.tier for one in self.known.values()]
        for task, days in zip(names, reader.days_with_calls(names, tiers, start, now_hour), strict=True):
            self._days.setdefault(task, set()).update(days)

    def days(self, task: str, now_hour: int) -> NDArray[np.int64]:
        """The whole UTC days with calls, ascending; the first only if its calls began at midnight."""
        days = np.array(sorted(self._days[task]), np.int64)
        first = self._first_hour[task]
        if len(days) and first != NEVER and first % 24 and first // 24 == days[0]:
            days = days[1:]
        return days[days * 24 + 24 <= now_hour]
