"""What a stream did, in words: from what to what, by the names that people have for it."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from cascade_otel.presentation import words
from cascade_otel.records import Finding, Stream

NAMES: dict[Stream, str] = {
    "escalation_rate": "escalation rate",
    "confidence_shape": "shape of the confidences",
    "missing_confidence_rate": "answers without a confidence",
    "error_rate": "failing calls",
    "audited_disagreement": "audits that disagree",
    "calibration_gap": "wrong answers at the same confidence",
    "latency_accepted": "latency, accepted",
    "latency_escalated": "latency, escalated",
    "cost_accepted": "cost, accepted",
    "cost_escalated": "cost, escalated",
}
"""Streams that the detector judges, in the order in which they are listed."""
_SENTENCE: dict[Stream, str] = {
    "escalation_rate": "escalation",
    "missing_confidence_rate": "answers of {tier} without a confidence",
    "error_rate": "failing calls to {tier}",
    "audited_disagreement": "audited answers the stronger tier disagrees with",
    "calibration_gap": "wrong answers at the same confidence",
    "latency_accepted": "latency of accepted calls",
    "latency_escalated": "latency of escalated calls",
    "cost_accepted": "cost of an accepted call",
    "cost_escalated": "cost of an escalated call",
}
STREAMS_COLUMNS = ["stream", "state", "before", "now", "evidence", "since"]


def change(finding: Finding) -> str:
    """What moved, from where to where: ``escalation 20% → 40%``."""
    if finding.stream == "confidence_shape":
        return "confidences are spread otherwise than before"
    what = _SENTENCE.get(finding.stream, finding.stream.replace("_", " ")).format(
        tier=words.name(finding.tier)
    )
    if finding.quantile is not None:
        what += " (median)" if finding.quantile == 0.5 else f" (p{100 * finding.quantile:.0f})"
    before, now = values(finding)
    return f"{what} {before} → {now}" if before and now else what


def values(finding: Finding) -> tuple[str, str]:
    """What the stream measured before and since, as text; empty where there is no single number."""
    if finding.stream == "escalation_rate" and finding.reference and finding.current:
        return words.share(finding.reference.rate), words.share(finding.current.rate)
    if finding.before is None or finding.now is None:
        return "", ""
    if finding.stream.startswith("latency"):
        return words.seconds(finding.before), words.seconds(finding.now)
    if finding.stream.startswith("cost"):
        return words.money(finding.before, finding.currency), words.money(finding.now, finding.currency)
    return words.share(finding.before), words.share(finding.now)


def evidence(finding: Finding) -> str:
    """How much evidence there is of how much a page needs; empty for what has none."""
    if not finding.log_needed:
        return ""
    return f"evidence {max(finding.log_evidence, 0):.1f} of {finding.log_needed:.1f}"


def streams(findings: Iterable[Finding]) -> pd.DataFrame:
    """One row per stream of one task that the detector judges, ``STREAMS_COLUMNS`` as texts; evidence in
    percent of what a page needs.
    """
    by_stream = {one.stream: one for one in findings if one.stream in NAMES}
    rows = [
        {"stream": name, **_row(by_stream[stream])} for stream, name in NAMES.items() if stream in by_stream
    ]
    return pd.DataFrame(rows, columns=STREAMS_COLUMNS)


def members(findings: Iterable[Finding], group: Finding) -> pd.DataFrame:
    """One row per affected task of a group, what the group's stream did in it: task, and the columns of
    ``streams`` without the stream.
    """
    by_task = {one.task: one for one in findings if one.stream == group.stream}
    rows = [{"task": words.name(task), **_row(by_task[task])} for task in group.tasks if task in by_task]
    return pd.DataFrame(rows, columns=["task", *STREAMS_COLUMNS[1:]])


def _row(one: Finding) -> dict[str, object]:
    before, now = values(one)
    shifted = one.state in ("suspect", "drifting") and one.since_hour is not None
    return {
        "state": one.state.replace("_", " "),
        "before": before,
        "now": now,
        "evidence": 100 * max(one.log_evidence, 0.0) / one.log_needed if one.log_needed else float("nan"),
        "since": words.hour(one.since_hour) if shifted and one.since_hour is not None else "",
    }
