"""Spans compared with what the sources counted: are they sampled, lost, or chosen by how calls ended?

A call is counted, and its span handed on, when it ends; the count then waits for the next export. So spans
are placed by their end, and those of ``EXPORT_NS`` before the compared hours are credited to them: a
difference that is found is too small rather than too large.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from scipy import stats

from cascade_otel.records import HOUR_NS, SECOND_NS
from cascade_otel.storage import files
from cascade_otel.storage.counters import NAME, Counters
from cascade_otel.storage.health.remarks import Remark, many, noted, of, some, wrong
from cascade_otel.storage.manifest import Live
from cascade_otel.storage.schema import TIER
from cascade_otel.storage.segments import Store

HOURS = 24
EXPORT_NS = 300 * SECOND_NS
FEW, SHARE = 5, 0.02
"""So many calls, or this share of them, may be without a span and nothing is said."""
LEVEL, POINTS, LEAST_VARIANCE = 0.001, 0.01, 4.0
"""A share differs beyond chance at this level, over all tests of a report, and by so much to matter."""
BACK_HOURS, BACK_DAYS = 48, 2
"""How far back the last hour with counts is looked for, and the starts of spans that ended in the hours."""
OTHER = "other"
"""What the recording side calls the tasks and tiers on metrics that are too many."""
REASONS = ("queue", "export", "exit")
"""What a source drops spans for."""


@dataclass(frozen=True)
class Task:
    """Production tier calls of one task of a service: counted, with a span, and what the spans stand for."""

    service: str
    task: str
    calls: int
    spans: int
    adjusted: float
    outcomes: Mapping[str, tuple[int, int]]
    """How many calls ended so, and how many spans say so."""

    @property
    def is_short(self) -> bool:
        """Fewer spans than calls."""
        return self.calls - self.spans > max(FEW, SHARE * self.calls)

    @property
    def is_told(self) -> bool:
        """The spans' weights make up for those that are missing."""
        each = self.adjusted / self.spans if self.spans else 1.0
        chance = 4 * math.sqrt(self.calls * max(each - 1, 0.0))  # standard errors of a sum of such weights
        return abs(self.adjusted - self.calls) <= max(FEW, SHARE * self.calls) + chance


@dataclass(frozen=True)
class Bias:
    """An outcome, and its share of the spans and of the calls."""

    outcome: str
    of_spans: float
    of_calls: float


def remarks(store: Store, broken: Collection[str], now_ns: int) -> Iterator[Remark]:
    """What the counts of the last complete hours say of the spans. Nothing where there are no counts."""
    end = now_ns // HOUR_NS
    try:
        tasks = compared(store, broken, end)
        dropped = Counters(store.root).dropped(end - HOURS, end)
    except sqlite3.Error as error:
        yield wrong(
            "counters",
            f"{store.root / NAME} cannot be read ({error}): spans are not compared with the sources' "
            "counts, and metrics are refused. Move the file away and start the receiver again; counting "
            "begins anew.",
            {"path": str(store.root / NAME)},
        )
        return
    short = [task for task in tasks if task.is_short]
    level = LEVEL / max(sum(len(task.outcomes) for task in short), 1)
    for service in sorted({task.service for task in short}):
        mine = sorted((t for t in short if t.service == service), key=lambda t: t.spans - t.calls)
        found = {task.task: bias(task, level) for task in mine}
        biased = {name: one for name, one in found.items() if one}
        if told := [task for task in mine if task.is_told and task.task not in biased]:
            yield _sampled(service, told)
        if lost := [task for task in mine if not task.is_told]:
            reasons = dropped[(dropped["service"] == service) & dropped["reason"].isin(REASONS)]
            if any(task.spans for task in tasks if task.service == service):
                yield _lost(service, lost, int(reasons["n"].sum()))
            else:
                yield _silent(service, lost, int(reasons["n"].sum()))
        if biased:
            yield _biased(service, biased)
    if tasks and not short:
        calls = sum(task.calls for task in tasks)
        yield noted(
            "sampling",
            f"Spans have arrived of all {many(calls, 'call')} that services counted in the last "
            f"{HOURS} hours.",
            {"calls": calls, "spans": sum(task.spans for task in tasks)},
        )


