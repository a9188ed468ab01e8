from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

from cascade_otel.analysis.value.summary import summarise
from cascade_otel.presentation import frames
from cascade_otel.presentation.frames import Now
from cascade_otel.presentation.periods import period
from cascade_otel.presentation.source import Watch
from cascade_otel.records import HOUR_NS, SECOND_NS
from cascade_otel.storage import schema
from cascade_otel.storage.calls import two_tier_rows
from cascade_otel.storage.reading.rollup import open_reader
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
        ("Calls", "7,205", "1,029 a day"),
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
    assert page.tiles[2].note == "tier large records no cost"


def test_a_tier_of_unknown_cost_is_not_free(tmp_path: Path) -> None:
    frame = calls("free", pd.Series([NOW_HOUR - 1]).to_numpy(), 20, 4).drop(columns=["cheap_cost_nano"])
    page = shown(tmp_path, frame)
    assert (page.tiles[2].value, page.tiles[2].note) == ("$0.0400", "tier small records no cost")


def test_the_first_screen_and_the_summary_tell_the_same_savings(tmp_path: Path) -> None:
    hours = np.arange(NOW_HOUR - 30, NOW_HOUR)
    frame = pd.concat([calls("a", hours, 20, 4), calls("b", hours, 10, 7)], ignore_index=True)
    frame = frame.astype(dict.fromkeys(frame.select_dtypes(["object", "string"]), "category"))
    page = shown(tmp_path, frame)
    with open_reader(Store(tmp_path, create=False)) as reader:
        pooled = summarise(reader)[-1]
    assert pooled.savings is not None
    # 30 x (30 cheap and 11 strong calls) against 30 x 30 strong ones.
    assert pooled.savings == pytest.approx(1 - (30 * 0.002 + 11 * 0.01) / (30 * 0.01))
    assert page.tiles[2].note == f"{pooled.savings:.0%} saved against strong-only"


def test_a_day_is_told_of_the_time_since_the_first_call(tmp_path: Path) -> None:
    page = shown(tmp_path, calls("two days", np.arange(NOW_HOUR - 48, NOW_HOUR + 1), 20, 4))
    assert page.tiles[0].note == "480 a day"
    assert page.table["cost_per_day"][0] == pytest.approx(24 * (20 * 0.002 + 4 * 0.01))


def test_less_than_a_day_says_nothing_about_a_day(tmp_path: Path) -> None:
    page = shown(tmp_path, calls("young", np.arange(NOW_HOUR - 23, NOW_HOUR + 1), 70, 4))
    assert page.calls == 24 * 70
    assert page.tiles[0].note == ""
    assert np.isnan(page.table["cost_per_day"][0])


def test_tiers_called_outside_a_cascade_count_their_own_calls_and_say_so(tmp_path: Path) -> None:
    frame = calls("inside", np.array([NOW_HOUR - 1]), 20, 4)
    page = shown(tmp_path, frame, calls("small", np.array([NOW_HOUR - 1]), 10, 0))
    rows = page.table.set_index("task")["calls"].to_dict()
    assert rows == {"inside": 20, "small (outside a cascade)": 10}
    assert page.tasks == ("inside", "small")
    assert page.calls == 20


def test_a_new_task_says_when_it_is_first_judged(tmp_path: Path) -> None:
    watch = Watch(last_tick_ns=NOW_HOUR * HOUR_NS + 300 * SECOND_NS)
    page = shown(tmp_path, calls("new", np.array([NOW_HOUR]), 3, 0), watch=watch)
    assert page.table["state"].tolist() == [[f"first judged {(NOW_HOUR + 1) % 24}:00 UTC"]]


def shown(
    store: Path, frame: pd.DataFrame, outside: pd.DataFrame | None = None, watch: Watch | None = None
) -> Now:
    """The first screen of a store of calls, and of tier calls that no cascade is around."""
    parts = []
    for part in (frame, outside):
        if part is not None:
            part["trace_hi"] = part["trace_lo"] = 1000 * len(parts) + np.arange(1, len(part) + 1)
            parts.append(two_tier_rows(part))
    if outside is not None:
        parts[1] = parts[1].filter(pc.equal(parts[1]["kind"], schema.TIER))
    for table in parts:
        Store(store).append(table)
    with open_reader(Store(store, create=False)) as reader:
        return frames.now(reader, watch or Watch(), WEEK)


def test_hostile_names_are_made_one_harmless_line(tmp_path: Path) -> None:
    frame = calls("a\nb\u202e" + "x" * 900, pd.Series([NOW_HOUR - 1]).to_numpy(), 3, 0)
    frame["trace_hi"] = frame["trace_lo"] = range(1, 4)
    Store(tmp_path).append(two_tier_rows(frame))
    with open_reader(Store(tmp_path, create=False)) as reader:
        page = frames.now(reader, Watch(), WEEK)
    assert page.table["task"][0] == "a□b□" + "x" * 44 + "…"
    assert page.tasks[0].startswith("a\nb\u202e")
