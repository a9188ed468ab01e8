"""Charts as Vega-Lite specifications: plain dicts with their data inside."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cascade_otel.presentation import words
from cascade_otel.presentation.changes import Mark
from cascade_otel.presentation.task_frames import PATHS, Confidence, Escalation, Latency
from cascade_otel.presentation.vega import (
    AXIS,
    HEIGHT,
    LABEL_LINE,
    PERCENT,
    Palette,
    Spec,
    chart,
    data,
    tooltips,
)
from cascade_otel.records import Effect


def escalation(frame: Escalation, colours: Palette, height: int = HEIGHT) -> Spec:
    """Rate by time with its reference band, the change's interval, and marks whose labels keep apart."""
    time = _time(frame)
    top = max([0.05, *frame.points["rate"], *frame.points["high"].dropna()]) if len(frame.points) else 1.0
    lines = len(frame.marks)
    # Labels stand above the curve: the scale leaves as much room as they take.
    room = top * (1.06 + lines * LABEL_LINE / (height - lines * LABEL_LINE - AXIS))
    scale: Spec = {"domain": [0, room], "nice": False}
    axis = {**PERCENT, "tickCount": 5, "values": _ticks(top)}
    rate = {"field": "rate", "type": "quantitative", "scale": scale, "axis": axis}
    # Two unseen points hold the ends of the time axis: every layer would have to repeat an explicit domain.
    layers: list[Spec] = [
        {
            "data": data([{"time_ms": frame.start_ms}, {"time_ms": frame.end_ms}]),
            "mark": {"type": "point", "opacity": 0, "tooltip": False},
            "encoding": {"x": time},
        }
    ]
    if frame.reference is not None:
        layers += [
            {
                "mark": {
                    "type": "area",
                    "color": colours.reference,
                    "opacity": 0.22,
                    "interpolate": "monotone",
                },
                "encoding": {"x": time, "y": {**rate, "field": "low"}, "y2": {"field": "high"}},
            },
            {
                "data": data([{"rate": frame.reference}]),
                "mark": {"type": "rule", "color": colours.reference, "strokeDash": [4, 3]},
                "encoding": {"y": rate},
            },
        ]
    if frame.change_ms is not None:
        low, high = frame.change_ms
        layers.append(
            {
                "data": data([{"low": low, "high": high}]),
                "mark": {"type": "rect", "color": colours.alarm, "opacity": 0.16},
                "encoding": {"x": {**time, "field": "low"}, "x2": {"field": "high"}},
            }
        )
    layers.append(
        {
            "mark": {
                "type": "line",
                "color": colours.now,
                "strokeWidth": 2,
                "point": _points(frame, colours),
            },
            "encoding": {"x": time, "y": rate, "tooltip": _escalation_tooltip(frame)},
        }
    )
    layers += _marks(frame.marks, time, rate, scale["domain"][1] * LABEL_LINE / (height - AXIS), colours)
    return chart(layers, frame.points, height)


