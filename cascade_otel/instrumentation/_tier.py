"""``tier``: the calls of one tier, as a decorator and as a ``with`` block."""

from __future__ import annotations

from collections.abc import Callable
from threading import current_thread, main_thread
from typing import Any, Literal

from cascade_otel.instrumentation import _usage, _values
from cascade_otel.instrumentation._calls import NO_RESULT
from cascade_otel.instrumentation._cascade_call import OpenCascade
from cascade_otel.instrumentation._guard import warn_once
from cascade_otel.instrumentation._series import MOST_PREPARED, NO_CASCADE, Kind, Series, Tally, cascades
from cascade_otel.instrumentation._settings import settings
from cascade_otel.instrumentation._site import Site
from cascade_otel.instrumentation._tier_call import OpenTier

UNKNOWN = "unknown"


class tier(Site[OpenTier]):
    """Records the calls of one tier: ``@tier("small", ...)`` or ``with tier("small") as call:``.

    ``name``, ``model``: a string is the value, a callable gets the call's arguments. ``threshold``: a
    number, or a callable of the arguments. ``confidence`` (0 to 1), ``cost`` (USD), ``usage`` (a pair of
    input and output tokens, or an object that has them): a string is an attribute of the result, a callable
    gets the result; a ``cost`` may also be a number. ``index`` declares the order of tiers, which otherwise
    is the order of first call. ``instrumented``: a client's own instrumentation already makes the
    ``gen_ai`` span inside this one.

    What cannot be used is left out, counted, and logged once: nothing of this raises into your code.
    """

    call = OpenTier

    def __init__(
        self,
        name: str | Callable[..., str],
        *,
        model: str | Callable[..., str] | None = None,
        threshold: float | Callable[..., float] | None = None,
        confidence: str | Callable[[Any], Any] | None = None,
        cost: float | str | Callable[[Any], Any] | None = None,
        usage: str | Callable[[Any], Any] | None = None,
        kind: Literal["model", "multimodal", "human", "rule"] = "model",
        operation: str = "chat",
        provider: str | None = None,
        index: int | None = None,
        instrumented: bool = False,
    ) -> None:
        super().__init__(name)
        self.chosen = (name, model, threshold)
        self.constant = None if any(map(callable, self.chosen)) else self.chosen
        self.confidence = _values.attribute(confidence) if isinstance(confidence, str) else confidence
        self.cost = _values.attribute(cost) if isinstance(cost, str) else cost
        self.usage = _values.attribute(usage) if isinstance(usage, str) else usage
        self.kind = Kind(kind, operation, provider, instrumented)
        self.index = self.checked(_values.index, index)
        self.prepared: dict[tuple[Any, ...], tuple[Series, Tally]] = {}

    def prepare(self, call: OpenTier, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Finds the enclosing cascade and the tier's visit in it, and starts the span."""
        name, model, call.threshold = self.constant or [self.ask(one, args, kwargs) for one in self.chosen]
        outer = call.enclosing
        cascade = outer.cascade if isinstance(outer, OpenTier) else outer
        labels, described = NO_CASCADE, None
        if isinstance(cascade, OpenCascade):
            call.cascade, labels, described = cascade, cascade.labels, cascade.described
        try:
            known = self.prepared.get((name, model, labels))
        except TypeError:  # unhashable, so no name either
            known = None
        call.series, call.tally = known or self.prepare_series(name, model, call)
        if call.cascade is not None:
            call.visit = call.cascade.visits.started(call.series.tier, self.index)
        at_start = call.series.at_start if described is None else {**call.series.at_start, **described}
        call.start(call.series.span_name, call.series.span_kind, at_start)

    def prepare_series(self, name: Any, model: Any, call: OpenTier) -> tuple[Series, Tally]:
        """What is the same for all calls of this name and model in this cascade and task."""
        labels = NO_CASCADE if call.cascade is None else call.cascade.labels
        tier_name = self.checked(_values.name, name) or UNKNOWN
        series = Series(self.kind, tier_name, self.checked(_values.name, model), labels)
        prepared = series, Tally(series, self.chosen[2] is not None)
        if call.cascade is None and cascades.seen and current_thread() is not main_thread():
            message = (
                "tier '%s' was called outside any cascade, in a thread: if its cascade started the thread, "
                "opentelemetry-instrumentation-threading carries the context there"
            )
            warn_once("orphan", series.tier, message, series.tier)
        if tier_name == name and len(self.prepared) < MOST_PREPARED:
            self.prepared[(name, model, labels)] = prepared
        return prepared

    def read(self, call: OpenTier, result: Any) -> None:
        """Takes from the result what the code has not set itself."""
        if result is NO_RESULT:
            if call.cost is None and not callable(self.cost):
                call.cost = self.cost
            return
        if result is None:
            call.empty = True
        elif self.confidence is not None and call.confidence is None:
            call.confidence, call.source = self.ask(self.confidence, (result,)), "result"
        if self.cost is not None and call.cost is None:
            call.cost = self.ask(self.cost, (result,))
        if call.input_tokens is not None or not (settings.read_results or self.usage is not None):
            return
        try:
            if settings.read_results:
                call.input_tokens, call.output_tokens, model = _usage.found(result)
                call.response_model = call.response_model or model
            if self.usage is not None:
                call.input_tokens, call.output_tokens = _usage.tokens(self.usage(result))
        except Exception as error:
            self.asking.caught(error)
