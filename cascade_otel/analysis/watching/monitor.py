"""The detector's memory of a store: every look takes in what is new and what came late.

Of each stream two points are kept. One is ``LATE_HOURS`` old; a task whose counts of later hours are others
than they were is run again from there. The other is an hour old: the newest hour is taken in anew at every
look, because calls that ran past its end still arrive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cascade_otel.analysis.watching.learned import CHUNK_HOURS, Learned, Source, learned_from
from cascade_otel.analysis.watching.running import Point, Runner
from cascade_otel.analysis.watching.streams import KINDS, Counts, count
from cascade_otel.records import Stream
from cascade_otel.storage.state import Baseline

Ints = NDArray[np.int64]
Period = tuple[int, int]

LATE_HOURS = 26
"""What arrives later than this is in charts and references, but is not judged any more. Labels and audits
that are joined to their calls after midnight are still in time."""
USUALLY_LATE_HOURS = 3
"""Most of what comes late comes within so many hours: these are counted anew at every look,"""
WHOLE_EVERY_HOURS = 6
"""... and all ``LATE_HOURS`` so often."""


@dataclass(frozen=True)
class Standing:
    """What is known of M tasks, the newest hour included."""

    learned: Learned
    point: Point


@dataclass
class _Watch:
    """One stream of all tasks."""

    learned: Learned
    runner: Runner
    kept: Point
    recent: Point
    used: Counts
    """Counts of the hours from ``kept`` to ``recent``, as they were taken in."""
    newest: Counts
    """Counts of the hours since ``recent``."""
    whole_hour: int
    """The look at which everything since ``kept`` was counted last."""


@dataclass(frozen=True)
class Wanted:
    """What one look watches."""

    baselines: Mapping[str, Baseline]
    """Of each task that is watched its reference, over by now."""
    tiers: Mapping[str, str]
    """Of each task its first tier."""
    threshold_cells: Mapping[str, int]
    """Of each task the first accepted confidence cell, -1 unknown."""
    log_needed: Mapping[Stream, float]
    """Evidence that a page needs, in nats."""
    now_hour: int
    """The hour in progress, which is not looked at."""


@dataclass
class Monitor:
    """Lives as long as the job; ``kept`` and ``restore`` are for the time between two lives."""

    _watches: dict[Stream, _Watch] = field(default_factory=dict)
    _without: dict[Stream, dict[str, Period]] = field(default_factory=dict)
    """Tasks whose reference holds nothing that a stream counts, and which reference that was."""

    def look(self, source: Source, wanted: Wanted) -> dict[Stream, Standing]:
        """Where every stream stands that has something to count, after the last complete hour."""
        found = {stream: self._look(source, stream, wanted) for stream in KINDS}
        return {stream: standing for stream, standing in found.items() if standing is not None}

    def kept(self) -> dict[Stream, tuple[Learned, Point]]:
        """What a later monitor can go on from."""
        return {stream: (watch.learned, watch.kept) for stream, watch in self._watches.items()}

    def restore(self, kept: Mapping[Stream, tuple[Learned, Point]]) -> None:
        """Goes on from what an earlier monitor kept."""
        for stream, (learned, point) in kept.items():
            nothing = np.zeros((*learned.calls.shape, 0), np.int64)
            none = Counts(nothing, nothing)
            self._watches[stream] = _Watch(learned, Runner(learned), point, point, none, none, point.hour)

    def _look(self, source: Source, stream: Stream, wanted: Wanted) -> Standing | None:
        self._forget(stream, wanted)
        watch = self._watches.get(stream)
        added = self._learn(source, stream, wanted, watch)
        if watch is not None:
            self._catch_up(source, stream, watch, wanted)
        if added is not None:
            watch = added if watch is None else _joined(watch, added)
            self._watches[stream] = watch
        if watch is None:
            return None
        recent, needed = watch.recent, wanted.log_needed[stream]
        point = watch.runner.run(recent, watch.newest, recent.hour, wanted.now_hour, needed)
        return Standing(watch.learned, point)

    def _forget(self, stream: Stream, wanted: Wanted) -> None:
        """Drops tasks that are watched no more or have another reference, and all if time ran backwards."""
        watch = self._watches.get(stream)
        if watch is None:
            return
        if watch.kept.hour > wanted.now_hour - LATE_HOURS:
            del self._watches[stream]
            return
        learned = watch.learned
        stay = np.array(
            [
                place
                for place, task in enumerate(learned.tasks)
                if _period(wanted.baselines.get(task)) == (learned.starts[place], learned.ends[place])
                and wanted.tiers[task] == learned.tiers[place]
            ],
            np.int64,
        )
        if not len(stay):
            del self._watches[stream]
        elif len(stay) < len(learned.tasks):
            self._watches[stream] = _taken(watch, stay)

    def _learn(self, source: Source, stream: Stream, wanted: Wanted, watch: _Watch | None) -> _Watch | None:
        """A watch of the tasks that are not watched yet."""
        known = set(watch.learned.tasks) if watch is not None else set()
        without = self._without.setdefault(stream, {})
        for task in without.keys() - wanted.baselines.keys():
            del without[task]
        new = [
            one
            for task, one in wanted.baselines.items()
            if task not in known and without.get(task) != _period(one)
        ]
        if not new:
            return None
        cells = np.array([wanted.threshold_cells.get(one.task, -1) for one in new], np.int64)
        # A few new tasks learn from what the many taught; many are a fleet of their own.
        teacher = watch.learned if watch is not None and len(new) < len(known) else None
        tiers = [wanted.tiers[one.task] for one in new]
        learned = learned_from(source, stream, new, tiers, cells, teacher)
        found = set(learned.tasks) if learned is not None else set()
        for one in new:
            if one.task not in found:
                without[one.task] = one.start_hour, one.end_hour
        return None if learned is None else _begun(source, stream, learned, wanted)

    def _catch_up(self, source: Source, stream: Stream, watch: _Watch, wanted: Wanted) -> None:
        """Brings both points up to date with what is new and what came late."""
        needed, start, now = wanted.log_needed[stream], watch.kept.hour, wanted.now_hour
        counts = _counts_since_kept(source, watch, now)
        late = _differ(watch.used, counts)
        if len(late):
            part = Runner(watch.learned.take(late))
            again = part.run(
                watch.kept.take(late), _taken_counts(counts, late), start, watch.recent.hour, needed
            )
            watch.recent = watch.recent.replace(late, again)
        watch.recent = watch.runner.run(watch.recent, counts, start, now - 1, needed)
        watch.kept = watch.runner.run(watch.kept, counts, start, now - LATE_HOURS, needed)
        watch.used = _cut(counts, watch.kept.hour - start, watch.recent.hour - start)
        watch.newest = _cut(counts, watch.recent.hour - start, now - start)


def _counts_since_kept(source: Source, watch: _Watch, now_hour: int) -> Counts:
    """Counts from ``kept`` to now, the older ones mostly as they were taken in."""
    start, since = watch.kept.hour, watch.recent.hour - USUALLY_LATE_HOURS
    if since <= start or now_hour // WHOLE_EVERY_HOURS != watch.whole_hour // WHOLE_EVERY_HOURS:
        watch.whole_hour = now_hour
        return _counted(source, watch.learned, start, now_hour)
    before, after = _cut(watch.used, 0, since - start), _counted(source, watch.learned, since, now_hour)
    return Counts(
        np.concatenate([before.calls, after.calls], axis=2), np.concatenate([before.hits, after.hits], axis=2)
    )


def _begun(source: Source, stream: Stream, learned: Learned, wanted: Wanted) -> _Watch:
    """A watch of tasks of which nothing has been taken in yet."""
    needed, keep = wanted.log_needed[stream], wanted.now_hour - LATE_HOURS
    runner = Runner(learned)
    kept = runner.begin(min(int(learned.ends.min()), keep - 1))
    while kept.hour < keep:
        until = min(kept.hour + CHUNK_HOURS, keep)
        counts = _counted(source, learned, kept.hour, until)
        kept = runner.run(kept, counts, kept.hour, until, needed)
    counts = _counted(source, learned, keep, wanted.now_hour)
    recent = runner.run(kept, counts, keep, wanted.now_hour - 1, needed)
    before = recent.hour - keep
    used, newest = _cut(counts, 0, before), _cut(counts, before, before + 1)
    return _Watch(learned, runner, kept, recent, used, newest, wanted.now_hour)


def _joined(watch: _Watch, other: _Watch) -> _Watch:
    learned = watch.learned.join(other.learned)
    kept, recent = watch.kept.join(other.kept), watch.recent.join(other.recent)
    used, newest = _both(watch.used, other.used), _both(watch.newest, other.newest)
    return _Watch(learned, Runner(learned), kept, recent, used, newest, watch.whole_hour)


def _taken(watch: _Watch, places: Ints) -> _Watch:
    learned = watch.learned.take(places)
    kept, recent = watch.kept.take(places), watch.recent.take(places)
    used, newest = _taken_counts(watch.used, places), _taken_counts(watch.newest, places)
    return _Watch(learned, Runner(learned), kept, recent, used, newest, watch.whole_hour)


def _counted(source: Source, learned: Learned, start_hour: int, end_hour: int) -> Counts:
    cells = source(KINDS[learned.stream].measure, learned.tasks, learned.tiers, start_hour, end_hour)
    return count(learned.stream, cells, learned.cuts, start_hour, end_hour)


def _differ(used: Counts, counts: Counts) -> Ints:
    """Tasks of which some hour that was taken in is another by now."""
    hours = used.calls.shape[2]
    same = (used.calls == counts.calls[:, :, :hours]) & (used.hits == counts.hits[:, :, :hours])
    return np.nonzero(~same.all((1, 2)))[0]


def _taken_counts(counts: Counts, places: Ints) -> Counts:
    return Counts(counts.calls[places], counts.hits[places])


def _both(one: Counts, other: Counts) -> Counts:
    return Counts(np.concatenate([one.calls, other.calls]), np.concatenate([one.hits, other.hits]))


def _cut(counts: Counts, start: int, end: int) -> Counts:
    return Counts(counts.calls[:, :, start:end], counts.hits[:, :, start:end])


def _period(baseline: Baseline | None) -> Period | None:
    return None if baseline is None else (baseline.start_hour, baseline.end_hour)
