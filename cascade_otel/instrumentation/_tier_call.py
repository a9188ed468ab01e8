"""One call of a tier: what is read of it, and the one place where a tier's attributes are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.context import get_value

from cascade_otel import semconv
from cascade_otel.instrumentation import _counters as counters
from cascade_otel.instrumentation import _instruments as instruments
from cascade_otel.instrumentation import _values
from cascade_otel.instrumentation._calls import COVERED, NO_RESULT, SECOND, OpenCall
from cascade_otel.instrumentation._counters import Attributes
from cascade_otel.instrumentation._guard import warn_once
from cascade_otel.instrumentation._settings import settings
from cascade_otel.instrumentation._visits import Visit, reason_for

if TYPE_CHECKING:
    from cascade_otel.instrumentation._cascade_call import OpenCascade
    from cascade_otel.instrumentation._series import Series, Tally
    from cascade_otel.instrumentation._usage import Found

CURRENCY = "USD"
ANSWERED = ("accepted", "exhausted")
"""Outcomes of a call that returned, or whose answer the code turned down."""


class OpenTier(OpenCall):
    """One call of a tier. Code within ``with tier(...) as call`` sets the first seven itself."""

    confidence: Any = None
    threshold: Any = None
    cost: Any = None
    input_tokens: Any = None
    output_tokens: Any = None
    response_model: Any = None
    source = "code"
    cost_source: str | None = semconv.COST_SOURCES[0]
    scored = empty = False  # a scorer was asked; the answer was None
    returned_error: str | None = None  # the type of a failure that was returned and not raised
    answer: Any = None  # kept where the cascade compares answers
    heard: list[Found] | None = None  # usage told by results inside the call
    agreed: bool | None = None  # with the strongest tier's answer of the same cascade call
    series: Series
    tally: Tally
    cascade: OpenCascade | None = None
    visit: Visit[OpenTier] | None = None  # None without an enclosing cascade
    escalated: bool | None = None  # None: undecided

    def hear(self, result: Any) -> None:
        """Takes usage, model and cost from a model's own result, within a call that returns something else.

        Where one framework asks through another, the outer one tells, and covers the inner one's.
        """
        if not get_value(COVERED):
            with self.site.asking:
                self.site.hear(self, result)

    def settle(self, result: Any) -> None:
        """Reads the result; hands on what stands for no visit."""
        if self.outcome in ANSWERED:
            self.site.read(self, result)
        elif self.outcome == "abandoned":
            self.site.read(self, NO_RESULT)  # a stream that was broken off was paid for
        elif self.heard:
            self.site.read_usage(self, None)  # an answer that the code failed over was paid for
        if self.returned_error is not None and self.outcome == "accepted":
            self.outcome, self.error = "error", self.returned_error
        if self.cascade is None or self.visit is None:
            self.hand_on()
            return
        if self.cascade.site.keeps_answers and result is not NO_RESULT and self.outcome == "accepted":
            self.answer = result
        self.visit.running = None
        done, outcome = self.cascade.visits.answered(self.visit, self)
        if done is not None:
            done.outcome = outcome
            done.hand_on()

    def hand_on(self) -> None:
        """Gives the call to the SDK: counters, histograms, span."""
        site, visit = self.site, self.visit
        if visit is not None and visit.stands is self:
            self.heed(visit)
        confidence, threshold, cost = self.confidence, self.threshold, self.cost
        sent, received = self.input_tokens, self.output_tokens
        # what is as it should be is not asked about: a call for each would be a tenth of our own time
        if type(confidence) is not float or not 0.0 <= confidence <= 1.0:
            confidence = site.checked(_values.probability, confidence)
        if type(threshold) is not float or not -1.0 <= threshold <= 1.0:
            threshold = site.checked(_values.threshold, threshold)
        if type(cost) is not float or not 0.0 <= cost <= 1.0:
            cost = site.checked(_values.cost, cost)
        if type(sent) is not int or not 0 <= sent <= 1_000_000:
            sent = site.checked(_values.tokens, sent)
        if type(received) is not int or not 0 <= received <= 1_000_000:
            received = site.checked(_values.tokens, received)
        if confidence is not None and threshold is not None:
            if visit is None:
                self.escalated = confidence < threshold
            elif visit.said is None:
                self.compare(confidence, threshold, visit)
        if visit is None and self.outcome == "exhausted":
            self.escalated = True
        reason = None
        if self.escalated:
            reason, self.outcome = self.reason(confidence, threshold), "escalated"
        try:
            self.count(reason, confidence, cost, sent, received)
        except Exception as error:
            site.recording.caught(error)
        self.cascade = self.visit = self.answer = None
        inside = self.series.instrumented  # the client's own span has the tokens
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
                cost_source=self.cost_source,
                sent=None if inside else sent,
                received=None if inside else received,
                response_model=site.checked(_values.name, self.response_model),
                agreed=self.agreed,
                first_chunk=self.first_chunk,
            )
        )

    def heed(self, visit: Visit[OpenTier]) -> None:
        """What was said of the visit goes before what its standing call told."""
        if visit.confidence is not None:
            self.confidence, self.source = visit.confidence, visit.source
        if visit.threshold is not None:
            self.threshold = visit.threshold
        if visit.usage is not None:
            self.site.take(self, visit.usage)
        if visit.cost is not None:
            self.cost, self.cost_source = visit.cost, semconv.COST_SOURCES[0]
        self.scored = self.scored or visit.scored

    def reason(self, confidence: float | None, threshold: float | None) -> str:
        """Why this call's visit escalated. An answer that was turned down was not good enough."""
        if self.visit is not None and self.visit.reason is not None:
            said: str | None = self.site.checked(_values.reason, self.visit.reason)
            if said is not None:
                return said
        if self.outcome == "exhausted":
            return "low_confidence"
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
        calls = tally.calls(self.outcome)
        escalations = None if reason is None else tally.escalations(reason)
        with counters.adding:
            calls[0] += 1
            if escalations is not None:
                escalations[0] += 1
            if sent is not None:
                tally.sent[0] += sent
            if received is not None:
                tally.received[0] += received
            if cost is not None:
                tally.cost[0] += cost
        if cost is not None and self.cascade is not None:
            self.cascade.add_cost(cost)
        self.measure_duration(series.duration, series.duration_metrics)
        if confidence is not None:
            instruments.tier_confidence.record(confidence, series.metrics, self.context)
        if settings.token_usage and not series.instrumented:
            for kind, value in (("input", sent), ("output", received)):
                if value is not None:
                    labels = {**series.duration_metrics, semconv.TOKEN_TYPE: kind}
                    instruments.token_usage.record(value, labels, self.context)

    def compare(self, confidence: float, threshold: float, visit: Visit[OpenTier]) -> None:
        """Says so where the code decides otherwise than the threshold it declares."""
        if visit.reason is not None or (visit.index and not self.escalated):
            return  # the code has said why; the last tier's answer is taken whatever its confidence
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
    cost_source: str | None = semconv.COST_SOURCES[0],
    response_model: str | None,
    agreed: bool | None = None,
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
        attributes[semconv.COST_CURRENCY] = CURRENCY
        if cost_source is not None:
            attributes[semconv.COST_SOURCE] = cost_source
    if sent is not None:
        attributes[semconv.INPUT_TOKENS] = sent
    if received is not None:
        attributes[semconv.OUTPUT_TOKENS] = received
    if response_model is not None:
        attributes[semconv.RESPONSE_MODEL] = response_model
    if agreed is not None:
        attributes[semconv.TIER_AGREED] = agreed
    if first_chunk is not None:
        attributes[semconv.TIME_TO_FIRST_CHUNK] = first_chunk / SECOND
    return attributes
