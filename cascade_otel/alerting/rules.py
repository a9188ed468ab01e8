"""The Prometheus rules, made from ``alerts/rules.toml``."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from cascade_otel import semconv
from cascade_otel.alerting.advice import RUNBOOKS
from cascade_otel.records import UserError

BASELINE_GAUGE = "cascade_drift_baseline_escalation_rate"
LAST_TICK_GAUGE = "cascade_drift_last_tick_timestamp_seconds"
"""Gauges of the drift job."""

UNDECIDED = ("repeated", "cancelled", "abandoned", "outlived")
"""Outcomes of calls after which it is not known whether their visit escalated, or that stand for none."""

HEAD = """\
# Generated from alerts/rules.toml: edit that, then run `make generated`.
groups:
"""


@dataclass(frozen=True)
class Rule:
    """One rule of Prometheus; ``alert`` is None for a recording rule, whose name is ``record``."""

    record: str | None
    alert: str | None
    expr: str
    wait: str = ""
    severity: str = ""
    summary: str = ""
    description: str = ""
    runbook: str = ""


def metric(name: str, suffix: str = "") -> str:
    """An OpenTelemetry name as Prometheus has it: a unit in braces adds nothing."""
    return name.replace(".", "_") + suffix


NAMES = {
    "calls": metric(semconv.TIER_CALLS, "_total"),
    "escalations": metric(semconv.ESCALATIONS, "_total"),
    "baseline": BASELINE_GAUGE,
    "last_tick": LAST_TICK_GAUGE,
    "task": metric(semconv.CASCADE_TASK),
    "tier": metric(semconv.TIER_NAME),
    # Absent on the wire means production, and an absent label is an empty one.
    "production": f'{metric(semconv.CASCADE_PURPOSE)}=~"|{semconv.PURPOSES[0]}"',
    "decided": f'{metric(semconv.OUTCOME)}!~"{"|".join(UNDECIDED)}"',
}


def folder() -> Path:
    """Where ``alerts/`` is: in the installed package, or at the root of the repository."""
    package = Path(__file__).parents[1]
    for place in (package / "_bundled" / "alerts", package.parent / "alerts"):
        if place.is_dir():
            return place
    raise UserError(
        f"{package} comes without its folder alerts; type pip install --force-reinstall 'cascade-otel[watch]'"
    )


def load(path: Path | None = None) -> list[Rule]:
    """The rules of a file like ``alerts/rules.toml``. Raises KeyError for a $name nobody knows."""
    source = tomllib.loads((path or folder() / "rules.toml").read_text(encoding="utf-8"))
    return [*_recording(source["record"]), *(_alert(table) for table in source["alert"])]


def render(runbooks: str = RUNBOOKS) -> str:
    """The rule file for Prometheus, as YAML; ``runbooks`` is the address or path of the runbooks' page."""
    rules = load()
    return (
        HEAD
        + _group("cascade-otel.recording", [_recording_yaml(rule) for rule in rules if rule.record])
        + _group("cascade-otel.alerts", [_alert_yaml(rule, runbooks) for rule in rules if rule.alert])
    )


def _recording(tables: list[dict[str, Any]]) -> Iterator[Rule]:
    """By window, so that each rule finds the ones it builds on recorded just before."""
    for window in tables[0]["windows"]:
        for table in tables:
            if window in table["windows"]:
                name, expr = (table[key].replace("{window}", window) for key in ("name", "expr"))
                yield Rule(record=name, alert=None, expr=_names(expr, {}))


def _alert(table: Mapping[str, Any]) -> Rule:
    return Rule(
        record=None,
        alert=table["name"],
        expr=_names(table["expr"], table),
        wait=table["for"],
        severity=table["severity"],
        summary=table["summary"],
        description=Template(table["description"]).safe_substitute(table),
        runbook=table["runbook"],
    )


def _names(expr: str, numbers: Mapping[str, Any]) -> str:
    return Template(expr.strip()).substitute({**numbers, **NAMES})


def _group(name: str, rules: list[str]) -> str:
    return f"  - name: {name}\n    rules:\n" + "".join(rules)


def _recording_yaml(rule: Rule) -> str:
    return f"      - record: {rule.record}\n{_block(rule.expr)}"


def _alert_yaml(rule: Rule, runbooks: str) -> str:
    return (
        f"      - alert: {rule.alert}\n{_block(rule.expr)}"
        f"        for: {rule.wait}\n"
        f"        labels:\n          severity: {rule.severity}\n"
        "        annotations:\n"
        f"          summary: {_quoted(rule.summary)}\n"
        f"          description: {_quoted(rule.description)}\n"
        f"          runbook_url: {_quoted(f'{runbooks}#{rule.runbook}')}\n"
    )


def _block(expr: str) -> str:
    return "        expr: |-\n" + "".join(f"          {line}\n" for line in expr.splitlines())


def _quoted(text: str) -> str:
    """A JSON string is a YAML string."""
    return json.dumps(text, ensure_ascii=False)
