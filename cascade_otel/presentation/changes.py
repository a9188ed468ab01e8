"""Marks on a time line: the alarm, the change, and when another model, version or threshold appeared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from cascade_otel.presentation import words
from cascade_otel.presentation.periods import Period
from cascade_otel.presentation.verdicts import Verdict

HOUR_MS = 3_600_000
LOOK_BACK_HOURS = 24
NOTABLE_SHARE = 0.2
MOST_MARKS = 4
ROOM = 0.3
"""Share of the width a label may take."""
_FIELDS = (
    ("response_model", "model"),
    ("model", "model asked for"),
    ("version", "version"),
    ("threshold", "τ"),
)


@dataclass(frozen=True)
class Mark:
    """A vertical line with a label at a time."""

    time_ms: int
    label: str
    kind: Literal["alarm", "suspect", "change", "version"]
    row: int = 0
    """Line of text at the top of the chart the label stands in, so that labels do not meet."""
    side: Literal["left", "right"] = "right"
    """On which side of the line the label stands."""


def alarm_marks(one: Verdict) -> list[Mark]:
    """When the alarm was given or the evidence sufficed for one, and where the change is put."""
    marks = []
    lead = one.lead
    if lead is not None and one.since_hour is not None:
        marks.append(Mark(one.since_hour * HOUR_MS, f"change {words.hour(one.since_hour)}", "change"))
        if lead.state == "suspect" and lead.suspect_hour is not None:
            label = f"suspect {words.hour(lead.suspect_hour)}"
            marks.append(Mark(lead.suspect_hour * HOUR_MS, label, "suspect"))
        if lead.paged_hour is not None:
            marks.append(Mark(lead.paged_hour * HOUR_MS, f"alarm {words.hour(lead.paged_hour)}", "alarm"))
    elif one.firing is not None:
        opened = one.firing.opened_ns // 1_000_000
        marks.append(Mark(opened, f"alarm {words.moment(one.firing.opened_ns)}", "alarm"))
    return marks


def version_marks(rows: pd.DataFrame, period: Period) -> list[Mark]:
    """When a value of model, version or τ came that a day before it had no notable share of the calls.

    ``rows`` are a tier's rows of ``Reader.sums``. The newest few, in order of time.
    """
    found: dict[tuple[int, str], Mark] = {}
    for field, name in _FIELDS:
        for hour, value in _arrivals(rows, field):
            if hour >= period.start_hour:
                shown = f"{value:.2f}" if isinstance(value, float) else words.name(str(value), 28)
                mark = Mark(hour * HOUR_MS, f"{name} {shown}", "version")
                # A model that is asked for and answers under the same name is one piece of news.
                found.setdefault((hour, shown), mark)
    return sorted(found.values(), key=lambda mark: mark.time_ms)[-MOST_MARKS:]


def stack(marks: Sequence[Mark], start_ms: int, end_ms: int) -> tuple[Mark, ...]:
    """The marks, newest first, each label in a line of text of its own.

    A line begins at its label, so an older mark's line passes under the label of a newer one, left of it.
    """
    ordered = sorted(marks, key=lambda mark: mark.time_ms, reverse=True)
    return tuple(
        replace(
            mark, row=row, side="right" if mark.time_ms - start_ms < ROOM * (end_ms - start_ms) else "left"
        )
        for row, mark in enumerate(ordered)
    )


def _arrivals(rows: pd.DataFrame, field: str) -> Iterable[tuple[int, str | float]]:
    known = rows[rows[field].notna() & (rows[field] != "")]
    if known.empty:
        return
    counts = known.pivot_table(index="hour", columns=field, values="n", aggfunc="sum", fill_value=0)
    shares = counts.div(counts.sum(axis=1), axis=0) >= NOTABLE_SHARE
    first_hour = int(counts.index[0])
    for value in shares.columns:
        last = first_hour - 1
        seen = False
        for hour in shares.index[shares[value]]:
            # A store begins with whatever it has; that is no change.
            if (seen and hour - last > LOOK_BACK_HOURS) or (
                not seen and hour - first_hour >= LOOK_BACK_HOURS
            ):
                yield int(hour), value
            seen, last = True, int(hour)
