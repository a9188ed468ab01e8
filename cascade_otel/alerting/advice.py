"""What to do about an alert, and where its runbook is."""

from __future__ import annotations

import shlex

from cascade_otel.alerting.words import PLAIN
from cascade_otel.records import Alert, CauseName, Stream

RUNBOOKS = "alerts/runbooks.md"
"""Where the runbooks are unless said otherwise: a path, to which an address may be put in front."""

STREAM_ANCHORS: dict[Stream, str] = {
    "escalation_rate": "escalation-rate",
    "confidence_shape": "confidence-shape",
    "missing_confidence_rate": "missing-confidence",
    "error_rate": "tier-errors",
    "audited_disagreement": "audited-disagreement",
    "calibration_gap": "calibration-gap",
    "latency_accepted": "latency",
    "latency_escalated": "latency",
    "cost_accepted": "cost-of-a-call",
    "cost_escalated": "cost-of-a-call",
    "tier_errors": "tier-errors",
    "missing_confidence": "missing-confidence",
    "escalation_limit": "escalation-limit",
    "cost_limit": "cost-limit",
    "no_data": "no-data",
}
CAUSE_ANCHORS: dict[CauseName, str] = {
    "model": "cause-model",
    "inputs": "cause-inputs",
    "threshold": "cause-threshold",
    "confidence_scale": "cause-confidence-scale",
    "hidden_inputs": "cause-hidden-inputs",
    "silent_decay": "cause-silent-decay",
    "model_or_inputs": "cause-model-or-inputs",
    "unknown": "cause-unknown",
}

_OF_A_GROUP = "Look first at what these tasks share: the model, its provider, a deployment, code."
_ACCEPT = "If it is here to stay: cascade-otel drift accept TASK (the task learns anew)."

_BY_CAUSE: dict[CauseName, tuple[str, ...]] = {
    "model": (
        "Look at which model or version changed (marks on the task's chart), and go back to the former one.",
        "If it has to stay: compare answers before and after, then set τ anew.",
        _ACCEPT,
    ),
    "inputs": (
        "Look at which segment grew (task page), and at who sends it.",
        "If it is wanted traffic: give it a task of its own, or plan for the cost.",
        _ACCEPT,
    ),
    "threshold": (
        "Look for the deployment that moved τ, and ask whether it was meant.",
        "If not: roll it back. The confidences have not changed.",
        _ACCEPT,
    ),
    "confidence_scale": (
        "Look at what computes the confidence: another model, prompt, log probabilities, scorer?",
        "The answers are as good as before: set τ anew, so that the same share is handed on.",
        _ACCEPT,
    ),
    "hidden_inputs": (
        "Compare calls from before and after on the task page: what do the new inputs have in common?",
        "Record that as segment=: the next alert can then say which kind of input grew.",
        _ACCEPT,
    ),
    "silent_decay": (
        "Read some audited answers that the strong tier rejected: worse answers, or another strong tier?",
        "If they are worse: raise τ or go back to the former model; the confidences do not show it.",
        _ACCEPT,
    ),
    "model_or_inputs": (
        "Compare calls from before and after on the task page: other inputs, or other answers to the same?",
        "Record input_segment or the response model: the next alert can then tell the two apart.",
        _ACCEPT,
    ),
    "unknown": (
        "Compare calls from before and after on the task page; look at what was deployed around that time.",
        _ACCEPT,
    ),
}
_LATENCY = (
    "Look at which tier became slower (task page), and at the provider's status page.",
    "Longer inputs or answers take longer: compare input sizes and tokens before and after.",
    _ACCEPT,
)
_COST_OF_A_CALL = (
    "Look at what a call is made of (task page): tokens, another model, another price, more tiers.",
    _ACCEPT,
)
_BY_STREAM: dict[Stream, tuple[str, ...]] = {
    "latency_accepted": _LATENCY,
    "latency_escalated": _LATENCY,
    "cost_accepted": _COST_OF_A_CALL,
    "cost_escalated": _COST_OF_A_CALL,
    "tier_errors": (
        "Read the error types of the newest calls on the task page, and the provider's status page.",
        "Check key, quota and model name of this tier. Answers still come from the next tier, at its price.",
    ),
    "missing_confidence": (
        "Look at a newest answer: has its format changed, or does the provider leave out log probabilities?",
        "Check the code behind confidence=. Without a score a call escalates, at the next tier's price.",
    ),
    "error_rate": (
        "Read the error types of the newest calls on the task page, and the provider's status page.",
        "Answers still come from the next tier, at its price.",
        _ACCEPT,
    ),
    "missing_confidence_rate": (
        "Look at the newest answers without a confidence: has their format changed?",
        "Check the code behind confidence=. Without a score a call escalates, at the next tier's price.",
        _ACCEPT,
    ),
    "escalation_limit": (
        "Look at the reasons for escalating on the task page: errors, low or missing confidence, policy.",
        "If the limit is too tight: raise it in cascade.toml.",
    ),
    "cost_limit": (
        "Look at what rose on the task page: calls, escalation rate, or the cost of a call.",
        "If the budget is too tight: raise it in cascade.toml.",
    ),
    "no_data": (
        "Is the app meant to be quiet? Then nothing is wrong; the alert ends with the next calls.",
        "Run cascade-otel doctor: it says when each service was last heard of, and what was put aside.",
        "Check the app's OTLP endpoint and its log for export errors.",
    ),
}


def steps(alert: Alert, store: str | None = None) -> tuple[str, ...]:
    """One to four things to do, the first one first; none when nothing is left to do.

    ``store``: folder that commands name; None where they need not.
    """
    finding = alert.finding
    if alert.status == "resolved":
        return ()
    if alert.status == "no_data":
        return _BY_STREAM["no_data"]
    chosen = _BY_STREAM.get(finding.stream) or _BY_CAUSE[finding.cause.name if finding.cause else "unknown"]
    if finding.tasks:
        chosen = (_OF_A_GROUP, *(step for step in chosen if step != _ACCEPT))
    # A name that is no plain word would need quoting for the shell and could be made to run something there.
    task = alert.task if PLAIN.fullmatch(alert.task) and alert.task[0] != "-" else "TASK"
    if store is not None:
        task += f" --store {shlex.quote(store)}"
    return tuple(step.replace("TASK", task) for step in chosen)


def runbook(alert: Alert, runbooks: str = RUNBOOKS) -> str:
    """The runbook's address: the cause's chapter where one is known, else the stream's."""
    finding = alert.finding
    if alert.status == "no_data":
        anchor = STREAM_ANCHORS["no_data"]
    elif finding.cause is not None and finding.stream not in _BY_STREAM:
        anchor = CAUSE_ANCHORS[finding.cause.name]
    else:
        anchor = STREAM_ANCHORS[finding.stream]
    return f"{runbooks}#{anchor}"
