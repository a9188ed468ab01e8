from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from cascade_otel.presentation import frames
from cascade_otel.presentation.frames import Now
from cascade_otel.presentation.periods import period
from cascade_otel.presentation.source import Watch
from cascade_otel.storage.calls import two_tier_rows
from cascade_otel.storage.rollup import open_reader
from cascade_otel.storage.segments import Store
from tests.presentation.small_store import NOW_HOUR, Built, alert, calls, findings

WEEK = period("7d", NOW_HOUR, NOW_HOUR)


@pytest.fixture(scope="module")
def page(built: Built) -> Now:
    with built.reader() as reader:
        return frames.now(reader, built.watch(), WEEK)


def test_tiles_say_what_all_tasks_did_in_the_range(page: Now) -> None:
    assert page.calls == 7205
    assert [(tile.label, tile.value, tile.note) for tile in page.tiles[:3]] == [
        ("Calls", "7,205", "1,023 a day"),
        ("Escalation rate", "22%", "1,584 escalated"),
        ("Cost", "$30.25", "58% saved against strong-only"),
    ]


def test_latency_is_told_by_path_and_never_blended(page: Now) -> None:
    accepted, escalated = page.tiles[3:]
    assert (accepted.label, escalated.label) == ("Latency, accepted", "Latency, escalated")
    assert 460 <= float(accepted.value.removesuffix(" ms")) <= 550
    assert 2.3 <= float(escalated.value.removesuffix(" s")) <= 2.75
    assert set(accepted.trend) == {0.5}
    assert set(escalated.trend) == {2.5}


def test_trends_leave_out_the_unfinished_hour(page: Now) -> None:
    assert len(page.tiles[0].trend) == 56
    assert sum(page.tiles[0].trend) == 7200
    assert page.tiles[0].trend[-1] == 3 * 50


def test_tasks_are_sorted_by_state_then_evidence(page: Now) -> None:
    assert page.tasks == ("shifted", "young", "steady")
    assert [state for (state,) in page.table["state"]] == ["drifting", "learning, day 3 of 7", "quiet"]
    assert page.states == {"drifting": "red", "learning, day 3 of 7": "gray", "quiet": "green"}
    assert page.worst == "shifted"


def test_a_row_says_now_and_reference_since_cause_and_money(page: Now) -> None:
    row = page.table.iloc[0].to_dict()
    assert row["now"] == pytest.approx(40.0)
    assert row["reference"] == pytest.approx(20.0)
    assert row["trend"][:40] == [20.0] * 40
    assert row["trend"][40:] == [40.0] * 16
    assert row["cause"] == "model"
    assert row["change_per_day"] == "+$3.84"
    assert row["since"].endswith(":00")
    assert row["calls"] == 3360
    # 3,360 cheap calls and 120 x 4 + 48 x 8 strong ones in seven days.
    assert row["cost_per_day"] == pytest.approx((3360 * 0.002 + 864 * 0.01) / 7)


def test_all_sparklines_share_one_scale(page: Now) -> None:
    assert page.highest_rate == 40.0


def test_the_state_does_not_depend_on_the_range(built: Built) -> None:
    watch = built.watch()
    with built.reader() as reader:
        tables = [
            frames.now(reader, watch, period(name, NOW_HOUR, NOW_HOUR)).table for name in ("24h", "30d")
        ]
    for column in ("state", "task", "now", "reference", "since", "cause"):
        pd.testing.assert_series_equal(tables[0][column], tables[1][column])


def test_a_firing_alert_makes_the_state_though_no_finding_is_left(built: Built) -> None:
    lone = Watch(alerts=(alert(findings()[2]),))
    with built.reader() as reader:
        page = frames.now(reader, lone, WEEK)
    assert page.table["state"].tolist() == [["drifting"], ["not judged yet"], ["not judged yet"]]


def test_a_task_over_a_fixed_limit_comes_before_one_that_drifts(built: Built) -> None:
    broken = replace(findings()[0], stream="tier_errors", state="drifting", value=0.62, limit=0.5)
    watch = Watch(findings=tuple(findings()), alerts=(alert(findings()[2]), alert(broken, fingerprint="f2")))
    with built.reader() as reader:
        page = frames.now(reader, watch, WEEK)
    assert page.tasks[0] == "steady"
    assert page.table["state"][0] == ["over limit"]


def test_one_call_fills_the_tiles_and_draws_no_trend(tmp_path: Path) -> None:
    one = calls("only", pd.Series([NOW_HOUR]).to_numpy(), 1, 0)
    one["trace_hi"] = one["trace_lo"] = 5
    Store(tmp_path).append(two_tier_rows(one))
    with open_reader(Store(tmp_path, create=False)) as reader:
        page = frames.now(reader, Watch(), WEEK)
    assert [tile.value for tile in page.tiles] == ["1", "0%", "$0.0020", page.tiles[3].value, "–"]
    assert page.tiles[1].trend == ()
    assert page.table["trend"].tolist() == [[]]


def test_an_empty_store_makes_an_empty_screen(tmp_path: Path) -> None:
    with open_reader(Store(tmp_path)) as reader:
        page = frames.now(reader, Watch(), WEEK)
    assert page.calls == 0
    assert page.tasks == ()
    assert [tile.value for tile in page.tiles] == ["0", "–", "–", "–", "–"]


def test_savings_are_unknown_where_no_strong_call_has_a_price(tmp_path: Path) -> None:
    frame = calls("free", pd.Series([NOW_HOUR - 1]).to_numpy(), 20, 4).drop(columns=["strong_cost_nano"])
    frame["trace_hi"] = frame["trace_lo"] = range(1, 21)
    Store(tmp_path).append(two_tier_rows(frame))
    with open_reader(Store(tmp_path, create=False)) as reader:
        page = frames.now(reader, Watch(), WEEK)
    assert page.tiles[2].note == ""


def test_hostile_names_are_made_one_harmless_line(tmp_path: Path) -> None:
    frame = calls("a\nb\u202e" + "x" * 900, pd.Series([NOW_HOUR - 1]).to_numpy(), 3, 0)
    frame["trace_hi"] = frame["trace_lo"] = range(1, 4)
    Store(tmp_path).append(two_tier_rows(frame))
    with open_reader(Store(tmp_path, create=False)) as reader:
        page = frames.now(reader, Watch(), WEEK)
    assert page.table["task"][0] == "a□b□" + "x" * 44 + "…"
    assert page.tasks[0].startswith("a\nb\u202e")
