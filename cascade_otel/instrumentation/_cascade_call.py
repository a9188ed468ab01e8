"""One call of a cascade: it keeps each tier's standing call until its end, when it is known who escalated."""

from __future__ import annotations

from typing import Any

from opentelemetry.context import Context

from cascade_otel import semconv
from cascade_otel.instrumentation import _calls, _values
from cascade_otel.instrumentation import _instruments as instruments
from cascade_otel.instrumentation._calls import NO_RESULT, OpenCall
from cascade_otel.instrumentation._counters import Attributes
from cascade_otel.instrumentation._guard import Guard
from cascade_otel.instrumentation._series import NO_CASCADE, Labels
from cascade_otel.instrumentation._tier_call import OpenTier
from cascade_otel.instrumentation._visits import Visit, Visits


class OpenCascade(OpenCall):
    """One call of a cascade, as ``with cascade(...) as call`` and ``from_result=f(result, call)`` see it."""

    cost: float | None = None
    labels: Labels = NO_CASCADE
    described: Attributes | None = None  # segment and size of this call's input, for all its spans

    def __init__(self, site: Any, context: Context) -> None:
        super().__init__(site, context)
        self.visits: Visits[OpenTier] = Visits()

    def visit(self, tier: str) -> Visit[OpenTier]:
        """What the calls of a tier came to so far: set its confidence, threshold, cost, reason or escalated.

        For a tier that was not called this is a blank that goes nowhere; that is counted as dropped and
        logged once.
        """
        with Guard("unmatched", "visit"):
            if tier in self.visits.by_tier:
                return self.visits.by_tier[tier]
            raise LookupError(f"tier {tier!r} was not called here; called were {list(self.visits.by_tier)}")
        return Visit("", 0)

    def add_cost(self, cost: float) -> None:
        """A tier's cost becomes known."""
        with self.visits.lock:
            self.cost = cost + (self.cost or 0.0)

    def settle(self, result: Any) -> None:
        """Decides every visit, hands on the calls that stand for one, then the cascade itself."""
        _calls.hand_on_late()
        if self.site.from_result is not None and self.outcome == "accepted" and result is not NO_RESULT:
            with self.site.asking:
                self.site.from_result(result, self)
        returned = self.outcome == "accepted"
        final: Visit[OpenTier] | None = None
        visits = self.visits.end()
        if len(visits) > 1:
            visits.sort(key=_answered_at)
        any_escalated = False
        for visit in visits:
            call = visit.stands
            if call is None:
                continue
            escalated = visit.escalated
            any_escalated = any_escalated or escalated
            if call.outcome == "accepted":
                call.outcome = self.outcome
                if not escalated and (final is None or final.said is None):
                    final = visit  # the last answer, unless the code itself has said which one stood
            # Undecided where the cascade itself failed.
            call.escalated = escalated or (False if returned else None)
            call.hand_on()
            visit.stands = None
        if returned and visits and final is None:
            self.outcome = "exhausted"  # no tier's answer stood, and the cascade returned all the same
        try:
            self.measure_duration(instruments.cascade_duration, self.labels.with_outcome(self.outcome))
        except Exception as error:
            self.site.recording.caught(error)
        self.end(
            cascade_attributes(
                outcome=self.outcome,
                escalated=any_escalated or (False if returned else None),
                tiers=len(self.visits.by_tier),
                final=final.tier if returned and final is not None else None,
                cost=self.site.checked(_values.cost, self.cost),
            )
        )


def cascade_attributes(
    *, outcome: str, escalated: bool | None, tiers: int, final: str | None, cost: float | None
) -> Attributes:
    """What a cascade's span says at its end. None is left out."""
    attributes: Attributes = {semconv.OUTCOME: outcome, semconv.TIER_COUNT: tiers}
    if escalated is not None:
        attributes[semconv.ESCALATED] = escalated
    if final is not None:
        attributes[semconv.FINAL_TIER_NAME] = final
    if cost is not None:
        attributes[semconv.TOTAL_COST] = cost
    return attributes


def _answered_at(visit: Visit[OpenTier]) -> int:
    return 0 if visit.stands is None else visit.stands.clock + visit.stands.nanoseconds
