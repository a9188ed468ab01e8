"""What people decide and telemetry cannot know: page budget, fixed limits, owners; from ``cascade.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cascade_otel.records import UserError

HOURS_PER_MONTH, HOURS_PER_YEAR = 720.0, 8_760.0


class PolicyError(UserError):
    """A policy file that says something impossible: the text names the file, the key and what was wanted."""


@dataclass(frozen=True, slots=True)
class PageBudget:
    """How many false pages people put up with: ``pages`` in ``hours``, over all tasks and streams."""

    pages: float = 1.0
    hours: float = HOURS_PER_MONTH


@dataclass(frozen=True, slots=True)
class TaskPolicy:
    """What holds for one task. None: not said."""

    owner: str | None = None
    threshold: float | None = None
    """τ, where the calls themselves record none."""
    cost_per_day: float | None = None
    """Most a day may cost, in the currency the calls record."""
    escalation_limit: float | None = None
    """Highest escalation rate of ten minutes."""
    tier_error_rate: float = 0.5
    """Share of a tier's calls that may fail in ten minutes."""
    missing_confidence_rate: float = 0.5
    """Share of a tier's calls that may lack a confidence in ten minutes."""
    min_calls: int = 30
    """With fewer calls in ten minutes a share says nothing."""


@dataclass(frozen=True)
class Policy:
    """The whole file; ``Policy()`` is what holds without one.

    A file with every key there is (all may be left out)::

        [alerts]
        pages_per_month = 1.0        # or pages_per_year; false pages over all tasks

        [webhook]
        url = "https://hooks.example.com/cascade"

        [defaults]                   # for every task
        tier_error_rate = 0.5
        missing_confidence_rate = 0.5
        min_calls = 30

        [tasks."colour"]             # the same keys, for one task
        owner = "catalogue team"
        threshold = 0.8
        cost_per_day = 20.0
        escalation_limit = 0.6
    """

    page_budget: PageBudget = PageBudget()
    defaults: TaskPolicy = TaskPolicy()
    tasks: Mapping[str, TaskPolicy] = field(default_factory=dict)
    webhook: str | None = None

    def of(self, task: str) -> TaskPolicy:
        """What holds for one task."""
        return self.tasks.get(task, self.defaults)


def load(path: str | Path | None) -> Policy:
    """The policy in a file; None gives the defaults.

    Raises:
        PolicyError: no such file, no TOML, an unknown key or an impossible value.
    """
    if path is None:
        return Policy()
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(
            f"{path} cannot be read ({error}); wanted: a TOML file; see the reference"
        ) from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Policy:
    """The policy that a TOML text says; ``name`` is what errors call it. Raises PolicyError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{name} is not TOML: {error}") from error
    _known(name, "", table, ("alerts", "webhook", "defaults", "tasks"))
    alerts, webhook, tasks = (_table(name, key, table.get(key, {})) for key in ("alerts", "webhook", "tasks"))
    defaults = _task(name, "defaults", table.get("defaults", {}), TaskPolicy())
    return Policy(
        page_budget=_page_budget(name, alerts),
        defaults=defaults,
        tasks={task: _task(name, f'tasks."{task}"', said, defaults) for task, said in tasks.items()},
        webhook=_webhook(name, webhook),
    )


def _page_budget(name: str, table: Mapping[str, Any]) -> PageBudget:
    periods = {"pages_per_month": HOURS_PER_MONTH, "pages_per_year": HOURS_PER_YEAR}
    _known(name, "alerts", table, tuple(periods))
    if len(table) > 1:
        raise PolicyError(f"{name}: alerts has {' and '.join(table)}; wanted: one of the two")
    for key, pages in table.items():
        return PageBudget(_number(name, f"alerts.{key}", pages, above=0.0), periods[key])
    return PageBudget()


def _webhook(name: str, table: Mapping[str, Any]) -> str | None:
    _known(name, "webhook", table, ("url",))
    url = _text(name, "webhook.url", table.get("url"))
    if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        # The address may hold a secret: it is not repeated.
        raise PolicyError(f'{name}: webhook.url is no web address; wanted: url = "https://…"')
    return url


def _task(name: str, place: str, said: Any, defaults: TaskPolicy) -> TaskPolicy:
    table = _table(name, place, said)
    _known(name, place, table, tuple(one.name for one in fields(TaskPolicy)))
    values: dict[str, Any] = {}
    for key, value in table.items():
        where = f"{place}.{key}"
        if key == "owner":
            values[key] = _text(name, where, value)
        elif key == "min_calls":
            values[key] = _count(name, where, value)
        elif key == "cost_per_day":
            values[key] = _number(name, where, value, above=0.0)
        elif key == "threshold":
            values[key] = _number(name, where, value, least=0.0, most=1.0)
        else:
            values[key] = _number(name, where, value, above=0.0, most=1.0)
    return replace(defaults, **values)


def _known(name: str, place: str, table: Mapping[str, Any], wanted: tuple[str, ...]) -> None:
    unknown = [key for key in table if key not in wanted]
    if unknown:
        at = f"{place}." if place else ""
        raise PolicyError(
            f"{name}: unknown key {at}{unknown[0]}; wanted: {', '.join(at + key for key in wanted)}"
        )


def _table(name: str, place: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(f"{name}: {place} is {value!r}; wanted: a table, type [{place}]")
    return value


def _text(name: str, place: str, value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise PolicyError(f"{name}: {place} is {value!r}; wanted: a text in quotes")
    return value


def _count(name: str, place: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PolicyError(f"{name}: {place} is {value!r}; wanted: a whole number from 1 on")
    return value


def _number(
    name: str,
    place: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> float:
    bounds = [
        *([f"above {above:g}"] if above is not None else []),
        *([f"at least {least:g}"] if least is not None else []),
        *([f"at most {most:g}"] if most is not None else []),
    ]
    fits = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < float("inf")
        and (above is None or value > above)
        and (least is None or value >= least)
        and (most is None or value <= most)
    )
    if not fits:
        raise PolicyError(f"{name}: {place} is {value!r}; wanted: a number {' and '.join(bounds)}")
    return float(value)
