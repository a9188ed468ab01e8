"""What of the user's values may be recorded: only what every exporter can encode and every sum can bear."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

from cascade_otel.instrumentation._guard import warn_once

LONGEST_NAME = 200
MOST_ON_METRICS, MOST_ON_SPANS = 1_000, 10_000
OTHER = "other"


def finite(value: Any) -> float:
    """A finite float: the SDK exports a numpy scalar as text and warns at every NaN."""
    number = value if type(value) is float else float(_real(value))
    if not math.isfinite(number):
        raise ValueError(f"{number} arrived where a finite number is wanted")
    return number


def probability(value: Any) -> float:
    """A float in [0, 1]."""
    if type(value) is float and 0.0 <= value <= 1.0:
        return value
    number = finite(value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{number:g} arrived where a confidence between 0 and 1 is wanted")
    return number


def amount(value: Any) -> float:
    """A float that is not negative: counters only grow."""
    if type(value) is float and 0.0 <= value < math.inf:
        return value
    number = finite(value)
    if number < 0:
        raise ValueError(f"{number:g} arrived where a cost of at least 0 is wanted")
    return number


def count(value: Any) -> int:
    """An integer in [0, 2**63): OTLP drops larger ones without a word."""
    if type(value) is int and 0 <= value < 2**63:
        return value
    return min(max(int(_real(value)), 0), 2**63 - 1)


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
