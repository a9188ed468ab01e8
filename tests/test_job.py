import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cascade_otel import cli, job
from cascade_otel.alerting.sinks import SinkError
from cascade_otel.analysis.watching import look
from cascade_otel.job import metrics, reports
from cascade_otel.policy import HOURS_PER_YEAR, PageBudget, Policy, TaskPolicy
from cascade_otel.presentation import drift_lines
from cascade_otel.records import HOUR_NS, SECOND_NS, Alert, Finding, UserError
from cascade_otel.storage.calls import two_tier_rows
from cascade_otel.storage.state import Baseline, State
from tests.analysis import made_up
from tests.analysis.made_up import END, NOW_NS, changed

POLICY = Policy(page_budget=PageBudget(1.0, HOURS_PER_YEAR))
MINUTE_NS = 60 * SECOND_NS
HOUR_OF_JUDGE = 4
"""Place of the hour in progress among what ``drift.judge`` is given."""


class Listener:
    """A sink that keeps what it is told, and fails as often as it is told to."""

    name = "listener"

    def __init__(self, failures: int = 0):
        self.bodies: list[dict[str, Any]] = []
        self.failures = failures

    def send(self, body: dict[str, Any]) -> None:
        if self.failures:
            self.failures -= 1
            raise SinkError("not now", passing=True)
        self.bodies.append(body)


class Place:
    """A store and a state that looks are taken at."""

    def __init__(self, folder: Path, frames: Sequence[pd.DataFrame] = ()):
        self.root, self.state_path = folder / "store", folder / "state.sqlite"
        self.store = made_up.write(self.root, list(frames))

    def tick(self, now_ns: int = NOW_NS, **more: Any) -> job.TickResult:
        more = {"owner": "test", "policy": POLICY, "afresh": "owner" in more} | more
        return job.tick(self.root, self.state_path, more.pop("policy"), now_ns, **more)

    def state(self) -> State:
        return State(self.state_path)


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Three weeks of three tasks, two of which moved 48 hours ago."""
    frames = made_up.history(
        {"colour": changed(hard=0.6), "fabric": changed(threshold=0.92), "size": made_up.STEADY}, seed=4
    )
    return Place(tmp_path_factory.mktemp("job"), frames)


@pytest.fixture(scope="module")
def first_look(shifted: Place) -> job.TickResult:
    """What the first look at them found, and in their state what it left."""
    return shifted.tick()


@pytest.fixture
def place(shifted: Place, tmp_path: Path) -> Place:
    """The same store, not looked at yet."""
    own = Place.__new__(Place)
    own.root, own.store, own.state_path = shifted.root, shifted.store, tmp_path / "state.sqlite"
    return own


@pytest.fixture
def looked(place: Place, shifted: Place, first_look: job.TickResult) -> Place:
    """The same store after the first look, with a state of its own."""
    with sqlite3.connect(shifted.state_path) as source, sqlite3.connect(place.state_path) as copy:
        source.backup(copy)
    source.close()
    copy.close()
    return place


def of(findings: Sequence[Finding], task: str, stream: str = "escalation_rate") -> Finding:
    (found,) = (one for one in findings if one.task == task and one.stream == stream)
    return found


def by_task(alerts: Sequence[Alert]) -> dict[str, Alert]:
    return {alert.task: alert for alert in alerts}


def test_a_look_finds_explains_prices_and_tells_each_shift_once(place: Place) -> None:
    listener = Listener()
    found = place.tick(sinks=[listener])
    assert found.acted
    alerts = by_task(found.notified)
    assert sorted(alerts) == ["colour", "fabric"]
    causes = {task: alert.finding.cause and alert.finding.cause.name for task, alert in alerts.items()}
    assert causes == {"colour": "inputs", "fabric": "threshold"}
    assert {alert.status for alert in alerts.values()} == {"firing"}
    assert all((alert.finding.cost_per_day or 0) > 0 for alert in alerts.values())
    assert of(found.findings, "size").state == "quiet"
    assert sorted(body["task"] for body in listener.bodies) == ["colour", "fabric"]
    assert all(body["text"] for body in listener.bodies)

    again = place.tick(NOW_NS + MINUTE_NS, sinks=[listener])
    assert again.notified == again.alerts == []
    assert again.findings == found.findings
    next_hour = place.tick(NOW_NS + HOUR_NS, sinks=[listener])
    assert next_hour.notified == []
    assert of(next_hour.findings, "size").hour == END
    assert len(listener.bodies) == 2


def test_what_was_found_rests_in_the_state(looked: Place, first_look: job.TickResult) -> None:
    found = first_look
    with looked.state() as state:
        assert state.findings() == found.findings
        assert by_task(state.alerts(status="firing")) == by_task(found.alerts)
        assert state.last_tick("drift") == NOW_NS
        today = END // 24 * 24
        assert state.baseline("size") == Baseline(
            "size", today - 20 * 24, today - 7 * 24, "trailing", END * HOUR_NS
        )


def test_two_jobs_with_states_of_their_own_find_the_same(place: Place, first_look: job.TickResult) -> None:
    first, second = first_look, place.tick()
    assert second.findings == first.findings
    assert {alert.fingerprint for alert in second.alerts} == {alert.fingerprint for alert in first.alerts}


@pytest.fixture
def judged(first_look: job.TickResult, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The hours at which the detector runs; it finds what it found first."""
    hours: list[int] = []

    def judge(*given: Any) -> list[Finding]:
        hours.append(given[HOUR_OF_JUDGE])
        return [one for one in first_look.findings if one.state == "quiet"]

    monkeypatch.setattr(look.drift, "judge", judge)
    return hours