def compared(store: Store, broken: Collection[str], end_hour: int) -> list[Task]:
    """Every task of which calls were counted in the ``HOURS`` before it. Raises ``sqlite3.Error``."""
    start = end_hour - HOURS
    calls = Counters(store.root).calls(start - BACK_HOURS, end_hour)
    calls = calls[calls["purpose"] == ""]
    if not (calls["hour"] >= start).any():
        return []
    spans = _spans(store, broken, start - BACK_HOURS, end_hour)
    found = []
    for service, counted in calls.groupby("service"):
        now, before = counted[counted["hour"] >= start], counted[counted["hour"] < start]["hour"]
        if now.empty:
            continue
        # An outage ends in one count of all of it; a service that is new to metrics begins with its first.
        since = int(before.max() + 1 if len(before) else now["hour"].min())
        is_within = (spans["hour"] >= since) | ((spans["hour"] == since - 1) & spans["is_late"])
        own = spans[(spans["service"] == service) & is_within]
        names = set(now["task"])
        own = own.assign(task=own["task"].where(own["task"].isin(names), OTHER))
        found += [
            _task(str(service), str(task), rows, own[own["task"] == task])
            for task, rows in now.groupby("task")
        ]
    return found


def _task(service: str, task: str, calls: pd.DataFrame, spans: pd.DataFrame) -> Task:
    counted, kept = calls.groupby("outcome")["n"].sum(), spans.groupby("outcome")["n"].sum()
    return Task(
        service,
        task,
        calls=int(calls["n"].sum()),
        spans=int(spans["n"].sum()),
        adjusted=float(spans["adjusted"].sum()),
        outcomes={str(name): (int(n), int(kept.get(name, 0))) for name, n in counted.items() if name},
    )


def bias(task: Task, level: float) -> Bias | None:
    """The outcome whose share differs most, if chance does not explain it; of a task with fewer spans.

    The spans are some of the calls: had they been drawn without regard to the outcome, their share would
    vary around that of the calls with the variance of drawing without replacement. Tested on both sides by
    the normal approximation, where it holds.
    """
    found: Bias | None = None
    if not 0 < task.spans < task.calls:
        return None
    for name, (calls, spans) in task.outcomes.items():
        true, share = calls / task.calls, spans / task.spans
        variance = task.spans * true * (1 - true) * (task.calls - task.spans) / (task.calls - 1)
        if variance < LEAST_VARIANCE:
            continue
        chance = 2 * stats.norm.sf(abs(spans - task.spans * true) / math.sqrt(variance))
        if chance < level and abs(share - true) > max(
            POINTS, abs(found.of_spans - found.of_calls) if found else 0
        ):
            found = Bias(name, share, true)
    return found


