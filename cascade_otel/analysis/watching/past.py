"""What the detector would have said on each of the last days, had it looked once a day."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from cascade_otel.analysis.watching.look import Watcher, judged_at
from cascade_otel.analysis.watching.streams import KINDS
from cascade_otel.policy import Policy
from cascade_otel.records import Finding, Stream
from cascade_otel.storage.reading.rollup import Reader
from cascade_otel.storage.state import Baseline

Said = tuple[Sequence[Finding], Mapping[str, Baseline]]
"""What one look finds, and the reference of every task."""


@dataclass(frozen=True)
class PastDay:
    """One UTC day, looked at when it was over."""

    day: int
    """Since 1970."""
    references: Mapping[str, Baseline]
    """What each task that was judged, and no longer learning, was compared with."""
    paged: frozenset[str]
    """Tasks that began to drift that day: each is one page, however many of its streams moved."""


def past_days(
    look: Callable[[int, Said | None], Said],
    streams: Collection[Stream],
    end_day: int,
    days: int,
    tell: Callable[[int], None] = lambda done: None,
) -> list[PastDay]:
    """The ``days`` days before ``end_day``, oldest first.

    Args:
        look: judges all tasks by the hours before one, given what the look before said.
        streams: those that page.
        end_day: the first day (since 1970) that is not looked at: the one in progress.
        days: how many.
        tell: is called after each with how many are done.
    """
    said: Said | None = None
    drifting: set[str] = set()
    found = []
    for day in range(end_day - days, end_day):
        said = look((day + 1) * 24, said)
        findings, references = said
        # A group's page names its tasks, and each of them is judged by itself too.
        own = [one for one in findings if one.stream in streams and not one.tasks]
        before, drifting = drifting, {one.task for one in own if one.state == "drifting"}
        learned = {one.task for one in own if one.state != "learning"}
        judged = {
            task: one for task, one in references.items() if task in learned and one.end_hour <= day * 24
        }
        found.append(PastDay(day, judged, frozenset(drifting - before)))
        tell(len(found))
    return found


def looked_back(
    reader: Reader, policy: Policy, now_hour: int, days: int, tell: Callable[[int], None] = lambda done: None
) -> list[PastDay]:
    """The last whole ``days`` of a store, judged anew by today's policy; nothing is written.

    ``tell`` is called after each day with how many are done.
    """
    end_day = now_hour // 24
    hours = reader.span_hours()
    if hours is None or hours[0] // 24 >= end_day:
        return []
    watcher = Watcher()

    def look(hour: int, before: Said | None) -> Said:
        findings, references = before or ([], {})
        return judged_at(reader, watcher, policy, references, findings, (), hour)

    return past_days(look, KINDS, end_day, min(days, end_day - hours[0] // 24), tell)
