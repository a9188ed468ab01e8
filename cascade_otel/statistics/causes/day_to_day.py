"""What the mean of a window wanders by itself, learned from the days of a reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WEEKDAY_LEVEL = 0.01
FEW_DAYS_FACTOR = 4.0
"""Of the variance between days where at most three degrees of freedom are left to estimate it."""


@dataclass(frozen=True)
class Ordinary:
    """What a quantity is in the reference, and what its mean in a new window may be off by."""

    mean: float
    variance: float


def ordinary(values: Floats, day: Ints, new_day: Ints, new_calls: float | None = None) -> Ordinary:
    """Mean of a call's quantity without a change, and the variance of a new window's mean around it.

    The variance has a part between calls and a part between days, both of the reference and of the new
    window; days of a window count by their share of its calls. Few reference days make it larger, by the
    variance of Student's t. Where means of days follow the day of the week (F test), the mean is that
    of the new window's days of the week, as long as the reference has each of them twice.

    Args:
        values: (n,) of the reference's calls.
        day: (n,)
        new_day: (m,) of the new window's calls.
        new_calls: how many the new window's calls count for, by default m.
    """
    days, place = np.unique(day, return_inverse=True)
    count = np.bincount(place)
    means = np.bincount(place, values) / count
    spread = float(values.var())
    new_days, new_count = np.unique(new_day, return_counts=True)
    new_share = new_count / new_count.sum()
    own = spread / (len(new_day) if new_calls is None else new_calls)
    new_effective = 1 / float((new_share**2).sum())
    weekdays, group = np.unique(days % 7, return_inverse=True)
    of_weekday = np.bincount(group)
    by_weekday = np.bincount(group, count * means) / np.bincount(group, count)
    if _follows_the_week(means, group):
        residual = means - by_weekday[group]
        freedom = len(days) - len(weekdays)
        between = _between(residual, freedom, spread, count)
        share = np.array([new_share[new_days % 7 == weekday].sum() for weekday in weekdays])
        if np.isclose(share.sum(), 1) and (of_weekday[share > 0] > 1).all():
            old = (share**2 * (between / of_weekday + spread / np.bincount(group, count))).sum()
            return Ordinary(float((share * by_weekday).sum()), float(own + between / new_effective + old))
    mean = float(values.mean())
    between = _between(means - mean, len(days) - 1, spread, count)
    old = spread / len(values) + between / len(days)
    return Ordinary(mean, own + between / new_effective + old)


def _between(residual: Floats, freedom: int, spread: float, count: Ints) -> float:
    """Variance between days beyond what the calls of a day explain."""
    found = float((residual**2).sum()) / max(freedom, 1) - spread * float(np.mean(1 / count))
    return max(0.0, found) * (freedom / (freedom - 2) if freedom > 3 else FEW_DAYS_FACTOR)


def _follows_the_week(means: Floats, group: Ints) -> bool:
    """Whether means of days differ between days of the week by more than chance."""
    weekdays = int(group.max()) + 1
    freedom = len(means) - weekdays
    if weekdays < 2 or freedom < 2 * (weekdays - 1):
        return False
    own = np.bincount(group, means) / np.bincount(group)
    inside = float(((means - own[group]) ** 2).sum()) / freedom
    across = float(((own[group] - means.mean()) ** 2).sum()) / (weekdays - 1)
    return inside <= 0 < across or (
        inside > 0 and float(stats.f.sf(across / inside, weekdays - 1, freedom)) < WEEKDAY_LEVEL
    )
