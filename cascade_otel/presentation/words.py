"""How times, shares, money and other people's names are written."""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime

from cascade_otel.records import SECOND_NS

NAME_LIMIT = 48
NANO_DIGITS = 9
"""No amount is recorded finer than this."""
NOTHING = "–"
_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£"}


def name(text: str, limit: int = NAME_LIMIT) -> str:
    """Somebody else's name, harmless in a line of text: control and direction marks as □, clipped."""
    clean = "".join("□" if unicodedata.category(letter)[0] == "C" else letter for letter in text[: limit + 1])
    return (clean[:limit] + "…" if len(clean) > limit else clean) or "(no name)"


def share(value: float | None) -> str:
    """A fraction in percent: 23%, 4.2%, 0.31%."""
    if value is None or math.isnan(value):
        return NOTHING
    points = 100 * value
    digits = 0 if points >= 9.95 or points == 0 else 1 if points >= 0.95 else 2
    return f"{points:.{digits}f}%"


def points(value: float) -> str:
    """Percentage points with their sign: +19, −4.2."""
    number = f"{abs(value):.{0 if abs(value) >= 9.95 else 1}f}"
    return number if number == "0.0" else _signed(value, number)


def money(amount: float | None, currency: str = "USD") -> str:
    """$12.40, $0.0031, $0.000021, $1,240; a dash where costs are unknown."""
    if amount is None or math.isnan(amount):
        return NOTHING
    size = abs(amount)
    digits = 0 if size >= 1000 else 2 if size >= 0.1 or size == 0 else 4
    if 0 < size < 0.001:
        digits = min(1 - math.floor(math.log10(size)), NANO_DIGITS)
    sign, number = "−" if amount < 0 else "", f"{size:,.{digits}f}"
    return (
        f"{sign}{_SYMBOLS[currency]}{number}"
        if currency in _SYMBOLS
        else f"{sign}{number} {name(currency, 8)}"
    )


def change_of_money(amount: float, currency: str = "USD") -> str:
    """The same with a plus sign where it grew."""
    return money(amount, currency) if amount < 0 else f"+{money(amount, currency)}"


def count(number: int) -> str:
    """1,234 up to a hundred thousand, then 123 k, 4.6 M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**5, "k")):
        if number >= size:
            scale = 1000 if letter == "k" else size
            return f"{number / scale:.3g} {letter}"
    return f"{number:,}"


def seconds(value: float | None) -> str:
    """A latency: 740 ms, 5.6 s, 3.1 min."""
    if value is None or math.isnan(value):
        return NOTHING
    if value < 0.9995:
        return f"{1000 * value:.0f} ms"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"


def age(passed_s: float) -> str:
    """How long something is: 40 s, 12 min, 2 d 3 h."""
    whole = max(int(passed_s), 0)
    if whole < 100:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours = round(whole / 3600)
    days, rest = divmod(hours, 24)
    if hours < 48:
        return f"{hours} h"
    return f"{days} d {rest} h" if rest and days < 7 else f"{days} d"


def hour(since_1970: int) -> str:
    """An hour as a date: 22 Nov 09:00 UTC."""
    return moment(since_1970 * 3600 * SECOND_NS)


def clock(since_1970: int) -> str:
    """An hour of the day: 09:00 UTC."""
    return f"{since_1970 % 24:02d}:00 UTC"


def moment(time_ns: int) -> str:
    """A time to the minute: 22 Nov 09:41 UTC."""
    when = datetime.fromtimestamp(time_ns // SECOND_NS, UTC)
    return f"{when.day} {when:%b %H:%M} UTC"


def _signed(value: float, number: str) -> str:
    return f"−{number}" if value < 0 else f"+{number}"
