"""One thing that ``doctor`` says, and how it speaks of numbers and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from cascade_otel.records import SECOND_NS

NAMED = 3
"""Of many things of one sort, so many are named; the JSON has them all."""


@dataclass(frozen=True)
class Remark:
    """What a check found: whether it is wrong, in words (what, what it means, what to do), and in numbers."""

    check: str
    is_wrong: bool
    text: str
    about: Mapping[str, Any] = field(default_factory=dict)


def wrong(check: str, text: str, about: Mapping[str, Any] | None = None) -> Remark:
    """Something that a person has to mend."""
    return Remark(check, True, text, about or {})


def noted(check: str, text: str, about: Mapping[str, Any] | None = None) -> Remark:
    """Something that is as it should be, or has passed."""
    return Remark(check, False, text, about or {})


def many(count: int, thing: str) -> str:
    """A count with its noun: "1 row", "2 rows"."""
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def some(names: Sequence[str]) -> str:
    """The first names of many, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def size(count: float) -> str:
    """A number of bytes in the unit that fits: "812 bytes", "21.4 kB", "57.6 GB"."""
    if count < 1_000:
        return many(round(count), "byte")
    for unit in ("kB", "MB", "GB"):
        count /= 1_000
        if count < 999.95:
            return f"{count:,.1f} {unit}"
    return f"{count / 1_000:,.1f} TB"


def of(service: str) -> str:
    """A sender by its name."""
    return f"service {service or '(unnamed)'}"


def utc(nanoseconds: int) -> str:
    """A time since 1970."""
    return f"{pd.Timestamp(nanoseconds, unit='ns'):%Y-%m-%d %H:%M:%S} UTC"


def when(now_ns: int, at_ns: int) -> str:
    """How long ago, or how far ahead, and the time itself."""
    away, found = abs(now_ns - at_ns) // SECOND_NS, ""
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        if away >= size or size == 1:
            found = many(away // size, unit)
            break
    return f"{f'{found} ago' if at_ns <= now_ns else f'in {found}'} ({utc(at_ns)})"
