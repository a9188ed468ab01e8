"""Who escalated: the calls of one tier within one cascade call are one visit, and one call stands for it."""

from __future__ import annotations

import threading
from typing import Any, Generic, TypeVar

from cascade_otel.instrumentation._guard import Guard
from cascade_otel.instrumentation._values import truth

C = TypeVar("C")


class Visit(Generic[C]):
    """All calls of one tier within one cascade call.

    ``confidence``, ``threshold``, ``cost`` and ``reason`` say of the visit what its standing call does not
    tell itself.
    """

    confidence: Any = None
    threshold: Any = None
    cost: Any = None
    reason: str | None = None
    returned_error: str | None = None  # the type of a failure that was returned and not raised
    usage: Any = None  # as ``_usage.Found``
    source = "cascade"
    scored = False
    stands: C | None = None
    running: C | None = None  # the call that began last, while it runs

    def __init__(self, tier: str, index: int) -> None:
        self.tier, self.index = tier, index
        self.observed = False  # a later tier's call started after one of ours had answered
        self.said: bool | None = None

    @property
    def escalated(self) -> bool:
        """Observed, unless the user's code has said it."""
        return self.observed if self.said is None else self.said

    @escalated.setter
    def escalated(self, value: bool) -> None:
        with Guard("value", "escalated"):
            self.said = truth(value)


class Visits(Generic[C]):
    """The visits of one cascade call, safe for calls in many threads."""

    def __init__(self) -> None:
        # Re-entrant: the garbage collector may close a stream of ours while we hold it.
        self.lock = threading.RLock()
        self.by_tier: dict[str, Visit[C]] = {}
        self.ended = False
        self.last: str | None = None  # the tier called last

    def started(self, tier: str, index: int | None = None) -> Visit[C]:
        """A tier starts: every earlier tier that has already answered has escalated.

        Earlier is what has the smaller declared index, else what was called first.
        """
        with self.lock:
            self.last = tier
            visit = self.by_tier.get(tier)
            if visit is None:
                visit = Visit(tier, len(self.by_tier) if index is None else index)
                self.by_tier[tier] = visit
            if not self.ended:
                for other in self.by_tier.values():
                    if other.stands is not None and other.index < visit.index:
                        other.observed = True
            return visit

    def answered(self, visit: Visit[C], call: C) -> tuple[C | None, str]:
        """A call has returned or failed. What comes back stands for no visit, with the outcome that has."""
        with self.lock:
            if self.ended:
                return call, "outlived"
            displaced, visit.stands = visit.stands, call
            return displaced, "repeated"

    def end(self) -> list[Visit[C]]:
        """No more answers count. The visits that have one, in order of first call."""
        with self.lock:
            self.ended = True
            return [visit for visit in self.by_tier.values() if visit.stands is not None]


def reason_for(
    error: str | None, cancelled: bool, confidence: float | None, threshold: float | None, expected: bool
) -> str:
    """Why a visit escalated, as far as we know. ``expected``: whether a confidence was to be had."""
    if cancelled or (error is not None and "timeout" in error.lower()):
        return "timeout"
    if error is not None:
        return "error"
    if confidence is None:
        return "missing_confidence" if expected else "policy"
    return "low_confidence" if threshold is not None and confidence < threshold else "policy"
