"""What is read of a store before a threshold is chosen, and the days replayed under another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cascade_otel.analysis.threshold.advice import advise
from cascade_otel.analysis.threshold.calls import Calls, behaves_like, read
from cascade_otel.analysis.threshold.paths import paths
from cascade_otel.analysis.threshold.replay import replay_threshold
from cascade_otel.records import HOUR_NS
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store
from tests.analysis.checked_calls import Log, calls, rows, write
from tests.analysis.made_up import END

DAY = 24


def read_back(root: Path, *logs: Log) -> Calls:
    with open_reader(write(root, *logs)) as reader:
        found = read(reader, logs[0].task, END - 60 * DAY, END)
    assert found is not None
    return found


def test_what_was_recorded_comes_back_in_order(tmp_path: Path) -> None:
    log = Log(calls=800)
    frame, found = calls(log), read_back(tmp_path / "s", log)
    assert found.tier == "small"
    assert found.confidence == pytest.approx(frame["cheap_confidence"].to_numpy())
    assert np.array_equal(found.escalated, frame["escalated"])
    known = frame["audited"] | frame["escalated"]
    assert np.array_equal(np.isnan(found.wrong), ~known)
    assert np.array_equal(found.wrong[known] > 0, frame["wrong"][known])
    assert np.array_equal(found.stratum, np.where(frame["escalated"], 0, 1))
    assert (found.audit_rate, found.currency, found.thresholds) == (0.1, "USD", {"small": 0.8})
    assert found.explained.all()


def test_every_audit_rate_is_a_stratum_and_every_call_keeps_its_own_threshold(tmp_path: Path) -> None:
    """τ .8 at 20 % audits for two weeks, then τ .9 at 5 %."""
    before = Log(calls=1500, audit_rate=0.2)
    after = Log(calls=1500, threshold=0.9, decided_at=0.9, audit_rate=0.05, seed=2)
    frames = {before: calls(before), after: calls(after)}
    frames[before]["start_ns"] -= 14 * DAY * HOUR_NS
    store = Store(tmp_path / "s")
    store.publish([rows(log, frame) for log, frame in frames.items()])
    with open_reader(store) as reader:
        found = read(reader, "organic", END - 60 * DAY, END)
        advice = advise(reader, "organic", days=60)
    assert found is not None
    assert (found.threshold_now, found.audit_rate) == (0.9, 0.05)
    assert found.explained.all()
    accepted = ~found.escalated
    early = np.arange(len(found.hour)) < 1500
    assert set(found.stratum[~accepted]) == {0}
    assert len(set(found.stratum[accepted])) == 2
    assert (found.stratum[accepted & early] == 2).mean() < 0.05
    assert any("τ was not the same throughout (0.8 to 0.9)" in remark for remark in advice.remarks)


def test_accepted_calls_before_the_first_audit_are_left_out_and_said(tmp_path: Path) -> None:
    silent = Log(calls=1000, audit_rate=0, seed=3)
    audited = Log(calls=1000)
    frame = calls(silent)
    frame["start_ns"] -= 14 * DAY * HOUR_NS
    store = Store(tmp_path / "s")
    store.publish([rows(silent, frame), rows(audited, calls(audited))])
    with open_reader(store) as reader:
        advice = advise(reader, "organic", days=60)
    assert advice.calls == 2000
    assert any("lie before the first or after the last audit" in remark for remark in advice.remarks)
    assert advice.labelled < 400


def test_settings_of_three_tiers_keep_the_other_thresholds(tmp_path: Path) -> None:
    table = rows(Log(), calls(Log()))
    frame = table.to_pandas()
    strong = (frame["tier"] == "large") & frame["purpose"].isna()
    frame.loc[strong, "threshold"] = 0.6
    store = Store(tmp_path / "s")
    store.publish(
        [table.set_column(table.schema.get_field_index("threshold"), "threshold", [frame["threshold"]])]
    )
    with open_reader(store) as reader:
        advice = advise(reader, "organic")
    assert advice.setting == '[tasks."organic"]\nthresholds = {"small" = 0.8, "large" = 0.6}'


@pytest.mark.parametrize("threshold", [0.25, 0.5, 0.8])
def test_the_threshold_that_the_decisions_follow_is_found(threshold: float) -> None:
    random = np.random.default_rng(6)
    confidence = np.round(random.random(500), 2)
    odd = random.random(500) < 0.02
    found = behaves_like(confidence, (confidence < threshold) ^ odd)
    assert found == pytest.approx(threshold, abs=0.011)
    assert behaves_like(np.array([np.nan]), np.array([True])) is None
    all_sent = behaves_like(np.array([0.5, 1.0]), np.array([True, True]))
    assert all_sent is not None
    assert all_sent > 1


def test_the_path_not_taken_is_priced_by_audits_and_by_what_escalation_added() -> None:
    """Retries of the first tier count once each; two cascades in one trace say nothing about either."""
    names = ["trace_hi", "trace_lo"]
    own = pd.DataFrame(
        [(1, 1, 0, 1e9, 1e9), (1, 2, 0, 2e9, 1e9), (1, 2, 5e9, 1e9, 1e9), (1, 3, 0, 1e9, 1e9)],
        columns=[*names, "start_ns", "duration_ns", "cost_nano"],
    )
    cascades = pd.DataFrame(
        [(1, 1, 1e9, 1e9), (1, 2, 9e9, 6e9), (1, 3, 1e9, 1e9), (1, 3, 1e9, 1e9)],
        columns=[*names, "duration_ns", "cost_nano"],
    )
    decided = own.iloc[[0, 2, 3]].assign(
        escalated=[False, True, False], audit_cost_nano=[7e9, np.nan, np.nan]
    )
    found = paths(decided, own, cascades)
    assert found.cost_accepted.tolist() == [1, 2, 1]
    assert found.cost_escalated.tolist() == [8, 6, 5]
    assert found.seconds_accepted.tolist() == [1, 6, 1]
    assert found.seconds_escalated.tolist() == [4, 9, 4]


def test_days_replayed_under_another_threshold_add_up(tmp_path: Path) -> None:
    log = replace(Log(), calls=3000, days=5)
    frame = calls(log)
    with open_reader(write(tmp_path / "s", log)) as reader:
        days = replay_threshold(reader, "organic", 0.9, END - 10 * DAY, END)
        same = replay_threshold(reader, "organic", 0.8, END - 10 * DAY, END)
        assert replay_threshold(reader, "organic", 0.9, END - 90 * DAY, END - 80 * DAY) == []
    then = frame["cheap_confidence"] < 0.9
    known = frame["audited"] | frame["escalated"]
    assert sum(day.calls for day in days) == 3000
    assert [day.start_hour % 24 for day in days] == [0] * 6
    for day in days:
        own = frame["start_ns"] // (DAY * HOUR_NS) == day.start_hour // 24
        assert (day.calls, day.escalated) == (own.sum(), (own & frame["escalated"]).sum())
        assert day.escalated_then == (own & then).sum()
        assert day.differ == (own & (then != frame["escalated"])).sum()
        assert day.wrong == (own & frame["audited"] & frame["wrong"]).sum()
        assert day.wrong_then == (own & ~then & known & frame["wrong"]).sum()
        assert day.unknown_then == (own & ~then & ~known).sum()
        assert day.cost_then == pytest.approx(0.001 * day.calls + 0.009 * day.escalated_then)
    assert all(day.differ == 0 and day.cost == day.cost_then for day in same)


def test_costs_nobody_recorded_are_not_made_up(tmp_path: Path) -> None:
    with open_reader(write(tmp_path / "s", Log(calls=200, costs=False))) as reader:
        days = replay_threshold(reader, "organic", 0.9, END - 20 * DAY, END)
    assert {(day.cost, day.cost_then) for day in days} == {(None, None)}
