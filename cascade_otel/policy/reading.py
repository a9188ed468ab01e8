"""A policy from the text of a file; what is unknown or impossible is refused with its line."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cascade_otel.policy.places import Place, PolicyError
from cascade_otel.policy.shapes import (
    HOURS_PER_MONTH,
    HOURS_PER_YEAR,
    PageBudget,
    Policy,
    Reference,
    TaskPolicy,
    TierPolicy,
)
from cascade_otel.semconv import TIER_KINDS

FEWEST_DAYS = 7
"""Of a reference: shorter ones mistake day effects for drift."""
_TABLES = ("alerts", "webhook", "store", "tiers", "defaults", "tasks")


def load(path: str | Path | None) -> Policy:
    """The policy in a file; None gives the defaults.

    Raises:
        PolicyError: no such file, no TOML, an unknown key or an impossible value.
    """
    return Policy() if path is None else parse(read(path), str(path))


def read(path: str | Path) -> str:
    """The text of a policy file. Raises PolicyError."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(
            f"{path} cannot be read ({error}); wanted: a TOML file; see the reference"
        ) from error


def parse(text: str, name: str) -> Policy:
    """The policy that a TOML text says; ``name`` is what errors call it. Raises PolicyError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        told = re.search(r"at line (\d+)", str(error))
        line = told[1] if told else text.rstrip().count("\n") + 1  # else it is the end that is missing
        raise PolicyError(f"{name}:{line}: is not TOML: {error}") from error
    file = Place(name, text)
    _known(file, table, _TABLES)
    alerts, webhook, store, tiers, defaults, tasks = (
        _table(file.at(key), table.get(key, {})) for key in _TABLES
    )
    of_all = _said(file.at("defaults"), defaults)
    policy = Policy(
        page_budget=_page_budget(file.at("alerts"), alerts),
        defaults=_task(file.at("defaults"), {}, of_all),
        tasks={
            task: _task(place, of_all, _said(place, _table(place, said)))
            for task, said in tasks.items()
            for place in [file.at("tasks").at(task)]
        },
        tiers={tier: _tier(file.at("tiers").at(tier), said) for tier, said in tiers.items()},
        webhook=_webhook(file.at("webhook"), webhook),
        keep_days=_keep_days(file.at("store"), store),
    )
    asked = {tier for each in (policy.defaults, *policy.tasks.values()) for tier in each.tiers}
    for tier in tiers:
        if tier not in asked:
            raise file.at("tiers").at(tier).error(f"is asked by no task; asked are: {_listed(asked)}")
    return policy


def _page_budget(place: Place, table: Mapping[str, Any]) -> PageBudget:
    periods = {"pages_per_month": HOURS_PER_MONTH, "pages_per_year": HOURS_PER_YEAR}
    _known(place, table, tuple(periods))
    for other, key in zip(table, list(table)[1:], strict=False):
        raise place.at(key).error(f"is there beside {other}; wanted: one of the two")
    for key, pages in table.items():
        return PageBudget(_number(place.at(key), pages, above=0.0), periods[key])
    return PageBudget()


def _webhook(place: Place, table: Mapping[str, Any]) -> str | None:
    _known(place, table, ("url",))
    if "url" not in table:
        return None
    url = _text(place.at("url"), table["url"])
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        # The address may hold a secret: it is not repeated.
        raise place.at("url").error('is no web address; wanted: url = "https://…"')
    return url


def _keep_days(place: Place, table: Mapping[str, Any]) -> int | None:
    _known(place, table, ("keep_days",))
    return _count(place.at("keep_days"), table["keep_days"]) if "keep_days" in table else None


def _tier(place: Place, said: Any) -> TierPolicy:
    table = _table(place, said)
    _known(place, table, ("model", "provider", "kind"))
    values: dict[str, Any] = {key: _text(place.at(key), value) for key, value in table.items()}
    if values.get("kind", TIER_KINDS[0]) not in TIER_KINDS:
        raise place.at("kind").error(f"is {values['kind']!r}; wanted: one of {', '.join(TIER_KINDS)}")
    return TierPolicy(**values)


def _said(place: Place, table: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a task, or of the defaults, each with a value that is possible by itself."""
    _known(place, table, tuple(_TASK_KEYS))
    if "threshold" in table and "thresholds" in table:
        raise place.at("thresholds").error("is there beside threshold; wanted: one of the two")
    return {key: _TASK_KEYS[key](place.at(key), value) for key, value in table.items()}


