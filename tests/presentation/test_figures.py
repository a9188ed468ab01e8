from __future__ import annotations

import json
from typing import Any

import pytest

from cascade_otel.presentation import figures, figures_labelled, vega
from cascade_otel.presentation.periods import period
from cascade_otel.presentation.task_page import Labelled, TaskPage, labelled_page, task_page
from cascade_otel.presentation.vega import DARK, LIGHT, Spec
from tests.presentation.small_store import NOW_HOUR, Built

WEEK = period("7d", NOW_HOUR, NOW_HOUR)


@pytest.fixture(scope="module")
def page(built: Built) -> TaskPage:
    with built.reader() as reader:
        return task_page(reader, built.watch(), "shifted", WEEK)


@pytest.fixture(scope="module")
def told(built: Built, page: TaskPage) -> Labelled:
    with built.reader() as reader:
        return labelled_page(reader, page, WEEK)


def drawn(spec: Spec, kind: str) -> list[Any]:
    """Layers of one kind of mark."""
    return [layer for layer in spec["layer"] if layer["mark"]["type"] == kind]


def test_the_time_line_has_band_reference_interval_and_marks(page: TaskPage) -> None:
    spec = figures.escalation(page.escalation, LIGHT)
    assert len(spec["data"]["values"]) == 56
    (band,) = drawn(spec, "area")
    assert band["encoding"]["y"]["field"] == "low"
    assert band["encoding"]["y2"]["field"] == "high"
    (interval,) = drawn(spec, "rect")
    assert interval["data"]["values"] == [
        {"low": (NOW_HOUR - 50) * 3_600_000, "high": (NOW_HOUR - 44) * 3_600_000}
    ]
    labels = {layer["data"]["values"][0]["label"] for layer in drawn(spec, "text")}
    assert {label.split()[0] for label in labels} == {"alarm", "change", "model"}
    heights = [layer["data"]["values"][0]["top"] for layer in drawn(spec, "text")]
    assert len(set(heights)) == 3


def test_the_time_line_is_in_utc_and_starts_at_zero(page: TaskPage) -> None:
    spec = figures.escalation(page.escalation, LIGHT)
    (line,) = drawn(spec, "line")
    assert line["encoding"]["x"]["scale"]["type"] == "utc"
    low, high = line["encoding"]["y"]["scale"]["domain"]
    assert low == 0
    # Labels stand above the highest point.
    assert high > 0.4 * 1.1


def test_without_a_reference_there_is_no_band(built: Built) -> None:
    with built.reader() as reader:
        page = task_page(reader, built.watch(), "young", WEEK)
    spec = figures.escalation(page.escalation, LIGHT)
    assert drawn(spec, "area") == []
    assert all(row["low"] is None for row in spec["data"]["values"])


def test_confidence_draws_bars_now_ticks_before_and_tau(page: TaskPage) -> None:
    spec = figures.confidence(page.confidence, LIGHT)
    (bars,) = drawn(spec, "bar")
    (ticks,) = drawn(spec, "tick")
    assert bars["encoding"]["y"]["field"] == "now"
    assert ticks["encoding"]["y"]["field"] == "before"
    (rule,) = drawn(spec, "rule")
    assert [row["label"] for row in rule["data"]["values"]] == ["τ 0.80"]


def test_the_cause_is_drawn_in_points_with_intervals(page: TaskPage) -> None:
    spec = figures.cause(page.verdict.effects, LIGHT)
    rows = {row["part"]: row for row in spec["data"]["values"]}
    assert list(rows) == ["inputs", "model", "threshold"]
    assert (rows["model"]["points"], rows["model"]["low"], rows["model"]["high"]) == (19.0, 17.0, 21.0)
    assert rows["model"]["label"] == "+19"


def test_the_deferral_curve_has_a_point_at_tau_now(told: Labelled) -> None:
    spec = figures_labelled.deferral(told.deferral, LIGHT)
    (point,) = drawn(spec, "point")
    assert point["data"]["values"][0]["escalated"] == pytest.approx(864 / 3360, abs=0.01)
    (label,) = drawn(spec, "text")
    assert label["data"]["values"][0]["label"] == "now τ 0.80: 26% escalated, 100.0% right"


def test_the_reliability_diagram_tells_the_calls_of_each_bin(told: Labelled) -> None:
    spec = figures_labelled.reliability(told.reliability, LIGHT)
    assert [row["n"] for row in spec["data"]["values"]] == ["864", "792"]
    assert drawn(spec, "text")[0]["encoding"]["text"]["field"] == "n"


def test_latency_keeps_the_paths_apart(page: TaskPage) -> None:
    spec = figures.latency(page.latency, LIGHT)
    assert {row["path"] for row in spec["data"]["values"]} == {"accepted", "escalated"}
    (area,) = drawn(spec, "area")
    assert area["encoding"]["color"]["scale"]["range"] == [LIGHT.now, LIGHT.other]


def test_every_chart_is_strict_json_and_asks_nothing_of_the_network(page: TaskPage, told: Labelled) -> None:
    specs = [
        figures.escalation(page.escalation, DARK),
        figures.confidence(page.confidence, DARK),
        figures.cause(page.verdict.effects, DARK),
        figures.latency(page.latency, DARK),
        figures_labelled.deferral(told.deferral, DARK),
        figures_labelled.reliability(told.reliability, DARK),
    ]
    for spec in specs:
        text = json.dumps(spec, allow_nan=False)
        assert "url" not in text
        assert LIGHT.now not in text


def test_the_palette_follows_the_ground() -> None:
    assert vega.palette(dark=True) is DARK
    assert vega.palette(dark=False) is LIGHT
