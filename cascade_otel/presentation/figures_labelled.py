"""Charts of what labels tell: the deferral curve and the reliability diagram."""

from __future__ import annotations

from cascade_otel.presentation import words
from cascade_otel.presentation.labelled import Deferral, Reliability
from cascade_otel.presentation.vega import HEIGHT, Palette, Spec, chart, data, tooltips


def deferral(frame: Deferral, colours: Palette, height: int = HEIGHT) -> Spec:
    """End accuracy against the share escalated; a chord for a coin, a point for τ now."""
    curve = frame.curve.assign(
        tau=[f"{tau:.2f}" if tau == tau else "above all" for tau in frame.curve["threshold"]]
    )
    x = {
        "field": "escalated",
        "type": "quantitative",
        "scale": {"domain": [0, 1]},
        "axis": {"format": "~%", "title": "calls escalated", "tickCount": 5},
    }
    span = curve["accuracy"].max() - curve["accuracy"].min()
    bottom, top = curve["accuracy"].min() - 0.08 * span - 0.002, curve["accuracy"].max() + 0.12 * span + 0.002
    y = {
        "field": "accuracy",
        "type": "quantitative",
        "scale": {"domain": [bottom, min(top, 1.0)], "nice": False},
        "axis": {"format": ".0%" if span > 0.05 else ".1%", "title": "right answers", "tickCount": 5},
    }
    ends = curve.iloc[[0, -1]][["escalated", "accuracy"]].to_dict("records")
    tip = [
        {"field": "tau", "title": "τ"},
        {"field": "escalated", "title": "escalated", "format": ".1%"},
        {"field": "accuracy", "title": "right", "format": ".1%"},
    ]
    layers: list[Spec] = [
        {
            "data": data(ends),
            "mark": {"type": "line", "color": colours.reference, "strokeDash": [4, 3], "strokeWidth": 1.3},
            "encoding": {"x": x, "y": y},
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
    ]
    if frame.now is not None and frame.threshold is not None:
        share, right = frame.now
        label = f"now τ {frame.threshold:.2f}: {words.share(share)} escalated, {100 * right:.1f}% right"
        here = [{"escalated": share, "accuracy": right}]
        layers += [
            {
                "data": data(here),
                "mark": {"type": "point", "filled": True, "size": 110, "color": colours.alarm, "opacity": 1},
                "encoding": {"x": x, "y": y},
            },
            {
                # Below the end of the curve there is room.
                "data": data([{"escalated": 1, "accuracy": bottom, "label": label}]),
                "mark": {
                    "type": "text",
                    "align": "right",
                    "dx": -4,
                    "dy": -10,
                    "color": colours.text,
                    "fontSize": 12,
                },
                "encoding": {"x": x, "y": y, "text": {"field": "label"}},
            },
        ]
    return chart(layers, curve, height)


def reliability(frame: Reliability, colours: Palette, height: int = HEIGHT) -> Spec:
    """Accuracy against confidence with intervals and calls in each bin; on the diagonal both agree."""
    bins = frame.bins.assign(n=[words.count(int(n)) for n in frame.bins["calls"]])
    # Most cascades live near 1: empty lower halves are left out.
    start = float(min(bins["low"].min(), bins["accuracy_low"].min())) // 0.1 / 10
    ticks = [tenth / 10 for tenth in range(11) if tenth / 10 >= start and (start >= 0.5 or tenth % 2 == 0)]
    x = {
        "field": "confidence",
        "type": "quantitative",
        "scale": {"domain": [start, 1.02], "nice": False},
        "axis": {"title": "mean confidence in the bin", "format": ".1f", "values": ticks, "grid": False},
    }
    # The numbers of calls stand above 100 %.
    y = {
        "field": "accuracy",
        "type": "quantitative",
        "scale": {"domain": [start, 1 + 0.09 * (1 - start)], "nice": False},
        "axis": {"title": "right answers", "format": "~%", "values": ticks},
    }
    tip = [
        *tooltips(("confidence", "accuracy"), ".3f"),
        {"field": "n", "title": "calls"},
        *tooltips(("accuracy_low", "accuracy_high"), ".3f"),
    ]
    layers: list[Spec] = [
        {
            "data": data([{"confidence": start, "accuracy": start}, {"confidence": 1, "accuracy": 1}]),
            "mark": {"type": "line", "color": colours.reference, "strokeDash": [4, 3], "strokeWidth": 1.3},
            "encoding": {"x": x, "y": y},
        },
        {
            "mark": {"type": "rule", "color": colours.now, "strokeWidth": 1.5},
            "encoding": {"x": x, "y": {**y, "field": "accuracy_low"}, "y2": {"field": "accuracy_high"}},
        },
        {
            "mark": {"type": "point", "filled": True, "opacity": 1, "size": 55, "color": colours.now},
            "encoding": {"x": x, "y": y, "tooltip": tip},
        },
        {
            "mark": {"type": "text", "baseline": "top", "color": colours.text, "fontSize": 11},
            "encoding": {"x": x, "y": {"value": 0}, "text": {"field": "n"}},
        },
    ]
    return chart(layers, bins, height)
