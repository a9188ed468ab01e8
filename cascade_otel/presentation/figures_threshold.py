"""The chart of a threshold advice: wrong answers accepted against the share escalated."""

from __future__ import annotations

import pandas as pd

from cascade_otel.presentation import words
from cascade_otel.presentation.vega import HEIGHT, LABEL_LINE, Palette, Spec, chart, data, tooltips
from cascade_otel.records import ThresholdAdvice, ThresholdPoint


def deferral_risk(advice: ThresholdAdvice, colours: Palette, height: int = HEIGHT) -> Spec:
    """Estimated risk and its upper bound along the deferral curve, the limit, and τ now and advised.

    Without a single checked answer there is nothing to draw: the chart is empty.
    """
    known = [point for point in advice.curve if point.risk is not None]
    frame = pd.DataFrame([_row(point) for point in known], columns=list(_row(None)))
    x = {
        "field": "escalated",
        "type": "quantitative",
        "scale": {"domain": [0, 1]},
        "axis": {"format": "~%", "title": "calls escalated", "tickCount": 5},
    }
    of = "of accepted calls" if advice.selective else "of all calls"
    y = {
        "field": "risk",
        "type": "quantitative",
        "scale": {"domainMin": 0},
        "axis": {"format": "~%", "title": f"accepted and wrong, {of}", "tickCount": 5},
    }
    tip = [{"field": "tau", "title": "τ"}, *tooltips(("escalated", "risk", "upper"), ".1%")]
    layers: list[Spec] = [
        {
            "mark": {"type": "area", "color": colours.now, "opacity": 0.15},
            "encoding": {"x": x, "y": y, "y2": {"field": "upper"}},
        },
        {
            "mark": {"type": "line", "color": colours.now, "strokeDash": [4, 3], "strokeWidth": 1.3},
            "encoding": {"x": x, "y": {**y, "field": "upper"}},
        },
        {
            "mark": {
                "type": "line",
                "color": colours.now,
                "strokeWidth": 2,
                "point": {"size": 22, "color": colours.now},
            },
            "encoding": {"x": x, "y": y, "tooltip": tip},
        },
        {
            "data": data([{"limit": advice.alpha}]),
            "mark": {"type": "rule", "color": colours.alarm, "strokeDash": [2, 2]},
            "encoding": {"y": {**y, "field": "limit"}},
        },
    ]
    marked = [("now", advice.now, colours.alarm), ("advised", advice.advised, colours.mark)]
    for line, (name, point, colour) in enumerate(marked):
        if point is not None and point.risk is not None:
            layers += _marked(name, point, line, x, y, colour)
    return chart(layers, frame, height)


def _row(point: ThresholdPoint | None) -> Spec:
    if point is None:
        return dict.fromkeys(("tau", "escalated", "risk", "upper"))
    return {
        "tau": f"{point.threshold:g}",
        "escalated": point.escalation,
        "risk": point.risk,
        "upper": point.risk_upper,
    }


def _marked(name: str, point: ThresholdPoint, line: int, x: Spec, y: Spec, colour: str) -> list[Spec]:
    """A point on the curve and its label at the top right, which the falling curve leaves free."""
    label = f"● {name}: τ {point.threshold:g}, {words.share(point.escalation)} escalated"
    # Where both thresholds do the same, the second point lies within the first.
    size = 160 if line == 0 else 60
    return [
        {
            "data": data([_row(point)]),
            "mark": {"type": "point", "filled": True, "size": size, "color": colour, "opacity": 1},
            "encoding": {"x": x, "y": y},
        },
        {
            "data": data([{"escalated": 1, "label": label}]),
            "mark": {"type": "text", "align": "right", "baseline": "top", "color": colour, "fontSize": 12},
            "encoding": {"x": x, "y": {"value": LABEL_LINE * line + 2}, "text": {"field": "label"}},
        },
    ]
