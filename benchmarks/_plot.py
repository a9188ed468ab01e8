"""Lines on log-log axes as SVG, on a light background, without a plotting library."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, GAP_X, GAP_Y, TOP = 380, 250, 80, 66, 62
COLOURS = ("#0072b2", "#d55e00", "#00865f", "#a44c86", "#6b6b6b")
NEARLY = 0.02  # of a decade: so little beyond a line needs no further one
INK, GRID = "#24292f", "#e3e6ea"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Line = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """Lines by name, over one x axis."""

    x: str
    y: str
    lines: Mapping[str, Line]


def grid(panels: Sequence[Sequence[Panel]], title: str) -> str:
    """Rows of panels under one legend. Every x and y is above 0; panels of a row share their y axis."""
    names = list(dict.fromkeys(name for row in panels for panel in row for name in panel.lines))
    colours = dict(zip(names, COLOURS, strict=False))
    width = max(map(len, panels)) * (WIDTH + GAP_X) + 24
    height = TOP + len(panels) * (HEIGHT + GAP_Y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="Helvetica, Arial, sans-serif" font-size="13">',
        f"<title>{html.escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *_legend(colours),
    ]
    for number, row in enumerate(panels):
        values = [y for panel in row for line in panel.lines.values() for _, y in line]
        for column, panel in enumerate(row):
            at = (GAP_X + column * (WIDTH + GAP_X), TOP + number * (HEIGHT + GAP_Y))
            parts += _panel(panel, at, _decades(values), colours)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(colours: Mapping[str, str]) -> Iterator[str]:
    x = float(GAP_X)
    for name, colour in colours.items():
        yield f'<line x1="{x:.0f}" x2="{x + 22:.0f}" y1="24" y2="24" stroke="{colour}" stroke-width="3"/>'
        yield f'<text x="{x + 28:.0f}" y="28" fill="{INK}">{html.escape(name)}</text>'
        x += 50 + 7 * len(name)


def _panel(panel: Panel, at: tuple[int, int], decades: range, colours: Mapping[str, str]) -> Iterator[str]:
    left, top = at
    across = _decades([x for line in panel.lines.values() for x, _ in line])

    def place(x: float, y: float) -> tuple[float, float]:
        shares = (_share(x, across), _share(y, decades))
        return left + WIDTH * shares[0], top + HEIGHT * (1 - shares[1])

    for power in across:
        x, y = place(10.0**power, 10.0 ** decades[0])
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{y:.1f}" stroke="{GRID}"/>'
        named = power_of_ten(power)
        yield f'<text x="{x:.1f}" y="{y + 18:.1f}" fill="{INK}" text-anchor="middle">{named}</text>'
    for power in decades:
        x, y = place(10.0 ** across[0], 10.0**power)
        yield f'<line x1="{x:.1f}" x2="{x + WIDTH:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>'
        named = power_of_ten(power)
        yield f'<text x="{x - 8:.1f}" y="{y + 4:.1f}" fill="{INK}" text-anchor="end">{named}</text>'
    middle, low = left + WIDTH / 2, top + HEIGHT + 38
    yield f'<text x="{middle}" y="{low}" fill="{INK}" text-anchor="middle">{html.escape(panel.x)}</text>'
    yield (
        f'<text transform="translate({left - 52} {top + HEIGHT / 2}) rotate(-90)" fill="{INK}" '
        f'text-anchor="middle">{html.escape(panel.y)}</text>'
    )
    for name, line in panel.lines.items():
        points = [place(x, y) for x, y in line]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline points="{joined}" fill="none" stroke="{colours[name]}" stroke-width="2.5"/>'
        for x, y in points:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colours[name]}"/>'


def _decades(values: Sequence[float]) -> range:
    """Powers of ten around the values."""
    first = math.floor(math.log10(min(values)) + NEARLY)
    return range(first, max(math.ceil(math.log10(max(values)) - NEARLY), first + 1) + 1)


def _share(value: float, decades: range) -> float:
    return (math.log10(value) - decades[0]) / (decades[-1] - decades[0])


def power_of_ten(power: int) -> str:
    """A power of ten as people read it."""
    if -3 <= power <= 3:
        return f"{10.0**power:,g}"
    return f"10{str(power).translate(SUPERSCRIPTS)}"