def test_the_detector_runs_once_an_hour(looked: Place, judged: list[int]) -> None:
    for minute in (1, 20, 31, 40):
        looked.tick(NOW_NS + minute * MINUTE_NS)
    assert judged == [END + 1]


def test_a_single_look_judges_afresh(place: Place, judged: list[int]) -> None:
    for minute in (0, 1):
        assert place.tick(NOW_NS + minute * MINUTE_NS, owner=None).acted
    assert judged == [END, END]


def test_a_look_by_hand_takes_no_message_from_the_job(place: Place) -> None:
    by_hand = place.tick(owner=None, sinks=None)
    assert {one.task for one in by_hand.findings if one.state == "drifting"} == {"colour", "fabric"}
    with place.state() as state:
        assert state.alerts() == []
    listener = Listener()
    place.tick(NOW_NS + MINUTE_NS, sinks=[listener])
    assert sorted(body["task"] for body in listener.bodies) == ["colour", "fabric"]


def test_a_limit_that_is_taken_back_ends_its_alert(place: Place) -> None:
    limited = replace(POLICY, defaults=TaskPolicy(cost_per_day=0.001))
    place.tick(policy=limited)
    with place.state() as state:
        dear = [one.task for one in state.alerts(status="firing") if one.stream == "cost_limit"]
    assert dear
    listener = Listener()
    place.tick(NOW_NS + MINUTE_NS, sinks=[listener])
    assert sorted(body["task"] for body in listener.bodies if body["status"] == "resolved") == sorted(dear)


