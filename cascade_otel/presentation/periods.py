"""Which hours a page shows: ranges people choose, cut into buckets of whole hours."""

from __future__ import annotations

from dataclasses import dataclass

RANGES = {"24h": (24, 1), "3d": (72, 1), "7d": (168, 3), "30d": (720, 6)}
"""Of each range: its hours, and the hours of one bucket of its trends."""
DEFAULT = "7d"
NAMES = {"24h": "24 hours", "3d": "3 days", "7d": "7 days", "30d": "30 days"}


@dataclass(frozen=True)
class Period:
    """Hours [start_hour, end_hour) of a page. All but the last, unfinished one make up its trends."""

    start_hour: int
    complete_hour: int
    """End of the last finished hour: trends stop here, since a half hour looks like a fall."""
    end_hour: int
    step: int
    """Hours of one bucket; buckets are counted from ``start_hour`` and all are full."""
    name: str
    """"last 7 days", or which days they were where the data end long ago."""
    past: bool
    """The data ended before the chosen range began, so that the range before their end is shown."""

    @property
    def buckets(self) -> int:
        """How many buckets the finished hours make."""
        return (self.complete_hour - self.start_hour) // self.step

    def bucket_hour(self, hour: int) -> int:
        """First hour of the bucket an hour belongs to."""
        return hour - (hour - self.start_hour) % self.step


def period(chosen: str, now_hour: int, last_hour: int | None) -> Period:
    """The hours of a range at ``now_hour``; ``last_hour`` is the newest with data.

    An unknown range is the default.
    """
    key = chosen if chosen in RANGES else DEFAULT
    hours, step = RANGES[key]
    if last_hour is not None and last_hour < now_hour - hours:
        return Period(
            last_hour + 1 - hours, last_hour + 1, last_hour + 1, step, f"{NAMES[key]} to the last call", True
        )
    return Period(now_hour - hours, now_hour, now_hour + 1, step, f"last {NAMES[key]}", False)