def confidence(frame: Confidence, colours: Palette, height: int = HEIGHT) -> Spec:
    """Shares of calls by confidence: bars now, ticks for the reference, rules for τ."""
    cells = frame.cells.assign(middle=frame.cells["cell"] + 0.005)
    x = {
        "field": "cell",
        "type": "quantitative",
        "scale": {"domain": [0, 1.01], "nice": False},
        "axis": {"title": "confidence", "format": ".1f", "values": [0, 0.2, 0.4, 0.6, 0.8, 1], "grid": False},
    }
    middle = {**x, "field": "middle"}
    y = {"field": "now", "type": "quantitative", "axis": {**PERCENT, "tickCount": 5}}
    tip = [
        {"field": "cell", "title": "confidence", "format": ".2f"},
        {"field": "now", "title": "now", "format": ".1%"},
        {"field": "before", "title": "reference", "format": ".1%"},
    ]
    layers: list[Spec] = [
        {
            "mark": {"type": "bar", "orient": "vertical", "size": 5, "color": colours.now, "opacity": 0.75},
            "encoding": {"x": middle, "y": {**y, "stack": None}, "tooltip": tip},
        }
    ]
    if frame.cells["before"].notna().any():
        layers.append(
            {
                "mark": {
                    "type": "tick",
                    "orient": "horizontal",
                    "size": 9,
                    "thickness": 2.5,
                    "color": colours.text,
                },
                "encoding": {"x": middle, "y": {**y, "field": "before"}, "tooltip": tip},
            }
        )
    rules = [
        {"cell": tau, "label": f"τ {tau:.2f}", "colour": colours.alarm, "row": 0} for tau in frame.thresholds
    ]
    rules += [
        {"cell": tau, "label": f"τ was {tau:.2f}", "colour": colours.reference, "row": 1}
        for tau in frame.earlier_thresholds
    ]
    if rules:
        colour = {"field": "colour", "type": "nominal", "scale": None}
        layers += [
            {
                "data": data(rules),
                "mark": {"type": "rule", "strokeWidth": 1.6},
                "encoding": {"x": x, "color": colour},
            },
            *(
                {
                    "data": data([rule]),
                    "mark": {"type": "text", "align": "right", "dx": -4, "baseline": "top", "fontSize": 11},
                    "encoding": {
                        "x": x,
                        "y": {"value": 2 + LABEL_LINE * int(str(rule["row"]))},
                        "text": {"field": "label"},
                        "color": colour,
                    },
                }
                for rule in rules
            ),
        ]
    return chart(layers, cells, height)


def cause(effects: Sequence[tuple[str, Effect]], colours: Palette, height: int = 150) -> Spec:
    """Percentage points by part of the change, with their intervals and figures."""
    rows = [
        {
            "part": name,
            "points": part.points,
            "low": part.low,
            "high": part.high,
            "label": words.points(part.points),
            "at": max(part.high, part.points, 0),
        }
        for name, part in effects
    ]
    y = {
        "field": "part",
        "type": "nominal",
        "sort": None,
        "axis": {"title": None, "domain": False, "ticks": False},
    }
    spread = [value for _, part in effects for value in (part.low, part.high, part.points)]
    # A label of three digits needs about a tenth of the width right of the longest bar.
    low, high = min([0.0, *spread]), max([0.0, *spread])
    room = max(0.16 * (high - low), 0.1)
    x = {
        "field": "points",
        "type": "quantitative",
        "scale": {"domain": [low, high + room]},
        "axis": {"title": "percentage points", "tickCount": 5},
    }
    tip = [{"field": "part", "title": "part"}, *tooltips(("points", "low", "high"), ".1f")]
    layers: list[Spec] = [
        {
            "mark": {"type": "bar", "color": colours.now, "opacity": 0.8, "height": 18},
            "encoding": {"y": y, "x": x, "tooltip": tip},
        },
        {
            "mark": {"type": "rule", "color": colours.text, "strokeWidth": 1.5},
            "encoding": {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "text", "align": "left", "dx": 6, "color": colours.text, "fontSize": 12},
            "encoding": {"y": y, "x": {**x, "field": "at"}, "text": {"field": "label"}},
        },
    ]
    return chart(layers, pd.DataFrame(rows), height)


