"""The demo: what a seed draws is fair, what it writes are real answers, and the job finds what moved."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cascade_otel import job
from cascade_otel.alerting.message import json_line
from cascade_otel.demo import answers, history, plan
from cascade_otel.demo.run import POLICY, POLICY_TEXT, run
from cascade_otel.demo.tables import MODELS, QUESTIONS, TASKS
from cascade_otel.policy import parse
from cascade_otel.records import HOUR_NS, UserError
from cascade_otel.storage.calls import two_tier_rows
from cascade_otel.storage.segments import Store
from cascade_otel.storage.state import State, default_path

ROOT = Path(__file__).parents[1]
POOLS = answers.load()
NOW_HOUR = 497_110
SEEDS = range(100)
TORTURE = bool(os.environ.get("CASCADE_OTEL_TORTURE"))
LOOKS = range(1, 6) if TORTURE else range(1, 2)
"""Seeds whose thirty days are written and looked at, of each shift but three."""


def draw(seed: int, shift: plan.ShiftName = "three") -> plan.Plan:
    return plan.draw(seed, shift, NOW_HOUR, POOLS)


def calls_of(drawn: plan.Plan, days: int = 10) -> pd.DataFrame:
    """The last days of the history, with the hour of each call."""
    hours = np.arange(drawn.live_hour - days * 24, drawn.live_hour)
    calls = history.draw_calls(drawn, POOLS, hours, hide_models=False)
    return calls.assign(hour=calls["start_ns"] // HOUR_NS)


def before_and_after(drawn: plan.Plan, kind: plan.Kind) -> tuple[pd.DataFrame, pd.DataFrame, plan.Shift]:
    shift = next(shift for shift in drawn.shifts if shift.kind == kind)
    calls = calls_of(drawn)
    own = calls[calls["task"] == drawn.tasks[shift.task].name]
    return own[own["hour"] < shift.hour], own[own["hour"] >= shift.hour], shift


def mean(calls: pd.DataFrame, name: str) -> dict[str, float]:
    return calls[name].astype(str).value_counts(normalize=True).to_dict()


def test_a_seed_always_draws_the_same():
    first, second = draw(7), draw(7)
    assert first.shifts == second.shifts
    np.testing.assert_array_equal(first.wobble, second.wobble)
    pd.testing.assert_frame_equal(calls_of(first, days=1), calls_of(second, days=1))
    assert draw(8).shifts != first.shifts


def test_three_tasks_shift_one_for_each_cause_36_to_72_hours_ago():
    for seed in SEEDS:
        shifts = draw(seed).shifts
        assert sorted(shift.kind for shift in shifts) == ["inputs", "model", "threshold"]
        assert len({shift.task for shift in shifts}) == 3
        assert all(36 <= NOW_HOUR - shift.hour <= 72 for shift in shifts)


def test_every_shift_moves_the_true_rate_by_8_to_20_points():
    seen = set()
    for seed in SEEDS:
        for shift in draw(seed).shifts:
            task = TASKS[shift.task]
            to = {"inputs": task.hard_share, "model": 0.0, "threshold": task.threshold} | {
                shift.kind: shift.to
            }
            moved = plan.true_rate(task, POOLS, to["inputs"], to["model"], to["threshold"])
            assert 0.08 <= abs(moved - plan.base_rate(task, POOLS)) <= 0.20
            seen.add((task.name, shift.kind))
    assert len({name for name, _ in seen}) == len(TASKS)


def test_usual_rates_lie_between_15_and_40_percent():
    for task in TASKS:
        assert 0.15 <= plan.base_rate(task, POOLS) <= 0.40


def test_traffic_has_20_to_200_calls_an_hour_with_a_night():
    rate = draw(1).calls_per_hour
    assert rate.min() >= 20
    assert rate.max() <= 200
    assert (rate.max(1) > 4 * rate.min(1)).all()


def test_rates_wobble_and_spike_without_a_shift():
    wobble = draw(1, "none").wobble
    assert np.std(np.median(wobble[:, :720].reshape(8, 30, 24), axis=2)) == pytest.approx(
        plan.WOBBLE, rel=0.3
    )
    assert 8 <= (wobble > 0.5).sum() <= 60


def test_every_confidence_is_that_of_a_real_answer_of_the_segment_and_model():
    calls = calls_of(draw(7), days=4)
    for (segment, model), own in calls.groupby(["segment", "cheap_response_model"], observed=True):
        pool = POOLS[QUESTIONS[str(segment)], str(model)]
        assert np.isin(own["cheap_confidence"], pool.confidence).all()
        assert np.isin(own["input_size"], pool.input_chars).all()


def test_without_a_shift_the_rate_is_the_true_one():
    drawn = draw(3, "none")
    rates = calls_of(drawn).groupby("task", observed=True)["escalated"].mean()
    for task in TASKS:
        assert rates[task.name] == pytest.approx(plan.base_rate(task, POOLS), abs=0.02)


def test_a_weaker_model_shows_in_the_response_model_alone():
    before, after, shift = before_and_after(draw(7), "model")
    task = TASKS[shift.task]
    assert mean(before, "cheap_response_model") == {task.cheap: 1.0}
    assert mean(after, "cheap_response_model")[task.weaker] == pytest.approx(shift.to, abs=0.05)
    assert mean(before, "cheap_model") == mean(after, "cheap_model") == {task.alias: 1.0}
    assert before["threshold"].nunique() == after["threshold"].nunique() == 1
    assert mean(before, "segment")[task.hard] == pytest.approx(mean(after, "segment")[task.hard], abs=0.03)


def test_harder_inputs_show_in_the_segment_alone():
    before, after, shift = before_and_after(draw(7), "inputs")
    task = TASKS[shift.task]
    assert mean(before, "segment")[task.hard] == pytest.approx(task.hard_share, abs=0.03)
    assert mean(after, "segment")[task.hard] == pytest.approx(shift.to, abs=0.05)
    assert mean(before, "cheap_response_model") == mean(after, "cheap_response_model")
    assert set(before["threshold"]) == set(after["threshold"])


def test_a_moved_threshold_shows_in_the_threshold_alone():
    before, after, shift = before_and_after(draw(7), "threshold")
    task = TASKS[shift.task]
    assert (set(before["threshold"]), set(after["threshold"])) == ({task.threshold}, {shift.to})
    assert mean(before, "cheap_response_model") == mean(after, "cheap_response_model")
    assert after["cheap_confidence"].mean() == pytest.approx(before["cheap_confidence"].mean(), abs=0.01)


def test_a_shifted_shape_leaves_the_rate_where_it_was():
    before, after, _ = before_and_after(draw(7, "shape"), "shape")
    assert after["escalated"].mean() == pytest.approx(before["escalated"].mean(), abs=0.03)
    accepted = [calls.loc[~calls["escalated"], "cheap_confidence"].mean() for calls in (before, after)]
    assert accepted[1] > accepted[0] + 0.01


def test_what_shifted_is_written_nowhere():
    """Apart from model, segment, τ and what follows from them, rows before and after a shift say the same."""
    for kind in plan.KINDS:
        before, after, _ = before_and_after(draw(7), kind)
        told = {"cheap_response_model", "segment"}
        for name in (name for name in history.TEXTS if name not in told):
            assert set(before[name]) == set(after[name]), name


def test_hidden_models_are_recorded_nowhere():
    drawn = draw(7)
    hours = np.arange(drawn.live_hour - 60, drawn.live_hour)
    rows = two_tier_rows(history.draw_calls(drawn, POOLS, hours, hide_models=True))
    assert rows["response_model"].null_count == rows["version"].null_count == len(rows)
    assert rows["model"].null_count < len(rows)


def test_every_model_of_the_tasks_has_answers_and_a_price():
    for task in TASKS:
        for model in (task.cheap, task.weaker, task.strong):
            assert model in MODELS
            assert {(QUESTIONS[segment], model) for segment in (task.main, task.hard)} <= set(POOLS)


def test_the_shipped_answers_are_five_columns_under_their_licence():
    rows = pd.read_parquet(ROOT / "examples" / "data" / "answers.parquet")
    assert list(rows.columns) == ["model", "task", "confidence", "correct", "input_chars"]
    assert rows["confidence"].between(0, 1).all()
    notice = (ROOT / "examples" / "data" / "NOTICE").read_text()
    assert "560aae77b190dfb58ce6c0ec3e658fc03d65a45d" in notice
    assert "MIT License" in notice
    assert "MIT (repo); SciQ CC BY-NC 3.0, BoolQ CC BY-SA 3.0" in notice


def alerts(
    root: Path, seed: int, shift: plan.ShiftName, hide_models: bool = False
) -> dict[str, dict[str, object]]:
    """Firing alerts by task after one look at the history of a seed."""
    drawn = draw(seed, shift)
    Store(root).publish(history.write(drawn, POOLS, hide_models))
    job.tick(root, default_path(root), POLICY, NOW_HOUR * HOUR_NS + 60 * 10**9)
    with State(default_path(root)) as state:
        return {alert.task: json_line(alert) for alert in state.alerts(status="firing")}


@pytest.mark.parametrize("seed", LOOKS)
def test_without_a_shift_nobody_is_paged(tmp_path: Path, seed: int):
    assert alerts(tmp_path / "store", seed, "none") == {}


@pytest.mark.parametrize("seed", LOOKS)
def test_a_shifted_shape_is_one_alert_of_that_stream(tmp_path: Path, seed: int):
    found = alerts(tmp_path / "store", seed, "shape")
    assert set(found) == {TASKS[draw(seed, "shape").shifts[0].task].name}
    assert [alert["stream"] for alert in found.values()] == ["confidence_shape"]


@pytest.mark.parametrize("seed", range(7, 12) if TORTURE else [7])
def test_where_no_model_is_recorded_a_weaker_one_is_told_as_model_or_inputs(tmp_path: Path, seed: int):
    found = alerts(tmp_path / "store", seed, "three", hide_models=True)
    expected = {TASKS[shift.task].name: shift.kind for shift in draw(seed).shifts}
    assert {task: alert["cause"] for task, alert in found.items()} == {
        task: "model_or_inputs" if kind == "model" else kind for task, kind in expected.items()
    }


@pytest.mark.parametrize("seed", range(7, 17) if TORTURE else [7])
def test_the_headless_demo_prints_three_alerts_with_their_causes_and_nothing_else(tmp_path: Path, seed: int):
    command = [sys.executable, "-m", "cascade_otel.cli", "demo", "--headless", "--seed", str(seed)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--store", str(tmp_path / "store")],
        capture_output=True,
        text=True,
        timeout=150,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    found = {line["task"]: line for line in map(json.loads, done.stdout.splitlines())}
    expected = {TASKS[shift.task].name: shift.kind for shift in draw(seed).shifts}
    assert {task: line["cause"] for task, line in found.items()} == expected
    wanted = {"task", "cause", "from", "to", "since", "log_evidence", "cost_per_day", "currency"}
    assert all(wanted <= set(line) for line in found.values())
    assert "live hour run through" in done.stderr
    with pytest.raises(UserError, match="is not empty"):
        run(7, "three", True, False, tmp_path / "store", 0, 0)


def test_a_negative_seed_and_a_taken_port_are_told_before_anything_is_written(tmp_path: Path):
    with pytest.raises(UserError, match="--seed -1 arrived; wanted"):
        run(-1, "three", True, False, tmp_path / "store", 0, 0)
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as probe:
        port, free = taken.getsockname()[1], probe.getsockname()[1]
        probe.close()
        with pytest.raises(UserError, match=f":{port} cannot be listened on .* try --port {port + 1}"):
            run(7, "three", False, False, tmp_path / "store", port, free)
        with pytest.raises(UserError, match=f":{port} cannot be listened on .* try --dashboard-port"):
            run(7, "three", False, False, tmp_path / "store", free, port)
    assert not (tmp_path / "store").exists()


def test_the_budget_is_one_false_page_a_year_here_and_in_serve():
    assert parse(POLICY_TEXT, "policy").page_budget == POLICY.page_budget
    assert (POLICY.page_budget.pages, POLICY.page_budget.hours) == (1.0, 8760.0)