def _spans(store: Store, broken: Collection[str], start_hour: int, end_hour: int) -> pd.DataFrame:
    """Production tier spans by service, task, outcome and the hour of their end: n, adjusted, is_late.

    ``is_late``: they ended in the last ``EXPORT_NS`` of the hour.
    """
    query = f"""
    SELECT coalesce(service, '') AS service, task, coalesce(outcome, '') AS outcome,
           (end_ns // {HOUR_NS})::BIGINT AS hour, end_ns % {HOUR_NS} >= {HOUR_NS - EXPORT_NS} AS is_late,
           count(*) AS n, sum(coalesce(weight_ppm, 1000000))::DOUBLE / 1e6 AS adjusted
    FROM (SELECT DISTINCT ON (span_id, trace_lo)
                 service, task, outcome, weight_ppm, start_ns::HUGEINT + duration_ns AS end_ns
          FROM (SELECT * FROM nothing UNION ALL BY NAME SELECT * FROM {{rows}})
          WHERE kind = {TIER} AND coalesce(purpose, '') = ''
                AND start_ns::HUGEINT + duration_ns >= {start_hour * HOUR_NS}
                AND start_ns::HUGEINT + duration_ns < {end_hour * HOUR_NS})
    GROUP BY ALL
    """

    def ask(days: list[Live]) -> pd.DataFrame:
        paths = [path for day in days for path in day.rows() if path not in broken]
        rows = files.relation(paths) if paths else "nothing"
        found: pd.DataFrame = connection.execute(query.format(rows=rows)).df()
        return found

    connection = files.connect(store)
    try:
        wanted = range(start_hour // 24 - BACK_DAYS, end_hour // 24 + 1)
        return store.read(ask, [day for day in store.days() if day in wanted])
    finally:
        connection.close()


def _named(tasks: list[Task]) -> str:
    return some([f"{task.task} {task.spans:,} of {task.calls:,}" for task in tasks])


def _about(tasks: list[Task]) -> dict[str, Any]:
    return {
        "service": tasks[0].service,
        "calls": sum(task.calls for task in tasks),
        "spans": sum(task.spans for task in tasks),
        "adjusted": round(sum(task.adjusted for task in tasks)),
        "tasks": {task.task: {"calls": task.calls, "spans": task.spans} for task in tasks},
    }


def _sampled(service: str, tasks: list[Task]) -> Remark:
    about = _about(tasks)
    return noted(
        "sampled",
        f"{of(service)} samples its spans: {about['spans']:,} arrived of {about['calls']:,} calls in the "
        f"last {HOURS} hours, and by their weights they stand for {about['adjusted']:,} "
        f"({_named(tasks)}). Rates and latencies are right, less sure; counts and costs are those of the "
        "spans kept. To see every call, let its sampler record all of cascade_otel's spans.",
        about,
    )


def _lost(service: str, tasks: list[Task], dropped: int) -> Remark:
    about = {**_about(tasks), "dropped_at_source": dropped}
    left_out = f" The service itself says that it left out {many(dropped, 'span')}." if dropped else ""
    return wrong(
        "lost",
        f"{of(service)}: {about['spans']:,} spans arrived of {about['calls']:,} calls that it counted in "
        f"the last {HOURS} hours ({_named(tasks)}). They are lost, or sampled by something that does not "
        f"say so (no weight makes up for them).{left_out} Counts and costs are too low, and rates are "
        "wrong if what is missing is not like the rest. Look at OTEL_TRACES_SAMPLER of the service, at "
        "tail_sampling, filter and probabilistic_sampler of every Collector on the way, and at what was "
        "put aside.",
        about,
    )


def _silent(service: str, tasks: list[Task], dropped: int) -> Remark:
    about = {**_about(tasks), "dropped_at_source": dropped}
    left_out = f" It says itself that it left out {many(dropped, 'span')}." if dropped else ""
    return wrong(
        "lost",
        f"{of(service)}: its metrics arrive, but no span of the {many(about['calls'], 'call')} that it "
        f"counted in the last {HOURS} hours. Most likely it sends no traces at all: look at "
        "OTEL_TRACES_EXPORTER (none?) and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT of the service, and whether "
        "every Collector on the way has a pipeline of traces that ends here. If it does send them: at "
        f"OTEL_TRACES_SAMPLER, and at what was put aside.{left_out} None of these calls is in any figure.",
        about,
    )


def _biased(service: str, tasks: Mapping[str, Bias]) -> Remark:
    named = some(
        [
            f"{task}: {one.of_spans:.1%} of spans but {one.of_calls:.1%} of calls {one.outcome}"
            for task, one in tasks.items()
        ]
    )
    return wrong(
        "biased",
        f"{of(service)}: spans are kept by how their calls ended ({named}), as tail sampling does. Every "
        "rate, cost and latency of these tasks is biased. Let the tail sampler pass all traces with a "
        "cascade.task, or draw among them at random.",
        {"service": service, "tasks": {task: asdict(one) for task, one in tasks.items()}},
    )
