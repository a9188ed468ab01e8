"""Names, numbers and times as people read them in a chat or a terminal."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import UTC, datetime

from cascade_otel.records import HOUR_NS, SECOND_NS, Effect

LONGEST_NAME = 60
HOURS_A_YEAR = 8766.0
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
PLAIN = re.compile(r"[\w.+/-]+")
_STAND_INS = str.maketrans({"<": "‹", ">": "›", "@": "＠", '"': "'", "`": "'", "\\": "＼"})
"""Slack reads <…|…> as a link and <!channel> as a call to everybody, others read @channel so."""


def name(text: str) -> str:
    """A name that came with telemetry, harmless in a line of text: it makes no link, line or alarm.

    Control characters, direction marks and the like are shown as their code (``[U+202E]``), markup by
    characters that look alike, a long name is cut. Anything but one plain word comes in quotation marks, so
    that it cannot pass for words of ours.
    """
    shown = harmless(text, LONGEST_NAME)
    quoted = shown if PLAIN.fullmatch(shown) else f'"{shown}"'
    if any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in shown):
        # Isolated, or the numbers beside the name would change their order on the screen.
        return f"\u2068{quoted}\u2069"
    return quoted


def harmless(text: str, longest: int = 400) -> str:
    """Text with names in it, on one line and without markup, cut to ``longest`` characters."""
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    shown = "".join(_shown(character) for character in cut).translate(_STAND_INS)
    # Chats make links of addresses, and some fetch the picture behind ![…](…).
    return shown.replace("://", ":∕∕").replace("](", "] (")


def percent(fraction: float | None) -> str:
    """A fraction as a percentage; what is not quite all or nothing does not read so."""
    if fraction is None or math.isnan(fraction):
        return "unknown"
    hundredths = 100.0 * fraction
    if 0.0 < hundredths < 1.0:
        return f"{hundredths:.1g} %"
    if 99.95 <= hundredths < 100.0:
        return "over 99.9 %"
    return f"{hundredths:.1f}".removesuffix(".0") + " %"


def points(value: float) -> str:
    """A change in percentage points, with its sign."""
    rounded = f"{value:+.1f}"
    return "0.0" if rounded in ("+0.0", "-0.0") else rounded


def effect(value: Effect) -> str:
    """An effect with its interval; one that is none is short."""
    if value.points == value.low == value.high == 0.0:
        return "0.0"
    return f"{points(value.points)} points (90 %: {points(value.low)} to {points(value.high)})"


def money(amount: float, currency: str, sign: bool = False) -> str:
    """An amount of money; less than a tenth of a unit keeps two digits that say something."""
    plus = "+" if sign else ""
    shown = f"{amount:{plus},.2f}" if abs(amount) >= 0.1 or amount == 0 else f"{amount:{plus}.2g}"
    return f"{shown} {name(currency)}"


def seconds(amount: float) -> str:
    """A length of time with two digits that say something."""
    if amount >= 100:
        return f"{amount:,.0f} s"
    return f"{amount:.2g} s" if amount >= 0.1 else f"{1000 * amount:.2g} ms"


def moment(ns: int) -> str:
    """A time, in UTC: ``22 Nov 2026 14:05``."""
    at = datetime.fromtimestamp(ns // SECOND_NS, UTC)
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year} {at:%H:%M}"


def hour(number: int) -> str:
    """The start of an hour since 1970, in UTC."""
    return moment(number * HOUR_NS)


def iso(ns: int) -> str:
    """A time as ISO 8601, in UTC: ``2026-11-22T14:05:00Z``."""
    return f"{datetime.fromtimestamp(ns // SECOND_NS, UTC):%Y-%m-%dT%H:%M:%SZ}"


def stretch(hours: float) -> str:
    """A length of time in the unit that suits it."""
    for unit, size in (("year", HOURS_A_YEAR), ("day", 24.0), ("hour", 1.0)):
        if hours >= 2 * size:
            return f"{hours / size:,.0f} {unit}s"
    minutes = round(60 * hours)
    return "1 minute" if minutes == 1 else f"{minutes} minutes"


def _shown(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return f"[U+{ord(character):04X}]"
    return character
