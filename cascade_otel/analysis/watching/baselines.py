"""Which hours a task is compared with: whole days of the past that nobody found anything wrong with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cascade_otel.policy import Reference
from cascade_otel.records import HOUR_NS
from cascade_otel.storage.state import Baseline

DAYS_NEEDED = 7
"""Shorter references lie: day effects look like drift."""
MOST_DAYS = 28
WATCH_DAYS = 7
"""The newest days are watched, never learned from."""
MOVE_AFTER_DAYS = 14
"""A quiet watch this old lets the reference move on by ``WATCH_DAYS``."""
LOOK_BACK_DAYS = MOST_DAYS + MOVE_AFTER_DAYS + WATCH_DAYS

Days = NDArray[np.int64]


def choose(
    task: str,
    previous: Baseline | None,
    days: Days,
    now_hour: int,
    quiet: bool,
    said: Reference | None = None,
    version_hour: int | None = None,
) -> Baseline:
    """The reference of a task from now on.

    On first sight it is up to 28 days that end 7 days before today, or the first 7 days where there are not
    that many. Later it moves on by 7 days when the watch behind it is 14 days old, unless the task is not
    quiet. An accepted one starts where a person said, and one of a version where that began; either moves on
    like others. As long as fewer than 7 days lie in it, it ends in the future (see ``learned``). Days that
    the policy names stay.

    Args:
        task: its name.
        previous: what was chosen before.
        days: whole UTC days since 1970 on which the task had calls, ascending.
        now_hour: the hour in progress.
        quiet: nothing was found at the last look, and no alert is open.
        said: what the policy says.
        version_hour: when the version that it names first decided a call; None: not yet, or long ago.
    """
    today = now_hour // 24
    days = days[days < today]
    if said is not None and said.start_day is not None and said.end_day is not None:
        return Baseline(
            task, said.start_day * 24, said.end_day * 24, "chosen", _kept_time(previous, now_hour)
        )
    # Not before the first midnight: half a day is no day.
    begins = today if version_hour is None else -(-version_hour // 24)
    if version_hour is not None and (previous is None or previous.start_hour < begins * 24):
        known = days[days >= begins]
        return Baseline(task, begins * 24, _full(known, today) * 24, "version", now_hour * HOUR_NS)
    if previous is not None and previous.reason == "chosen":
        previous = None
    earlier = len(days) > 0 and previous is not None and previous.start_hour > days[0] * 24
    learning = previous is not None and len(learned(previous, days)) < DAYS_NEEDED
    if previous is None or (learning and earlier and previous.reason in ("trailing", "pinned")):
        start, end = _first_sight(days, today)
        return Baseline(task, start * 24, end * 24, "trailing", now_hour * HOUR_NS)
    if learning:
        known = days[days * 24 >= previous.start_hour]
        return replace(previous, end_hour=_full(known, today) * 24)
    if not quiet:
        return replace(previous, reason="pinned") if previous.reason == "trailing" else previous
    moved = _moved(previous, now_hour)
    if now_hour - previous.end_hour >= MOVE_AFTER_DAYS * 24 and len(learned(moved, days)) >= DAYS_NEEDED:
        return moved
    return replace(previous, reason="trailing") if previous.reason == "pinned" else previous


def learned(baseline: Baseline, days: Days) -> Days:
    """Those of ``days`` that lie wholly in the baseline."""
    return days[(days * 24 >= baseline.start_hour) & (days * 24 + 24 <= baseline.end_hour)]


def _first_sight(days: Days, today: int) -> tuple[int, int]:
    """First day, and the day after the last."""
    start = int(days[0]) if len(days) else today
    old = days[days < today - WATCH_DAYS]
    if len(old) < DAYS_NEEDED:
        return start, _full(days, today)
    end = today - WATCH_DAYS
    # A task with few days of calls needs a longer stretch.
    return max(start, min(end - MOST_DAYS, int(old[-DAYS_NEEDED]))), end


def _full(days: Days, today: int) -> int:
    """The day after the seventh, or when that will be at the earliest."""
    return int(days[DAYS_NEEDED - 1]) + 1 if len(days) >= DAYS_NEEDED else today + DAYS_NEEDED - len(days)


def _moved(previous: Baseline, now_hour: int) -> Baseline:
    end = previous.end_hour + WATCH_DAYS * 24
    start = max(previous.start_hour, end - MOST_DAYS * 24)
    if start == previous.start_hour and previous.reason in ("accepted", "version"):
        return replace(previous, end_hour=end)
    return Baseline(previous.task, start, end, "trailing", now_hour * HOUR_NS)


def _kept_time(previous: Baseline | None, now_hour: int) -> int:
    """When it was chosen, if it is the same as before."""
    return previous.at_ns if previous is not None and previous.reason == "chosen" else now_hour * HOUR_NS
