"""One call of a tier: what is read of it, and the one place where a tier's attributes are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cascade_otel import semconv
from cascade_otel.instrumentation import _instruments as instruments
from cascade_otel.instrumentation import _values
from cascade_otel.instrumentation._calls import SECOND, OpenCall
from cascade_otel.instrumentation._counters import Attributes, add
from cascade_otel.instrumentation._guard import warn_once
from cascade_otel.instrumentation._settings import settings
from cascade_otel.instrumentation._visits import Visit, reason_for

if TYPE_CHECKING:
    from cascade_otel.instrumentation._cascade_call import OpenCascade
    from cascade_otel.instrumentation._series import Series, Tally

CURRENCY, COST_SOURCE = "USD", "user"


class OpenTier(OpenCall):
    """One call of a tier. Code within ``with tier(...) as call`` sets the first seven itself."""

    confidence: Any = None
    threshold: Any = None
    cost: Any = None
    input_tokens: Any = None
    output_tokens: Any = None
    response_model: Any = None
    source = "code"
    scored = empty = False  # a scorer was asked; the answer was None
    series: Series
    tally: Tally
    cascade: OpenCascade | None = None
    visit: Visit[OpenTier] | None = None  # None without an enclosing cascade
    escalated: bool | None = None  # None: undecided

    def settle(self, result: Any) -> None:
        """Reads the result; hands on what stands for no visit."""
        if self.outcome == "accepted":
            self.site.read(self, result)
        if self.cascade is None or self.visit is None:
            self.hand_on()
            return
        done, outcome = self.cascade.visits.answered(self.visit, self)
        if done is not None:
            done.outcome = outcome
            done.hand_on()

    def hand_on(self) -> None:
        """Gives the call to the SDK: counters, histograms, span."""
        site, visit = self.site, self.visit
        if visit is not None and visit.stands is self:
            self.heed(visit)
        confidence = site.checked(_values.probability, self.confidence)
        threshold = site.checked(_values.threshold, self.threshold)
        cost = site.checked(_values.cost, self.cost)
        sent = site.checked(_values.tokens, self.input_tokens)
        received = site.checked(_values.tokens, self.output_tokens)
        if confidence is not None and threshold is not None:
            if visit is None:
                self.escalated = confidence < threshold
            elif visit.said is None:
                self.compare(confidence, threshold)
        reason = None
        if self.escalated:
            reason, self.outcome = self.reason(confidence, threshold), "escalated"
        try:
            self.count(reason, confidence, cost, sent, received)
        except Exception as error:
            site.recording.caught(error)
        self.cascade = self.visit = None
        self.end(
            tier_attributes(
                outcome=self.outcome,
                escalated=self.escalated,
                reason=reason,
                index=None if visit is None else visit.index,
                confidence=confidence,
                confidence_source=self.source,
                threshold=threshold,
                cost=cost,
                sent=sent,
                received=received,
                response_model=site.checked(_values.name, self.response_model),
                first_chunk=self.first_chunk,
            )
        )

    def heed(self, visit: Visit[OpenTier]) -> None:
        """What was said of the visit goes before what its standing call told."""
        if visit.confidence is not None:
            self.confidence, self.source = visit.confidence, visit.source
        if visit.threshold is not None:
            self.threshold = visit.threshold
        if visit.cost is not None:
            self.cost = visit.cost
        self.scored = self.scored or visit.scored

    def reason(self, confidence: float | None, threshold: float | None) -> str:
        """Why this call's visit escalated."""
        if self.visit is not None and self.visit.reason is not None:
            said: str | None = self.site.checked(one_reason, self.visit.reason)
            if said is not None:
                return said
        expected = self.site.confidence is not None or threshold is not None or self.scored or self.empty
        return reason_for(self.error, self.outcome == "cancelled", confidence, threshold, expected)

    def count(
        self,
        reason: str | None,
        confidence: float | None,
        cost: float | None,
        sent: int | None,
        received: int | None,
    ) -> None:
        """Everything the metrics say of this call."""
        series, tally = self.series, self.tally
        amounts: list[tuple[list[float], float]] = [(tally.calls(self.outcome), 1)]
        if reason is not None:
            amounts.append((tally.escalations(reason), 1))
        if sent is not None:
            amounts.append((tally.sent, sent))
        if received is not None:
            amounts.append((tally.received, received))
        if cost is not None:
            amounts.append((tally.cost, cost))
            if self.cascade is not None:
                self.cascade.add_cost(cost)
        add(*amounts)
        self.measure_duration(series.duration, series.duration_metrics)
        if confidence is not None:
            instruments.tier_confidence.record(confidence, series.metrics, self.context)
        if settings.token_usage:
            for kind, value in (("input", sent), ("output", received)):
                if value is not None:
                    labels = {**series.duration_metrics, semconv.TOKEN_TYPE: kind}
                    instruments.token_usage.record(value, labels, self.context)

    def compare(self, confidence: float, threshold: float) -> None:
        """Says so where the code decides otherwise than the threshold it declares."""
        if self.error is None and self.escalated is not None and self.escalated != (confidence < threshold):
            message = (
                "telemetry says τ = %g for tier '%s', the code behaves otherwise: confidence %g was %s; "
                "declare the threshold that the code compares with"
            )
            decided = "escalated" if self.escalated else "accepted"
            warn_once(
                "threshold", self.series.tier, message, threshold, self.series.tier, confidence, decided
            )


def tier_attributes(
    *,
    outcome: str,
    escalated: bool | None,
    reason: str | None,
    index: int | None,
    confidence: float | None,
    confidence_source: str,
    threshold: float | None,
    cost: float | None,
    sent: int | None,
    received: int | None,
    response_model: str | None,
    first_chunk: int | None = None,
) -> Attributes:
    """What a tier's span says at its end. None is left out."""
    attributes: Attributes = {semconv.OUTCOME: outcome}
    if escalated is not None:
        attributes[semconv.ESCALATED] = escalated
    if reason is not None:
        attributes[semconv.ESCALATION_REASON] = reason
    if index is not None:
        attributes[semconv.TIER_INDEX] = index
    if confidence is not None:
        attributes[semconv.CONFIDENCE_SCORE] = confidence
        attributes[semconv.CONFIDENCE_SOURCE] = confidence_source
    if threshold is not None:
        attributes[semconv.THRESHOLD] = threshold
    if cost is not None:
        attributes[semconv.COST_AMOUNT] = cost
        attributes[semconv.COST_CURRENCY], attributes[semconv.COST_SOURCE] = CURRENCY, COST_SOURCE
    if sent is not None:
        attributes[semconv.INPUT_TOKENS] = sent
    if received is not None:
        attributes[semconv.OUTPUT_TOKENS] = received
    if response_model is not None:
        attributes[semconv.RESPONSE_MODEL] = response_model
    if first_chunk is not None:
        attributes[semconv.TIME_TO_FIRST_CHUNK] = first_chunk / SECOND
    return attributes


def one_reason(value: Any) -> str:
    """One of the reasons there are."""
    if value not in semconv.REASONS:
        raise ValueError(f"a reason {value!r} arrived, one of {', '.join(semconv.REASONS)} is wanted")
    return str(value)
