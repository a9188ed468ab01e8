"""Findings and alerts that the tests of this room share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

from cascade_otel.alerting import states
from cascade_otel.analysis.watching.streams import KINDS
from cascade_otel.records import HOUR_NS, SECOND_NS, Alert, Cause, Effect, Finding, Stream, Window

STREAMS: tuple[Stream, ...] = get_args(Stream)
HOUR = 493_000  # 29 March 2026, 16:00 UTC
NOW_NS = (HOUR + 1) * HOUR_NS + 300 * SECOND_NS

CAUSE = Cause(
    name="model",
    inputs=Effect(0.9, -0.3, 2.0),
    model=Effect(10.2, 8.8, 11.9),
    threshold=Effect(0.0, 0.0, 0.0),
    note="The answering model changed from nano-0801 to nano-1101 within the interval.",
)
RATE = Finding(
    task="organic",
    tier="small",
    stream="escalation_rate",
    state="drifting",
    hour=HOUR,
    log_evidence=14.32,
    log_needed=11.8,
    days_learned=7,
    reference=Window(HOUR - 500, HOUR - 44, 9800, 1970),
    current=Window(HOUR - 44, HOUR + 1, 2310, 725),
    since_hour=HOUR - 44,
    since_low_hour=HOUR - 60,
    since_high_hour=HOUR - 38,
    paged_hour=HOUR - 9,
    cause=CAUSE,
    cost_per_day=3.2,
)
LIMIT = Finding(
    task="organic",
    tier="small",
    stream="tier_errors",
    state="drifting",
    hour=HOUR,
    current=Window(HOUR, HOUR + 1, 112, 0),
    value=1.0,
    limit=0.5,
)
SILENT = replace(
    RATE, state="no_data", since_hour=HOUR - 7, since_low_hour=None, since_high_hour=None, cause=None
)


_SHARES = {"before": 0.021, "now": 0.084}
_SECONDS = {"before": 0.82, "now": 2.4, "quantile": 0.9}
LEVELS: dict[Stream, dict[str, Any]] = {
    "missing_confidence_rate": _SHARES,
    "error_rate": _SHARES,
    "audited_disagreement": _SHARES,
    "calibration_gap": _SHARES,
    "latency_accepted": _SECONDS,
    "latency_escalated": _SECONDS,
    "cost_accepted": {"before": 0.0004, "now": 0.0009, "quantile": 0.5},
    "cost_escalated": {"before": 0.012, "now": 0.019, "quantile": 0.99},
}
"""From what to what the streams move that are no shares of escalated calls."""


def finding(stream: Stream, state: Any = "drifting", **fields: Any) -> Finding:
    """A finding of any stream as its room makes them."""
    if stream in KINDS:
        base = SILENT if state == "no_data" else replace(RATE, **LEVELS.get(stream, {}))
    elif stream == "no_data":
        base = replace(SILENT, state="no_data" if state == "drifting" else state)
        state = base.state
    elif stream == "cost_limit":
        base = replace(LIMIT, tier="", current=None, value=121.5, limit=100.0)
    else:
        base = LIMIT
    return replace(base, **{"stream": stream, "state": state, **fields})


def opened(*findings: Finding, now_ns: int = NOW_NS) -> Alert:
    """The one alert that these findings open."""
    (alert,) = states.advance([], findings, "store", now_ns).alerts
    return alert


def calm(stream: Stream) -> Finding:
    """What is found when the stream is as it should be again."""
    if stream in KINDS:
        return finding(stream, "quiet", current=Window(HOUR - 20, HOUR + 4, 900, 190), since_hour=None)
    return finding(stream, "quiet", value=3.2 if stream == "cost_limit" else 0.01)
