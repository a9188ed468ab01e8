"""How many pages Evidently's methods would have sent in the last 30 days, beside ours. It decides nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import pandas as pd

from cascade_otel.presentation import words
from cascade_otel.records import UserError
from cascade_otel.storage.state import State

METHODS = (
    "anderson", "cramer_von_mises", "ed", "empirical_mmd", "es", "hellinger", "jensenshannon", "kl_div", "ks",
    "mannw", "psi", "t_test", "wasserstein",
)  # fmt: skip
"""All that Evidently 0.7.23 has for numbers, by its own names."""
DAYS = 30
OURS = "the detector"
HOW_COUNTED = (
    "Evidently looks once a day and pages on every day on which confidence or escalation differs from the "
    "task's reference; days in a row may be one trouble. The detector was run anew over the same days and "
    "references, and pages once for each shift. Only the detector alerts anybody."
)
KEPT = "second opinion"
"""Name under which the state keeps the newest one."""

Column = Literal["confidence", "escalated"]
COLUMNS: tuple[Column, ...] = ("confidence", "escalated")


@dataclass(frozen=True, slots=True)
class MethodPages:
    """What one method would have sent about one task."""

    method: str
    pages: int
    """Days on which a column drifts: a check that runs once a day and pages at most once in 24 hours."""
    spells: int
    """The same if days in a row were one page."""
    days: int
    """Days it was computed for: some methods cannot be where confidences hardly vary."""


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """One task: pages of the detector and of Evidently's methods over the same days and references."""

    task: str
    columns: tuple[Column, ...]
    """What was compared: the first tier's confidence, where there is any, and whether calls escalate."""
    days: int
    """Days compared, of those that have a reference of seven days behind them."""
    ours: int
    """Tasks that begin to drift page once, on the day the evidence suffices."""
    methods: tuple[MethodPages, ...]


@dataclass(frozen=True, slots=True)
class SecondOpinions:
    """All tasks over the days [start_day, end_day) since 1970."""

    start_day: int
    end_day: int
    thresholds: Mapping[str, float]
    """Evidently's own, by method."""
    tasks: tuple[SecondOpinion, ...]
    left_out: int = 0
    """Tasks that there was no time for."""


def methods(text: str) -> tuple[str, ...]:
    """The methods in a text like ``psi,wasserstein``, each once. Raises UserError for one there is not."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        what = (
            f"has no method of Evidently's called {', '.join(map(repr, unknown))}"
            if unknown
            else "names none"
        )
        raise UserError(
            f"--also {text!r} {what}; wanted: some of {', '.join(METHODS)}; type e.g. --also psi,wasserstein"
        )
    return names


def lines(found: SecondOpinions) -> list[str]:
    """A table of pages by task and method, and how to read it."""
    names = list(found.thresholds)
    rows = [["task", "days", "ours", *names]]
    for one in found.tasks:
        pages = [str(method.pages) if method.days else "-" for method in one.methods]
        rows.append([words.name(one.task), str(one.days), str(one.ours), *pages])
    totals = [sum(one.methods[place].pages for one in found.tasks) for place in range(len(names))]
    rows.append(["all", "", str(sum(one.ours for one in found.tasks)), *map(str, totals)])
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    since, until = words.hour(found.start_day * 24), words.hour(found.end_day * 24)
    return [
        f"Pages each would have sent, {since} to {until}:",
        *("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows),
        *([f"{found.left_out} tasks are left out: there was no time for them."] if found.left_out else []),
        f"Evidently at its own thresholds ({thresholds(found)}). {HOW_COUNTED}",
    ]


def frame(one: SecondOpinion, thresholds: Mapping[str, float]) -> pd.DataFrame:
    """One row for the detector and one per method: who, pages, spells, days, threshold (nan: none)."""
    rows = [{"who": OURS, "pages": one.ours, "spells": one.ours, "days": one.days, "threshold": float("nan")}]
    rows += [
        {
            "who": f"Evidently, {method.method}",
            "pages": method.pages,
            "spells": method.spells,
            "days": method.days,
            "threshold": thresholds[method.method],
        }
        for method in one.methods
    ]
    return pd.DataFrame(rows)


def thresholds(found: SecondOpinions) -> str:
    """Each method with the threshold it has in Evidently."""
    return ", ".join(f"{name} {value:g}" for name, value in found.thresholds.items())


def keep(state: State, found: SecondOpinions, now_hour: int) -> None:
    """Puts it into the state, instead of the one before."""
    state.put_memory(KEPT, now_hour, json.dumps(asdict(found)).encode())


def kept(state: State) -> tuple[int, SecondOpinions] | None:
    """The newest one and in which hour since 1970 it was counted; None: never."""
    found = state.memory(KEPT)
    if found is None:
        return None
    at_hour, body = found
    told = json.loads(body)
    tasks = tuple(
        SecondOpinion(
            task=one["task"],
            columns=tuple(one["columns"]),
            days=one["days"],
            ours=one["ours"],
            methods=tuple(MethodPages(**method) for method in one["methods"]),
        )
        for one in told["tasks"]
    )
    return at_hour, SecondOpinions(**(told | {"tasks": tasks}))


def of_task(found: SecondOpinions, task: str) -> SecondOpinion | None:
    """What is said about one task; None: nothing."""
    return next((one for one in found.tasks if one.task == task), None)
