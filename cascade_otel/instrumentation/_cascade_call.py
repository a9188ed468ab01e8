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
from cascade_otel.instrumentation._usage import Found
from cascade_otel.instrumentation._visits import Visit, Visits


class OpenCascade(OpenCall):
    """One call of a cascade, as ``with cascade(...) as call`` and ``from_result=f(result, call)`` see it.

    ``call.final_tier = "small"`` says whose answer stood, for code that keeps the best and not the last.
    """

    cost: float | None = None
    labels: Labels = NO_CASCADE
    described: Attributes | None = None  # what is said of this call's input, for all its spans
    final_tier: str | None = None
    around: OpenTier | None = None  # the tier that this cascade is within
    arguments: tuple[tuple[Any, ...], dict[str, Any]] | None = None  # kept where an audit may want them

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
        if _calls.late:
            _calls.hand_on_late()
        site = self.site
        if site.from_result is not None and self.outcome == "accepted" and result is not NO_RESULT:
            with site.asking:
                site.from_result(result, self)
        visits = self.visits.end()
        if len(visits) > 1:
            visits.sort(key=_answered_at)
        final, escalated = _decide(visits, self.outcome)
        if self.outcome != "accepted":
            final = None
        elif self.final_tier is not None and self.visit(self.final_tier).tier:
            final = self.visit(self.final_tier)
        elif len(visits) < len(self.visits.by_tier):
            final = self.left_unread(final)
        if site.agree is not None:
            site.compare(visits)
        if site.audit is not None and final is not None and not escalated:
            site.audit.consider(site, self, final)
        for visit in visits:
            if visit.stands is not None:
                visit.stands.hand_on()
                visit.stands = None
        returned = self.outcome == "accepted"
        if returned and visits and final is None:
            self.outcome = "exhausted"  # no tier's answer stood, and the cascade returned all the same
        try:
            self.measure_duration(instruments.cascade_duration, self.labels.with_outcome(self.outcome))
        except Exception as error:
            site.recording.caught(error)
        if self.around is not None and self.cost is not None and self.around.cost is None:
            self.around.hear(Found(cost=self.cost, cost_source=semconv.COST_SOURCES[0]))
        self.around = self.arguments = None
        self.end(
            cascade_attributes(
                outcome=self.outcome,
                escalated=escalated or (False if returned and visits else None),
                tiers=len(self.visits.by_tier),
                final=None if final is None else final.tier,
                cost=None if self.cost is None else site.checked(_values.cost, self.cost),
            )
        )

    def left_unread(self, final: Visit[OpenTier] | None) -> Visit[OpenTier] | None:
        """A later tier, whose stream the code has begun to read and left open, gave the answer."""
        with self.visits.lock:
            running = [visit for visit in self.visits.by_tier.values() if visit.running is not None]
        for visit in running:
            call = visit.running
            if call is None or call.first_chunk is None or (final is not None and final.index >= visit.index):
                continue
            final = visit
            if call.cost is None and not callable(call.site.cost):
                call.cost = call.site.cost
                self.add_cost(call.site.checked(_values.cost, call.cost) or 0.0)
        return final


def _decide(visits: list[Visit[OpenTier]], outcome: str) -> tuple[Visit[OpenTier] | None, bool]:
    """Which answer stood, and whether any visit escalated; gives each standing call its outcome."""
    returned, any_escalated = outcome == "accepted", False
    final: Visit[OpenTier] | None = None
    back: Visit[OpenTier] | None = None
    for visit in visits:
        call, escalated = visit.stands, visit.escalated
        if call is None:
            continue
        any_escalated = any_escalated or escalated
        if visit.returned_error is not None and call.outcome == "accepted":
            call.outcome, call.error = "error", visit.returned_error
        broken_off = call.outcome == "abandoned" and call.first_chunk is not None  # what was read was enough
        answered = returned and (call.outcome == "accepted" or broken_off)
        # the last answer, unless the code itself has said which one stood
        if answered and not escalated and (final is None or final.said is None):
            final = visit
        # code may go back to a cheaper tier when the stronger one failed
        back = visit if answered and not call.empty and visit.said is None else None
        if not escalated and (call.outcome == "accepted" or (call.outcome == "exhausted" and not returned)):
            call.outcome = outcome
        # Undecided where the cascade itself failed.
        call.escalated = escalated or (False if returned else None)
    return final or back, any_escalated


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
