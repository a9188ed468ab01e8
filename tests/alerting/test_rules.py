"""The Prometheus rules are generated, checked by promtool, and each is explained."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from cascade_otel import semconv
from cascade_otel.alerting import advice, rules
from cascade_otel.records import CauseName, Stream
from tests.alerting import test_states

ALERTS = Path(__file__).parents[2] / "alerts"
TESTS = sorted((ALERTS / "tests").glob("*.yml"))
NAMES = [rule.alert for rule in rules.load() if rule.alert]
CHAPTER_PARTS = ("What it means.", "How to check.", "What to do.", "How to silence or accept.")


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.fail("promtool is not installed; type: apt-get install prometheus (Debian has it in there)")
    return found


def committed() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ALERTS / "cascade.rules.yml").read_text())
    return read


def test_the_committed_rules_are_the_generated_ones() -> None:
    assert (ALERTS / "cascade.rules.yml").read_text() == rules.render(), "type: make generated"


def test_generated_rules_say_so() -> None:
    assert rules.render().startswith("# Generated from alerts/rules.toml")


def test_promtool_finds_no_fault_in_the_rules(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "check", "rules", str(ALERTS / "cascade.rules.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS: 15 rules found" in done.stdout


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_are_silent_as_their_tests_say(promtool: str, path: Path) -> None:
    done = subprocess.run(
        [promtool, "test", "rules", path.name], cwd=path.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", NAMES)
def test_every_rule_has_a_firing_and_a_silent_test(alert: str) -> None:
    cases = [case for path in TESTS for case in yaml.safe_load(path.read_text())["tests"]]
    mine = [case for case in cases if case["name"].startswith(f"{alert} ")]
    checks = [check for case in mine for check in case.get("alert_rule_test", [])]
    assert any(check["alertname"] == alert and check["exp_alerts"] for check in checks), "no firing test"
    silent = [case for case in mine if " is silent " in case["name"]]
    assert silent, "no silent test"
    for case in silent:
        assert all(check["exp_alerts"] == [] for check in case["alert_rule_test"])


@pytest.mark.parametrize("stream", get_args(Stream))
def test_every_stream_has_a_firing_and_a_silent_test(stream: str) -> None:
    for test in (
        test_states.test_each_stream_fires_once_and_is_resolved_once,
        test_states.test_each_stream_is_silent_when_it_is_as_it_should_be,
    ):
        (mark,) = (mark for mark in vars(test)["pytestmark"] if mark.name == "parametrize")
        assert stream in mark.args[1]


def chapters() -> dict[str, str]:
    """Runbook chapters by the anchor that Markdown makes of their heading."""
    text = (ALERTS / "runbooks.md").read_text()
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-"): body
        for heading, body in zip(parts[::2], parts[1::2], strict=True)
    }


def test_every_rule_stream_and_cause_has_a_runbook_and_every_runbook_is_of_one() -> None:
    assert set(advice.STREAM_ANCHORS) == set(get_args(Stream))
    assert set(advice.CAUSE_ANCHORS) == set(get_args(CauseName))
    wanted = {rule.runbook for rule in rules.load() if rule.alert}
    wanted |= {*advice.STREAM_ANCHORS.values(), *advice.CAUSE_ANCHORS.values()}
    assert set(chapters()) == wanted


@pytest.mark.parametrize("anchor", chapters())
def test_every_runbook_tells_what_it_means_how_to_check_what_to_do_and_how_to_silence(anchor: str) -> None:
    found = re.findall(r"^\*\*(.+?)\*\*", chapters()[anchor], flags=re.MULTILINE)
    assert tuple(found) == CHAPTER_PARTS


def test_links_within_the_runbooks_lead_somewhere() -> None:
    linked = set(re.findall(r"\]\(#([^)]+)\)", (ALERTS / "runbooks.md").read_text()))
    assert linked <= set(chapters())


def test_every_alert_has_a_severity_a_summary_a_description_and_its_runbook() -> None:
    alerts = [rule for group in committed()["groups"] for rule in group["rules"] if "alert" in rule]
    assert [rule["alert"] for rule in alerts] == NAMES
    for rule in alerts:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        assert "$margin" not in rule["annotations"]["description"]
        assert rule["annotations"]["runbook_url"] == f"alerts/runbooks.md#{rule['alert'].lower()}"
        assert "$" not in rule["expr"]


def test_runbooks_can_be_elsewhere() -> None:
    rendered = rules.render(runbooks="https://wiki.example/cascade")
    assert 'runbook_url: "https://wiki.example/cascade#cascadenodata"' in rendered


def test_names_follow_the_wire() -> None:
    """As the Python Prometheus exporter writes them: dots to underscores, ``_total``, no unit of braces."""
    assert rules.NAMES["calls"] == "cascade_tier_calls_total"
    assert rules.NAMES["escalations"] == "cascade_escalations_total"
    units = {metric.name: metric.unit for metric in semconv.METRICS}
    assert re.fullmatch(r"\{\w+\}", units[semconv.TIER_CALLS])
    assert re.fullmatch(r"\{\w+\}", units[semconv.ESCALATIONS])
    assert set(rules.UNDECIDED) < set(semconv.OUTCOMES)


def test_a_name_nobody_knows_is_an_error(tmp_path: Path) -> None:
    source = (ALERTS / "rules.toml").read_text().replace("$last_tick", "$lost_tick")
    (tmp_path / "rules.toml").write_text(source)
    with pytest.raises(KeyError, match="lost_tick"):
        rules.load(tmp_path / "rules.toml")


def test_the_gauges_are_the_ones_the_drift_job_shows(tmp_path: Path) -> None:
    from cascade_otel.job import metrics
    from cascade_otel.storage.state import State
    from tests.alerting.alert_samples import RATE

    with State(tmp_path / "state.sqlite") as state:
        state.put_findings([RATE])
        state.tick(metrics.JOB, RATE.hour)
        shown = metrics.job_metrics(state).decode()
    assert f"\n{rules.LAST_TICK_GAUGE} " in shown
    assert f'\n{rules.BASELINE_GAUGE}{{{rules.NAMES["task"]}="organic"}} 0.2' in shown
