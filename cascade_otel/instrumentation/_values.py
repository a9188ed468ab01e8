"""What of the user's values may be recorded: only what every exporter can encode and every sum can bear."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

from cascade_otel import semconv
from cascade_otel.instrumentation._guard import warn_once

LONGEST_NAME = 200
MOST_ON_METRICS, MOST_ON_SPANS = 1_000, 10_000
# what the receiver takes: for one value beyond, the whole span would be put aside
MOST_TOKENS, LARGEST_SIZE, LAST_INDEX = 2**31 - 1, 2**62, 32_766
MOST_USD = LARGEST_WEIGHT = LARGEST_THRESHOLD = 1e6
LONGEST_DURATION, LARGEST_TIME = 1e9, 2**62  # seconds, nanoseconds
OTHER = "other"
ROUNDING = 1e-6


def finite(value: Any) -> float:
    """A finite float: the SDK exports a numpy scalar as text and warns at every NaN."""
    number = value if type(value) is float else float(_real(value))
    if not math.isfinite(number):
        raise ValueError(f"{number} arrived where a finite number is wanted")
    return number


def probability(value: Any) -> float:
    """A float in [0, 1]; what rounding put beside a bound is taken for the bound."""
    if type(value) is float and 0.0 <= value <= 1.0:
        return value
    number = finite(value)
    if -ROUNDING <= number <= 1.0 + ROUNDING:
        return min(max(number, 0.0), 1.0)
    raise ValueError(f"{number:g} arrived where a confidence between 0 and 1 is wanted")


def threshold(value: Any) -> float:
    """A float in [-1e6, 1e6]: some compare a margin or a logit."""
    number = finite(value)
    if abs(number) > LARGEST_THRESHOLD:
        raise ValueError(f"{number} arrived where a threshold between -1e6 and 1e6 is wanted")
    return number


def cost(value: Any) -> float:
    """US dollars, a float in [0, 1e6]: counters only grow."""
    return amount(value, MOST_USD, "a cost in US dollars")


def weight(value: Any) -> float:
    """How many calls a label stands for, a float in [0, 1e6]."""
    return amount(value, LARGEST_WEIGHT, "a weight")


def duration(value: Any) -> float:
    """Seconds, a float in [0, 1e9]."""
    return amount(value, LONGEST_DURATION, "a duration in seconds")


def amount(value: Any, most: float, what: str) -> float:
    """A float in [0, most]; ``what`` it is, for the error."""
    if type(value) is float and 0.0 <= value <= most:
        return value
    number = finite(value)
    if not 0.0 <= number <= most:
        raise ValueError(f"{number} arrived where {what} between 0 and {most:g} is wanted")
    return number


def tokens(value: Any) -> int:
    """An integer in [0, 2**31)."""
    return whole(value, MOST_TOKENS, "a number of tokens")


def size(value: Any) -> int:
    """An integer in [0, 2**62]."""
    return whole(value, LARGEST_SIZE, "the size of an input")


def index(value: Any) -> int:
    """A tier's place in the order, an integer in [0, 32766]."""
    return whole(value, LAST_INDEX, "a tier's index")


def time(value: Any) -> int:
    """Nanoseconds, an integer in [0, 2**62]."""
    return whole(value, LARGEST_TIME, "a time in nanoseconds")


def whole(value: Any, most: int, what: str) -> int:
    """An integer in [0, most]; ``what`` it is, for the error."""
    number = value if type(value) is int else int(_real(value))
    if not 0 <= number <= most:
        raise ValueError(f"{number} arrived where {what} between 0 and {most:,} is wanted")
    return number


def truth(value: Any) -> bool:
    """A bool, also numpy's own."""
    if type(value) is not bool and type(value).__name__ not in ("bool", "bool_"):
        raise TypeError(f"a {type(value).__name__} arrived where True or False is wanted")
    return bool(value)


def name(value: Any) -> str:
    """A short text that any exporter can encode: one lone surrogate in a span name loses the whole batch."""
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} arrived where a name (a str) is wanted")
    text = value[:LONGEST_NAME]
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def attribute(source: str) -> Callable[[Any], Any]:
    """Reads an attribute of a result, or the key of that name where the result is a dict."""
    return lambda result: result[source] if isinstance(result, dict) else getattr(result, source)


def tier_kind(value: Any) -> str:
    """One of the kinds of tier there are."""
    return one_of(value, semconv.TIER_KINDS)


def purpose(value: Any) -> str:
    """One of the purposes there are."""
    return one_of(value, semconv.PURPOSES)


def reason(value: Any) -> str:
    """One of the reasons of an escalation there are."""
    return one_of(value, semconv.REASONS)


def one_of(value: Any, known: tuple[str, ...]) -> str:
    """The value, if it is known."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{value!r} arrived where one of {', '.join(known)} is wanted")
    return str.__str__(value)


def exceptions(value: Any) -> tuple[type[Exception], ...]:
    """One type of exception, or several, as ``except`` takes them."""
    types = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(each, type) and issubclass(each, Exception) for each in types):
        raise TypeError(f"{value!r} arrived where a type of exception, or a tuple of them, is wanted")
    return types


class Names:
    """Names made from data have no bound: the first ones are kept, the rest is "other".

    Calling it gives the name as spans (first 10,000) and as metrics (first 1,000) carry it.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.seen: dict[str, tuple[str, str]] = {}

    def __call__(self, value: Any) -> tuple[str, str]:
        if not isinstance(value, str):
            raise TypeError(
                f"a {type(value).__name__} arrived where the name of a {self.what} (a str) is wanted"
            )
        text = str.__str__(value)[:LONGEST_NAME]  # of a str enumeration, the value
        known = self.seen.get(text)
        if known is not None:
            return known
        if len(self.seen) >= MOST_ON_METRICS:
            message = "more than %d names of a %s: metrics call the further ones 'other'"
            warn_once("names", self.what, message, MOST_ON_METRICS, self.what)
        if len(self.seen) >= MOST_ON_SPANS:
            return OTHER, OTHER
        clean = name(text)
        return self.seen.setdefault(text, (clean, clean if len(self.seen) < MOST_ON_METRICS else OTHER))


def _real(value: Any) -> Any:
    if isinstance(value, (bool, str, bytes)) or not isinstance(value, Real):
        raise TypeError(f"a {type(value).__name__} arrived where a number is wanted")
    return value