def test_what_is_accepted_during_a_look_holds(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.tick()

    def look_and_accept(*given: Any, **more: Any) -> look.Look:
        found = look.look(*given, **more)
        job.accept(place.root, place.state_path, "colour")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(job, "look", look_and_accept)
        place.tick(NOW_NS + 31 * MINUTE_NS)
    listener = Listener()
    place.tick(NOW_NS + 32 * MINUTE_NS, sinks=[listener])
    with place.state() as state:
        baseline = state.baseline("colour")
    assert baseline is not None
    assert baseline.reason == "accepted"
    assert [(body["task"], body["status"]) for body in listener.bodies] == [("colour", "resolved")]


def test_one_of_two_jobs_acts(looked: Place, first_look: job.TickResult) -> None:
    listener = Listener()
    other = looked.tick(NOW_NS + MINUTE_NS, owner="two", sinks=[listener])
    assert (other.acted, other.findings) == (False, first_look.findings)
    assert listener.bodies == []
    later = looked.tick(NOW_NS + 10 * MINUTE_NS, owner="two", sinks=[listener])
    assert later.acted


def test_what_was_not_delivered_waits_for_the_next_look(place: Place) -> None:
    listener = Listener(failures=1)
    place.tick(sinks=[listener])
    assert len(listener.bodies) < 2
    place.tick(NOW_NS + MINUTE_NS, sinks=[listener])
    place.tick(NOW_NS + 2 * MINUTE_NS, sinks=[listener])
    assert sorted(body["task"] for body in listener.bodies) == ["colour", "fabric"]


def test_an_accepted_shift_is_learned_anew(looked: Place, first_look: job.TickResult) -> None:
    since = of(first_look.findings, "colour").since_hour
    assert since is not None
    listener = Listener()
    assert "new normal" in job.accept(looked.root, looked.state_path, "colour")
    found = looked.tick(NOW_NS + MINUTE_NS, sinks=[listener])
    colour = of(found.findings, "colour")
    assert (colour.state, colour.days_learned) == ("learning", END // 24 - -(-since // 24))
    assert [(alert.task, alert.status) for alert in found.notified] == [("colour", "resolved")]
    assert [body["task"] for body in listener.bodies] == ["colour"]
    assert of(found.findings, "fabric").state == "drifting"
    with looked.state() as state:
        baseline = state.baseline("colour")
        assert baseline is not None
        assert (baseline.start_hour, baseline.reason) == (since, "accepted")


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("size", "'size' is quiet; wanted: a task that drifts"),
        ("sise", "is not known, or has no full hour yet; wanted: one of: "),
    ],
)
def test_nothing_can_be_accepted_where_nothing_shifted(looked: Place, task: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        job.accept(looked.root, looked.state_path, task)
    assert said in str(error.value)
    assert "cascade-otel drift --store" in str(error.value)


def test_a_reference_is_pinned_while_an_alert_is_open(looked: Place) -> None:
    with looked.state() as state:
        before = state.baselines()
    looked.tick(NOW_NS + 8 * 24 * HOUR_NS)
    with looked.state() as state:
        after = state.baselines()
    assert after["colour"] == replace(before["colour"], reason="pinned")


def failing(n: int, now_ns: int) -> pd.DataFrame:
    frame = made_up.calls("dead", np.array([now_ns // HOUR_NS]), n, made_up.Traffic(), 1)
    frame["start_ns"] = now_ns - np.linspace(0, 8 * MINUTE_NS, len(frame)).astype(np.int64)
    frame["cheap_confidence"] = np.nan
    frame["escalated"] = True
    return frame


def test_a_dead_cheap_model_is_told_at_once_on_an_empty_store(tmp_path: Path) -> None:
    place, listener = Place(tmp_path), Listener()
    assert place.tick(sinks=[listener]).findings == []
    table = two_tier_rows(failing(60, NOW_NS))
    errors = ["ConnectionError" if tier == "small" else None for tier in table["tier"].to_pylist()]
    place.store.append(
        table.set_column(
            table.schema.get_field_index("error_type"), table.schema.field("error_type"), [made_texts(errors)]
        )
    )
    found = place.tick(NOW_NS + MINUTE_NS, sinks=[listener])
    assert [(alert.task, alert.tier, alert.stream, alert.status) for alert in found.notified] == [
        ("dead", "small", "tier_errors", "firing")
    ]
    assert listener.bodies[0]["stream"] == "tier_errors"
    # An hour later nothing is called any more: that is no recovery.
    later = place.tick(NOW_NS + 70 * MINUTE_NS, sinks=[listener])
    assert later.notified == []
    healthy = failing(60, NOW_NS + 90 * MINUTE_NS)
    healthy["cheap_confidence"], healthy["escalated"] = 0.9, False
    place.store.append(two_tier_rows(healthy))
    recovered = place.tick(NOW_NS + 91 * MINUTE_NS, sinks=[listener])
    assert [(alert.task, alert.status) for alert in recovered.notified] == [("dead", "resolved")]
    # A limit that is kept and that nobody waits for is not news.
    after = place.tick(NOW_NS + 92 * MINUTE_NS)
    assert [one.stream for one in after.findings if one.stream == "tier_errors"] == []


def made_texts(texts: list[str | None]) -> Any:
    import pyarrow as pa

    return pa.array(texts, pa.string()).dictionary_encode()


def test_a_look_at_nothing_finds_nothing(tmp_path: Path) -> None:
    found = Place(tmp_path).tick()
    assert (found.findings, found.alerts, found.notified) == ([], [], [])


def test_a_report_that_fails_does_not_fail_its_alert(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written = place.state_path.parent / "reports" / "one.html"

    def write(reader: Any, about: Finding, *windows: Any) -> Path:
        if about.task == "colour":
            raise UserError("Evidently took too long")
        return written

    monkeypatch.setattr("cascade_otel.presentation.drift_report.write", write)
    listener = Listener()
    place.tick(sinks=[listener])
    failed: set[str] = set()
    with caplog.at_level(logging.ERROR):
        turns = [job.attach_report(place.root, place.state_path, failed) for _ in range(3)]
    assert turns == [True, True, False], "one in a turn, and none is tried for good"
    assert len(listener.bodies) == 2
    assert "Evidently took too long" in caplog.text
    with place.state() as state:
        reports = {alert.task: alert.report for alert in state.alerts()}
    assert reports == {"colour": None, "fabric": "reports/one.html"}


def test_a_report_of_a_task_that_is_not_known_cannot_be_written(place: Place) -> None:
    with pytest.raises(UserError, match="'sise' has no reference"):
        reports.write_report(place.root, place.state_path, "sise")


def test_metrics_say_when_it_looked_and_what_state_each_task_is_in(looked: Place) -> None:
    with looked.state() as state:
        told = metrics.job_metrics(state).decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in told if not line.startswith("#"))
    assert float(values["cascade_drift_last_tick_timestamp_seconds"]) == NOW_NS / 1e9
    assert 'cascade_drift_task_state{cascade_task="colour",state="drifting"} 1.0' in told
    assert 'cascade_drift_task_state{cascade_task="colour",state="quiet"} 0.0' in told
    assert 'cascade_drift_task_state{cascade_task="size",state="quiet"} 1.0' in told
    rate = values['cascade_drift_baseline_escalation_rate{cascade_task="size"}']
    assert float(rate) == pytest.approx(0.30, abs=0.02)


def test_metrics_of_a_new_state_are_there(tmp_path: Path) -> None:
    with State(tmp_path / "state.sqlite") as state:
        assert b"cascade_drift_last_tick_timestamp_seconds 0.0" in metrics.job_metrics(state)


def test_the_table_says_what_changed_since_when_and_why(first_look: job.TickResult) -> None:
    found = first_look
    table = drift_lines.lines(found.findings)
    assert [line.split()[0] for line in table[1:4]] == ["colour", "fabric", "size"]
    (told,) = (line for line in table if line.startswith("fabric drifting"))
    for part in ("escalation", "→", "since ", "cause threshold: τ was moved", "a day"):
        assert part in told


def test_a_policy_that_names_no_task_there_is_says_so(
    looked: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job.time, "time_ns", lambda: NOW_NS)
    policy = tmp_path / "cascade.toml"
    policy.write_text("[tasks.colour]\nowner = 'a'\n[tasks.colur]\nowner = 'b'\n")
    arguments = ["--store", str(looked.root), "--state", str(looked.state_path), "--policy", str(policy)]
    assert cli.main(["drift", *arguments]) == 0
    assert f"{policy} names tasks that have had no full hour of calls: colur\n" in capsys.readouterr().err


def test_a_look_by_hand_beside_a_job_leaves_its_state_alone(looked: Place) -> None:
    with State(looked.state_path) as state:
        before, judged = state.findings(), state.last_tick(look.JUDGED)
    lax = Policy(page_budget=PageBudget(1000.0, 720.0))
    found = job.tick(looked.root, looked.state_path, lax, NOW_NS + 2 * MINUTE_NS, sinks=None)
    assert not found.acted
    assert found.findings[0].log_needed < before[0].log_needed
    with State(looked.state_path) as state:
        assert (state.findings(), state.last_tick(look.JUDGED)) == (before, judged)


def test_findings_can_be_written_as_json(first_look: job.TickResult) -> None:
    from dataclasses import asdict

    for finding in first_look.findings:
        assert json.loads(json.dumps(asdict(finding)))["task"] == finding.task