def _task(place: Place, defaults: Mapping[str, Any], said: Mapping[str, Any]) -> TaskPolicy:
    """What a table says over what the defaults say, where that is possible together."""
    values = {**defaults, **said}
    if "threshold" in said:
        values.pop("thresholds", None)
    if "thresholds" in said:
        values.pop("threshold", None)
    tiers = values.get("tiers", ())
    _check_thresholds(place, said, tiers)
    thresholds = values.get("thresholds", {})
    without = [tier for tier in tiers[:-1] if tier not in thresholds]
    # Every task may say a τ of its own: the defaults need none.
    if without and "threshold" not in values and (thresholds or place.keys != ("defaults",)):
        wanted = "thresholds = {" + f'"{without[0]}" = 0.8}}' if thresholds else "threshold = 0.8"
        raise place.error(f"has no τ for its tier {without[0]!r}; wanted: {wanted}")
    if tiers[:-1] and thresholds:
        values["threshold"] = thresholds[tiers[0]]
    return TaskPolicy(**values)


def _check_thresholds(place: Place, said: Mapping[str, Any], tiers: tuple[str, ...]) -> None:
    """A τ is for a tier of the task that is not its last one. Defaults without tiers are for any."""
    stands = "the last tier's answer always stands"
    if "threshold" in said and len(tiers) == 1:
        raise place.at("threshold").error(
            f"is for a tier before the last, {tiers[0]!r} is the only one: {stands}"
        )
    if "thresholds" in said and not tiers and place.keys != ("defaults",):
        raise place.at("thresholds").error(
            'needs the tiers in their order; wanted: tiers = ["small", "large"]'
        )
    for tier in said.get("thresholds", ()) if tiers else ():
        if tier == tiers[-1]:
            raise place.at("thresholds").at(tier).error(f"is a τ for the last tier; wanted: none, {stands}")
        if tier not in tiers:
            raise place.at("thresholds").at(tier).error(f"is no tier of it; wanted: {_listed(tiers[:-1])}")


def _known(place: Place, table: Mapping[str, Any], wanted: tuple[str, ...]) -> None:
    for key in table:
        if key not in wanted:
            raise place.at(key).error(f"is an unknown key; wanted: {', '.join(wanted)}")


def _table(place: Place, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise place.error(f"is {value!r}; wanted: a table, type [{place}]")
    return value


def _text(place: Place, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise place.error(f"is {value!r}; wanted: a text in quotes")
    return value


def _tiers(place: Place, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise place.error(
            f'is {value!r}; wanted: names in the order they are asked, as in ["small", "large"]'
        )
    tiers = tuple(_text(place, each) for each in value)
    for tier in tiers:
        if tiers.count(tier) > 1:
            raise place.error(f"has {tier!r} {tiers.count(tier)} times; wanted: each tier once")
    return tiers


def _thresholds(place: Place, value: Any) -> dict[str, float]:
    table = _table(place, value)
    return {tier: _number(place.at(tier), each, least=0.0, most=1.0) for tier, each in table.items()}


def _reference(place: Place, value: Any) -> Reference:
    table = _table(place, value)
    _known(place, table, ("version", "from", "to"))
    if set(table) == {"version"}:
        return Reference(version=_text(place.at("version"), table["version"]))
    if set(table) != {"from", "to"}:
        raise place.error('wants {version = "…"}, or {from = 2026-10-01, to = 2026-10-14}')
    for key, day in table.items():
        if type(day) is not dt.date:
            raise place.at(key).error(f"is {day!r}; wanted: a day without quotes, as 2026-10-01")
    start, last = ((table[key] - dt.date(1970, 1, 1)).days for key in ("from", "to"))
    if last - start + 1 < FEWEST_DAYS:
        raise place.at("to").error(
            f"makes {last - start + 1} days; wanted: at least {FEWEST_DAYS} days from {table['from']}"
        )
    return Reference(start, last + 1)


def _count(place: Place, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise place.error(f"is {value!r}; wanted: a whole number from 1 on")
    return value


def _number(
    place: Place,
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
        raise place.error(f"is {value!r}; wanted: a number {' and '.join(bounds)}")
    return float(value)


def _listed(names: Collection[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"


_probability, _share = partial(_number, least=0.0, most=1.0), partial(_number, above=0.0, most=1.0)
_money = partial(_number, above=0.0)
_TASK_KEYS: Mapping[str, Callable[[Place, Any], Any]] = {
    "tiers": _tiers,
    "threshold": _probability,
    "thresholds": _thresholds,
    "version": _text,
    "owner": _text,
    "audit_rate": _probability,
    "audit_cost_per_day": _money,
    "cost_per_day": _money,
    "escalation_limit": _share,
    "tier_error_rate": _share,
    "missing_confidence_rate": _share,
    "min_calls": _count,
    "reference": _reference,
    "risk_limit": _share,
}
