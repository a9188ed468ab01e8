"""What the drift job finds, as a table and sentences in plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cascade_otel.analysis.watching.limits import STREAMS as LIMITS
from cascade_otel.presentation import moved, words
from cascade_otel.records import Finding, TaskState

STATES: tuple[TaskState, ...] = ("drifting", "suspect", "no_data", "learning", "quiet")
"""Of several streams the earlier state is the task's."""
WIDTHS = (28, 20, 56, 14, 10)
TITLES = ("task", "state", "what moved", "since (UTC)", "evidence")


def lines(findings: Sequence[Finding]) -> list[str]:
    """A row for each task, the worst first, and below them what there is to say about those that move."""
    by_task: dict[str, list[Finding]] = {}
    for finding in findings:
        by_task.setdefault(finding.task, []).append(finding)
    worst = {task: min(own, key=_rank) for task, own in by_task.items()}
    ordered = sorted(worst.values(), key=lambda one: (_rank(one), one.task))
    rows = [_row(_cells(one, by_task[one.task])) for one in ordered]
    # What moves with its group is told with it.
    told = [one for one in ordered if one.state in ("drifting", "suspect", "no_data") and not _is_part(one)]
    return [_row(TITLES), *rows, *([""] if told else []), *map(sentence, told)]


def sentence(finding: Finding) -> str:
    """One finding in a line: what moved, since when, why, and what it costs."""
    parts = [f"{words.name(finding.task)} {_state(finding)}: {_what(finding)}"]
    if finding.tasks:
        parts.append(f"tasks {', '.join(words.name(task) for task in finding.tasks)}")
    elif finding.group is not None:
        parts.append(f"with {words.name(finding.group)}")
    if finding.since_hour is not None:
        parts.append(f"since {words.hour(finding.since_hour)}")
    if finding.state == "suspect":
        parts.append("it pages if it stands, and ends as a spike if not")
    if finding.cause is not None and finding.cause.name != "unknown":
        parts.append(f"cause {finding.cause.name.replace('_', ' ')}: {finding.cause.note.rstrip('.')}")
    if finding.cost_per_day is not None:
        parts.append(f"{words.change_of_money(finding.cost_per_day, finding.currency)} a day")
    return "".join(letter if letter.isprintable() else "□" for letter in "; ".join(parts))


def _is_part(finding: Finding) -> bool:
    return finding.group is not None and not finding.tasks


def _rank(finding: Finding) -> int:
    return STATES.index(finding.state)


def _cells(worst: Finding, own: Iterable[Finding]) -> tuple[str, ...]:
    others = [one for one in own if one is not worst and one.state == worst.state]
    calm = worst.state in ("quiet", "learning")
    more = f" (+{len(others)} more)" if others and not calm else ""
    since = "" if worst.since_hour is None else words.hour(worst.since_hour).removesuffix(" UTC")
    share = f"{max(worst.log_evidence, 0):.1f} of {worst.log_needed:.1f}" if worst.log_needed else ""
    return (
        words.name(worst.task, WIDTHS[0] - 1),
        _state(worst),
        words.NOTHING if calm else _clipped(_what(worst), WIDTHS[2] - len(more)) + more,
        since,
        share,
    )


def _state(finding: Finding) -> str:
    if finding.state == "learning":
        return f"learning, day {min(finding.days_learned + 1, finding.days_needed)} of {finding.days_needed}"
    if finding.stream in LIMITS:
        return "over its limit" if finding.state == "drifting" else "within its limit"
    return finding.state.replace("_", " ")


def _what(finding: Finding) -> str:
    if finding.state == "no_data":
        return "no calls any more"
    if finding.limit is not None and finding.value is not None:
        what = finding.stream.replace("_", " ")
        if finding.stream == "cost_limit":
            return f"{what}: {words.money(finding.value, finding.currency)} today"
        return f"{what}: {words.share(finding.value)} of calls, limit {words.share(finding.limit)}"
    return moved.change(finding)


def _row(cells: Sequence[str]) -> str:
    return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
