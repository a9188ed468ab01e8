"""What all charts share: colours that hold on a light or a dark ground, and the frame of a Vega-Lite spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

Spec = dict[str, Any]


@dataclass(frozen=True)
class Palette:
    """Colours that hold on one ground."""

    now: str
    alarm: str
    other: str
    mark: str
    reference: str
    text: str


LIGHT = Palette("#0072B2", "#C04A00", "#D55E00", "#8A4F7D", "#7A858F", "#3A434B")
DARK = Palette("#56B4E9", "#FF8C4A", "#FF8C4A", "#E3A3C6", "#98A3AD", "#C9D1D8")
HEIGHT = 270
LABEL_LINE, AXIS = 14, 35
"""Heights in pixels: of a chart, of a line of labels, of the axis below."""
PERCENT = {"format": "~%", "title": None}


def palette(dark: bool) -> Palette:
    """The palette for a dark or a light ground."""
    return DARK if dark else LIGHT


def chart(layers: list[Spec], frame: pd.DataFrame, height: int) -> Spec:
    """Layers over the rows of a frame."""
    return {"height": height, "data": data(frame.to_dict("records")), "layer": layers}


def data(rows: Sequence[Mapping[Any, Any]]) -> Spec:
    """Rows as JSON knows them: nan is null."""
    return {
        "values": [
            {str(name): None if value != value else value for name, value in row.items()} for row in rows
        ]
    }


def tooltips(names: Sequence[str], form: str) -> list[Spec]:
    """Tooltip lines of columns in one number format."""
    return [{"field": name, "title": name.replace("_", " "), "format": form} for name in names]
