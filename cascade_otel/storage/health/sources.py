"""Who sends, what was put aside or left out at the source, clocks that run ahead, tiers without scores."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from cascade_otel.records import DAY_NS, HOUR_NS, SECOND_NS
from cascade_otel.storage.counters import Counters
from cascade_otel.storage.health.remarks import Remark, many, noted, of, some, utc, when, wrong
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.receiving import put_aside
from cascade_otel.storage.schema import TIER
from cascade_otel.storage.segments import Store

SKEW_NS = 5 * SECOND_NS
"""Clocks of two machines may differ by so much without a line."""
LATELY_NS = 7 * DAY_NS
"""What was last put aside longer ago than this is told, but is not wrong any more."""
DECIDED = 20
"""So many decisions without a single score are no accident."""
ADVICE = {
    "value": "a value could not be recorded; the service's log says which",
    "callable": "a callable of yours failed; the service's log says which",
    "unmatched": "a score came without its call; score inside the call, or pass the call on",
    "sdk": "the OpenTelemetry SDK failed; the service's log has the error",
    "audit": "an audit failed, or was one too many at once",
    "queue": "spans came faster than they were taken; look whether the receiver keeps up",
    "export": "the endpoint did not take spans; look whether it answers",
    "exit": "spans were left when the process ended; end it more slowly",
}


def remarks(store: Store, now_ns: int) -> Iterator[Remark]:
    """What is to be said of the senders."""
    yield from _put_aside(store, now_ns)
    yield from _left_out(store, now_ns)
    with open_reader(store) as reader:
        senders = reader.last_seen(now_ns + SKEW_NS)
        hour = now_ns // HOUR_NS
        sums = reader.sums(hour - 24, hour + 1)
    sites = sums[(sums["kind"] == TIER) & (sums["purpose"] == "") & sums["threshold"].notna()]
    tiers = sites.groupby(["task", "tier"])[["decided", "scored"]].sum()
    silent = tiers[(tiers["scored"] == 0) & (tiers["decided"] >= DECIDED)]
    if len(silent):
        listed = silent.reset_index()[["task", "tier", "decided"]].to_numpy().tolist()
        names = [f"{tier} of {task} ({decided:,} calls)" for task, tier, decided in listed]
        yield wrong(
            "no scores",
            f"tiers with a threshold, but without a confidence in the last 24 hours: {some(names)}. Their "
            "calibration and the cause of a shift cannot be known. Give the tier its confidence=, or "
            "annotate it.",
            {"tiers": [[task, tier] for task, tier, _ in listed]},
        )
    for name, last_start_ns, spans, ahead in senders[
        ["service", "last_start_ns", "spans", "ahead"]
    ].to_numpy():
        if ahead:
            yield wrong(
                "clock",
                f"{many(int(ahead), 'span')} of {of(name)} begin in the future, the last "
                f"{when(now_ns, int(last_start_ns))}. They count in the hours they claim. Set its "
                "machine's clock right.",
                {"service": name, "spans": int(ahead), "last_start_ns": int(last_start_ns)},
            )
        yield noted(
            "service",
            f"{of(name)}: {many(int(spans), 'span')}, the last began {when(now_ns, int(last_start_ns))}.",
            {"service": name, "spans": int(spans), "last_start_ns": int(last_start_ns)},
        )
    if not len(senders):
        yield noted(
            "service",
            "No span has arrived yet. Point a service's OTEL_EXPORTER_OTLP_ENDPOINT at what `cascade-otel "
            "serve` prints when its receiver is ready.",
        )


def _put_aside(store: Store, now_ns: int) -> Iterator[Remark]:
    for reason, last in sorted(put_aside.counted(store.root).items(), key=lambda item: -item[1]["time"]):
        sender = f" from {last['service']!r}" if last["service"] else ""
        span = f" (span {last['span_id']})" if last["span_id"] else ""
        at_ns = int(last["time"] * SECOND_NS)
        yield Remark(
            "put aside",
            now_ns - at_ns < LATELY_NS,
            f"put aside: {many(last['spans'], 'span')}, {reason}; the last{sender} at {utc(at_ns)}{span}. "
            "They count in no figure. Mend what the sender records; sent again, they are taken.",
            {"reason": reason, "spans": last["spans"], "last": dict(last)},
        )


def _left_out(store: Store, now_ns: int) -> Iterator[Remark]:
    hour = now_ns // HOUR_NS
    try:
        dropped = Counters(store.root).dropped(hour - 24, hour + 1)
    except sqlite3.Error:  # the comparison of spans with calls names it
        return
    lately = dropped.groupby(["service", "reason"], as_index=False)["n"].sum()
    for service, reason, n in lately.to_numpy().tolist():
        yield wrong(
            "left out",
            f"{of(service)} left out {many(n, 'item')} of telemetry in the last 24 hours, "
            f"{reason or 'unsaid'}: {ADVICE.get(reason, 'the service’s log says more')}. They count in no "
            "figure.",
            {"service": service, "reason": reason, "n": n},
        )
