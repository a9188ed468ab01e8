"""What else changed with a task at about the hour of its shift: things to look at, no proof of anything."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cascade_otel.analysis.causes.rollout import Move
from cascade_otel.analysis.causes.windows import Decided, Windows
from cascade_otel.records import Coincidence, Finding

SHARE_MOVED = 0.05
"""A segment's share of calls, or a τ's, grew by at least this."""
ROUNDED = 0.005
ERRORS_MOVED = 0.02
ERRORS_BEYOND_CHANCE = 4.0
"""Standard errors."""
VOLUME_FACTOR = 1.5
FEWEST_DAYS = 3


def coincidences(windows: Windows, moves: tuple[Move, ...], finding: Finding) -> tuple[Coincidence, ...]:
    """Models, versions, τ, the share of errors, the number of calls, the segment that grew most."""
    found = [Coincidence(move.what, move.old, move.new, move.share, move.hour) for move in moves]
    for look in (_threshold, _errors, _volume, _segment):
        one = look(windows)
        if one is not None:
            found.append(one)
    return tuple(found)


def _threshold(windows: Windows) -> Coincidence | None:
    """The τ whose share of calls grew most, in place of the one whose share fell most."""
    levels, before, now = windows.taus()
    new, old = int(np.argmax(now - before)), int(np.argmin(now - before))
    if now[new] - before[new] < SHARE_MOVED:
        return None
    began = int(windows.now.hour[np.abs(windows.now.threshold - levels[new]) <= ROUNDED].min())
    return Coincidence("threshold", float(levels[old]), float(levels[new]), float(now[new]), began)


def _errors(windows: Windows) -> Coincidence | None:
    before, now = (float(one.failed.mean()) for one in (windows.before, windows.now))
    n = len(windows.before.failed), len(windows.now.failed)
    pooled = (before * n[0] + now * n[1]) / sum(n)
    chance = np.sqrt(pooled * (1 - pooled) * (1 / n[0] + 1 / n[1]))
    if abs(now - before) < max(ERRORS_MOVED, ERRORS_BEYOND_CHANCE * chance):
        return None
    return Coincidence("error_rate", before, now)


def _volume(windows: Windows) -> Coincidence | None:
    """Calls an hour, against the same hours of the day in the reference, beyond what its days had."""
    hours = np.unique(windows.now.hour)
    of_day = np.unique(hours % 24)
    now = windows.now.of_how_many / len(hours)
    daily = _hourly_by_day(windows.before, of_day)
    if len(daily) < FEWEST_DAYS:
        return None
    usual = float(np.median(daily))
    grown, fallen = (
        now > max(daily.max(), VOLUME_FACTOR * usual),
        now < min(daily.min(), usual / VOLUME_FACTOR),
    )
    return Coincidence("volume", usual, now) if grown or fallen else None


def _hourly_by_day(window: Decided, of_day: NDArray[np.int64]) -> NDArray[np.float64]:
    """Calls an hour of each whole day, in these hours of the day."""
    part = window.hour[np.isin(window.hour % 24, of_day)]
    days, count = np.unique(part // 24, return_counts=True)
    ends = {int(window.hour.min()) // 24, int(window.hour.max()) // 24}
    whole = np.array([int(day) not in ends for day in days], bool)
    each = window.of_how_many / len(window.hour)
    return np.asarray(count[whole] * each / len(of_day), np.float64)


def _segment(windows: Windows) -> Coincidence | None:
    names, before, now = windows.kinds()
    most = int(np.argmax(now - before))
    if now[most] - before[most] < SHARE_MOVED:
        return None
    return Coincidence("segment", float(before[most]), float(now[most]), name=names[most])