def latency(frame: Latency, colours: Palette, height: int = HEIGHT) -> Spec:
    """Share of calls by latency on a log scale, one area for each path, with rules at the median."""
    low, high = (
        (frame.cells["seconds"].min() / 1.1, frame.cells["seconds"].max() * 1.1)
        if len(frame.cells)
        else (0.1, 10)
    )
    ticks = [
        digit * 10.0**power
        for power in range(-6, 7)
        for digit in (1, 2, 5)
        if low <= digit * 10.0**power <= high
    ]
    x = {
        "field": "seconds",
        "type": "quantitative",
        "scale": {"type": "log", "domain": [low, high], "nice": False},
        "axis": {"title": "seconds, log scale", "format": "~g", "values": ticks, "grid": False},
    }
    y = {"field": "share", "type": "quantitative", "axis": {**PERCENT, "tickCount": 4}}
    colour = {
        "field": "path",
        "type": "nominal",
        "scale": {"domain": list(PATHS), "range": [colours.now, colours.other]},
        "legend": {"orient": "top", "title": None},
    }
    tip = [
        {"field": "path", "title": "path"},
        {"field": "seconds", "title": "about, s", "format": ".3~g"},
        {"field": "share", "title": "of the path's calls", "format": ".1%"},
    ]
    layers: list[Spec] = [
        {
            "mark": {"type": "area", "opacity": 0.3, "line": True, "interpolate": "monotone"},
            "encoding": {"x": x, "y": {**y, "stack": None}, "color": colour, "tooltip": tip},
        },
        {
            "data": data(frame.quantiles.dropna().to_dict("records")),
            "mark": {"type": "rule", "strokeDash": [4, 3], "strokeWidth": 1.5},
            "encoding": {"x": {**x, "field": "p50"}, "color": colour},
        },
    ]
    return chart(layers, frame.cells, height)


def _time(frame: Escalation) -> Spec:
    axis = {
        "title": None,
        "grid": False,
        "labelOverlap": "greedy",
        "tickCount": 8,
        "format": _time_format(frame),
    }
    return {"field": "time_ms", "type": "temporal", "scale": {"type": "utc", "nice": False}, "axis": axis}


def _time_format(frame: Escalation) -> str:
    return "%H:%M" if frame.end_ms - frame.start_ms <= 36 * 3_600_000 else "%-d %b"


def _points(frame: Escalation, colours: Palette) -> Spec | bool:
    """Dots where there are few points: a single one makes no line."""
    return {"size": 30, "color": colours.now} if len(frame.points) <= 30 else False


def _escalation_tooltip(frame: Escalation) -> list[Spec]:
    tip: list[Spec] = [
        {"field": "when", "title": "from"},
        {"field": "rate", "title": "escalated", "format": ".1%"},
        {"field": "calls", "title": "calls", "format": ","},
    ]
    if frame.reference is not None:
        tip += [
            {"field": name, "title": f"band {end}", "format": ".1%"}
            for name, end in (("low", "from"), ("high", "to"))
        ]
    return tip


def _marks(marks: Sequence[Mark], time: Spec, rate: Spec, line: float, colours: Palette) -> list[Spec]:
    """Lines down from their labels, each label ``line`` (in units of the rate) below the one before."""
    colour = {
        "alarm": colours.alarm,
        "change": colours.alarm,
        "suspect": colours.alarm,
        "version": colours.mark,
    }
    dash = {"alarm": [1, 0], "change": [5, 3], "suspect": [8, 2, 2, 2], "version": [2, 3]}
    top = rate["scale"]["domain"][1]
    layers: list[Spec] = []
    for mark in marks:
        left = mark.side == "left"
        here = data(
            [{"time_ms": mark.time_ms, "label": mark.label, "top": top - line * mark.row, "bottom": 0}]
        )
        rule = {"type": "rule", "color": colour[mark.kind], "strokeDash": dash[mark.kind], "strokeWidth": 1.5}
        label = {"type": "text", "align": "right" if left else "left", "dx": -5 if left else 5}
        label |= {"baseline": "top", "color": colour[mark.kind], "fontSize": 11}
        place = {"x": time, "y": {**rate, "field": "top"}}
        layers += [
            {"data": here, "mark": rule, "encoding": {**place, "y2": {"field": "bottom"}}},
            {"data": here, "mark": label, "encoding": {**place, "text": {"field": "label"}}},
        ]
    return layers


def _ticks(top: float) -> list[float]:
    step = next(size for size in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if top / size <= 5.5 or size == 0.25)
    return [round(step * index, 2) for index in range(int(top / step + 1e-9) + 1)]
