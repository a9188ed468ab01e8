"""Is it real? Judges each task's escalation rate and the shape of its confidences by its own reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cascade_otel.analysis.baselines import DAYS_NEEDED, learned
from cascade_otel.analysis.watch import Verdict, part_of, rate_streams, shape_streams, watch
from cascade_otel.policy import PageBudget
from cascade_otel.records import Finding, Stream, TaskHours, TaskState, Window
from cascade_otel.statistics.detector import log_needed
from cascade_otel.storage.state import Baseline

WEIGHTS: Mapping[Stream, float] = {"escalation_rate": 0.5, "confidence_shape": 0.5}
"""Share of the page budget of each stream; they add up to 1."""
SILENT_HOURS = 6
BUSY_CALLS_A_DAY = 24
"""Only a task that had so many calls a day can be missed when it has none."""

Ints = NDArray[np.int64]


def judge(
    history: TaskHours, baselines: Mapping[str, Baseline], page_budget: PageBudget, now_hour: int
) -> list[Finding]:
    """One finding for each task and stream, without cause and cost.

    Tasks whose reference is shorter than 7 days are *learning*; one without any confidence in its reference
    has no finding on their shape. Depends on its arguments alone: the same hours give the same findings.

    Args:
        history: counts that reach back to the start of every baseline.
        baselines: of each task; a task without one is passed over.
        page_budget: false pages allowed over all tasks and both streams.
        now_hour: the hour in progress, which is not looked at.
    """
    history = _until(history, now_hour)
    days = days_with_calls(history)
    findings: list[Finding] = []
    ready: list[int] = []
    for index, task in enumerate(history.tasks):
        if task not in baselines:
            continue
        known = len(learned(baselines[task], days[index]))
        if known >= DAYS_NEEDED:
            ready.append(index)
        else:
            findings += [
                _blank(history, index, stream, baselines[task], "learning", known) for stream in WEIGHTS
            ]
    if ready:
        chosen = [baselines[history.tasks[index]] for index in ready]
        findings += _judge_ready(history, ready, chosen, page_budget)
    order = {task: place for place, task in enumerate(history.tasks)}
    return sorted(findings, key=lambda finding: order[finding.task])


def days_with_calls(history: TaskHours) -> list[Ints]:
    """Per task the whole UTC days with calls, ascending; the first only if its calls began at midnight."""
    end = int(history.hours[-1]) + 1 if len(history.hours) else 0
    found = []
    for calls in history.calls:
        hours = history.hours[calls > 0]
        days = np.unique(hours // 24)
        partial = len(hours) > 0 and hours[0] % 24 != 0
        days = days[1:] if partial else days
        found.append(days[days * 24 + 24 <= end])
    return found


def _until(history: TaskHours, now_hour: int) -> TaskHours:
    complete = int(np.searchsorted(history.hours, now_hour))
    return replace(
        history,
        hours=history.hours[:complete],
        calls=history.calls[:, :complete],
        escalated=history.escalated[:, :complete],
        confidence=history.confidence[:, :complete],
    )


def _judge_ready(
    history: TaskHours, ready: Sequence[int], baselines: Sequence[Baseline], budget: PageBudget
) -> list[Finding]:
    scored = [
        place
        for place, (index, baseline) in enumerate(zip(ready, baselines, strict=True))
        if history.confidence[index, part_of(history, baseline.start_hour, baseline.end_hour)].any()
    ]
    of_stream: dict[Stream, list[int]] = {
        "escalation_rate": list(range(len(ready))),
        "confidence_shape": scored,
    }
    findings = []
    for stream, places in of_stream.items():
        if not places:
            continue
        tasks, chosen = [ready[place] for place in places], [baselines[place] for place in places]
        needed = log_needed(len(ready), budget.hours, budget.pages, WEIGHTS[stream])
        streams = (
            rate_streams(history, tasks)
            if stream == "escalation_rate"
            else shape_streams(history, tasks, chosen)
        )
        verdicts = watch(history.hours, streams, chosen, needed)
        findings += [
            _finding(history, index, stream, baseline, verdict, needed)
            for index, baseline, verdict in zip(tasks, chosen, verdicts, strict=True)
        ]
    return findings


def _finding(
    history: TaskHours, index: int, stream: Stream, baseline: Baseline, verdict: Verdict, needed: float
) -> Finding:
    silent_since = _silent_since(history, index, baseline)
    state = verdict.state if silent_since is None else "no_data"
    finding = replace(
        _blank(history, index, stream, baseline, state, DAYS_NEEDED),
        log_evidence=verdict.evidence,
        log_needed=needed,
        since_hour=silent_since,
    )
    if verdict.change is None or silent_since is not None:
        return finding
    since, low, high = (
        baseline.end_hour + place for place in (verdict.change.index, verdict.change.low, verdict.change.high)
    )
    return replace(
        finding,
        current=_window(history, index, since, finding.hour + 1),
        since_hour=since,
        since_low_hour=low,
        since_high_hour=high,
        paged_hour=verdict.paged_hour,
    )


def _blank(
    history: TaskHours, index: int, stream: Stream, baseline: Baseline, state: TaskState, days: int
) -> Finding:
    end = int(history.hours[-1]) + 1
    return Finding(
        task=history.tasks[index],
        tier=history.tiers[index],
        stream=stream,
        state=state,
        hour=end - 1,
        days_learned=days,
        days_needed=DAYS_NEEDED,
        reference=_window(history, index, baseline.start_hour, min(baseline.end_hour, end)),
        current=_window(history, index, end - 24, end),
    )


def _silent_since(history: TaskHours, index: int, baseline: Baseline) -> int | None:
    """The hour since which a busy task has had no calls for longer than it ever had; None: it has calls."""
    reference = history.calls[index, part_of(history, baseline.start_hour, baseline.end_hour)]
    busy = reference.sum() >= BUSY_CALLS_A_DAY * len(reference) / 24
    called = np.nonzero(history.calls[index])[0]
    if not busy or not len(called):
        return None
    gap = len(history.hours) - 1 - int(called[-1])
    with_calls = np.nonzero(np.concatenate([[1], reference, [1]]))[0]
    habit = int(np.diff(with_calls).max()) - 1
    return int(history.hours[called[-1]]) + 1 if gap >= SILENT_HOURS and gap > habit else None


def _window(history: TaskHours, index: int, start_hour: int, end_hour: int) -> Window:
    part = part_of(history, start_hour, end_hour)
    calls, escalated = history.calls[index, part].sum(), history.escalated[index, part].sum()
    return Window(start_hour, end_hour, int(calls), int(escalated))
