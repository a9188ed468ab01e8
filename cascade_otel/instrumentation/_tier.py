"""``tier``: the calls of one tier, as a decorator and as a ``with`` block."""

from __future__ import annotations

from collections.abc import Callable
from threading import current_thread, main_thread
from typing import Any, Literal

from cascade_otel import semconv
from cascade_otel.instrumentation import _clients, _prices, _usage, _values
from cascade_otel.instrumentation._calls import NO_RESULT
from cascade_otel.instrumentation._cascade_call import OpenCascade
from cascade_otel.instrumentation._guard import warn_once
from cascade_otel.instrumentation._series import (
    CLIENT_KINDS,
    MOST_PREPARED,
    NO_CASCADE,
    Kind,
    Series,
    Tally,
    cascades,
)
from cascade_otel.instrumentation._settings import settings
from cascade_otel.instrumentation._site import Site
from cascade_otel.instrumentation._tier_call import OpenTier

UNKNOWN, CHAT = "unknown", "chat"


class tier(Site[OpenTier]):
    """Records the calls of one tier: ``@tier("small", ...)`` or ``with tier("small") as call:``.

    ``name``, ``model``: a string is the value, a callable gets the call's arguments; of a name, None says
    that this call is no tier's. ``threshold``: a number, or a callable of the arguments. ``confidence`` (0
    to 1), ``cost`` (USD), ``usage`` (a pair of input and output tokens, or an object that has them): a
    string is an attribute of the result, a callable gets the result; a ``cost`` may also be a number.
    ``index`` declares the order of tiers, which otherwise is the order of first call: an integer, or a
    callable of the arguments. ``rejections``: exceptions by which your code turns an answer down. Such a
    call has answered and not failed; the exception's attribute ``confidence``, if it has one, is the score.
    ``instrumented``: a client's own instrumentation already makes the ``gen_ai`` span inside this one, with
    its tokens and duration, so that ours leaves them out; None looks which ones are active.

    What cannot be used is left out, counted, and logged once: nothing of this raises into your code.
    """

    call = OpenTier

    def __init__(
        self,
        name: str | Callable[..., str | None],
        *,
        model: str | Callable[..., str | None] | None = None,
        threshold: float | Callable[..., float | None] | None = None,
        confidence: str | Callable[[Any], Any] | None = None,
        cost: float | str | Callable[[Any], Any] | None = None,
        usage: str | Callable[[Any], Any] | None = None,
        kind: Literal["model", "multimodal", "human", "rule"] = "model",
        operation: str = CHAT,
        provider: str | None = None,
        index: int | Callable[..., int | None] | None = None,
        rejections: type[Exception] | tuple[type[Exception], ...] = (),
        instrumented: bool | None = None,
    ) -> None:
        super().__init__(name)
        index = index if callable(index) else self.checked(_values.index, index)
        self.chosen = (name, model, threshold, index)
        self.constant = None if any(map(callable, self.chosen)) else self.chosen
        self.confidence = _values.attribute(confidence) if isinstance(confidence, str) else confidence
        self.cost = _values.attribute(cost) if isinstance(cost, str) else cost
        self.usage = _values.attribute(usage) if isinstance(usage, str) else usage
        self.instrumented = instrumented
        self.kind = Kind(
            self.checked(_values.tier_kind, kind) or semconv.TIER_KINDS[0],
            self.checked(_values.name, operation) or CHAT,
            self.checked(_values.name, provider),
        )
        self.rejections = self.checked(_values.exceptions, rejections) or ()
        self.prepared: dict[Any, tuple[Series, Tally]] = {}

    def prepare(self, call: OpenTier, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Finds the enclosing cascade and the tier's visit in it, and starts the span."""
        name, model, call.threshold, index = self.constant or self.choose(args, kwargs)
        if name is None and self.constant is None:
            call.heeded = False
            return
        outer = call.enclosing
        cascade = outer.cascade if isinstance(outer, OpenTier) else outer
        labels, described = NO_CASCADE, None
        if isinstance(cascade, OpenCascade):
            call.cascade, labels, described = cascade, cascade.labels, cascade.described
        key = labels if self.constant else (name, model, labels)
        try:
            known = self.prepared.get(key)
        except TypeError:  # unhashable, so no name either
            known = None
        call.series, call.tally = known or self.prepare_series(name, model, call, key)
        if call.cascade is not None:
            call.visit = call.cascade.visits.started(call.series.tier, index)
            call.visit.running = call
        at_start = call.series.at_start if described is None else {**call.series.at_start, **described}
        call.start(call.series.span_name, call.series.span_kind, at_start)

    def choose(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Name, model, threshold and index of one call."""
        name, model, threshold, index = self.chosen
        return (
            self.ask(name, args, kwargs, UNKNOWN, what="name"),
            self.ask(model, args, kwargs, what="model"),
            self.ask(threshold, args, kwargs, what="threshold"),
            self.checked(_values.index, self.ask(index, args, kwargs, what="index")),
        )

    def prepare_series(self, name: Any, model: Any, call: OpenTier, key: Any) -> tuple[Series, Tally]:
        """What is the same for all calls of this name and model in this cascade and task."""
        labels = NO_CASCADE if call.cascade is None else call.cascade.labels
        tier_name = self.checked(_values.name, name) or UNKNOWN
        inside = _clients.instrumented(self.kind.provider) if self.instrumented is None else self.instrumented
        kind = self.kind._replace(instrumented=inside)
        series = Series(kind, tier_name, self.checked(_values.name, model), labels)
        prepared = series, Tally(series, self.chosen[2] is not None)
        if self.kind.kind in CLIENT_KINDS and self.cost is None:
            _prices.begin_loading()
        outer = call.enclosing
        if isinstance(outer, OpenTier) and call.cascade is not None:
            message = (
                "tier '%s' was called inside tier '%s': both count as calls, and as they only overlap, no "
                "escalation is seen; decorate what calls the model, not what decides or calls that"
            )
            warn_once("nested", series.tier, message, series.tier, outer.series.tier)
        if call.cascade is None and cascades.seen and current_thread() is not main_thread():
            message = (
                "tier '%s' was called outside any cascade, in a thread: if its cascade started the thread, "
                "opentelemetry-instrumentation-threading carries the context there"
            )
            warn_once("orphan", series.tier, message, series.tier)
        if tier_name == name and len(self.prepared) < MOST_PREPARED:
            self.prepared[key] = prepared
        return prepared

    def read(self, call: OpenTier, result: Any) -> None:
        """Takes from the result what the code has not set itself."""
        turned_down = call.outcome == "exhausted"
        call.empty = result is None
        told = result is not NO_RESULT and result is not None and not turned_down
        read = _own_confidence if turned_down else self.confidence
        if call.confidence is None and read is not None and (told or turned_down):
            try:
                call.confidence, call.source = read(result), "result"
            except Exception as error:
                self.asking.caught(error, "confidence")
        try:
            if call.cost is None and self.cost is not None:
                if not callable(self.cost):
                    call.cost = self.cost
                elif told:
                    call.cost = self.cost(result)
        except Exception as error:
            self.asking.caught(error, "cost")
        try:
            self.read_usage(call, result if told else None)
        except Exception as error:
            self.asking.caught(error, "usage")

    def read_usage(self, call: OpenTier, result: Any) -> None:
        """Tokens, answering model and cost: said by the code, else heard inside, else told by the result."""
        heard = call.heard if call.input_tokens is None and self.usage is None else None
        if call.input_tokens is not None:
            found = _usage.Found(call.input_tokens, call.output_tokens)
        else:
            found = _usage.NOTHING if result is None else self.usage_of(result)
            if heard:
                # Of a whole run a result may hide what its fallbacks cost; of an answer by somebody else,
                # what was heard is only what stood beside it.
                inside = _usage.total(heard)
                if (found.input_tokens or 0) <= (inside.input_tokens or 0):
                    found = inside
                elif found.cost is None:
                    found = found._replace(cost=inside.cost, cost_source=inside.cost_source)
        call.input_tokens, call.output_tokens = found.input_tokens, found.output_tokens
        call.response_model = call.response_model or found.model
        if call.cost is None:
            call.cost, call.cost_source = found.cost, found.cost_source
        if call.cost is None and call.input_tokens is not None and not heard:  # each was priced when heard
            call.cost, call.cost_source = self.price(call, found), _prices.SOURCE

    def hear(self, call: OpenTier, result: Any) -> None:
        """A model's own result within this call, or its usage as it was found."""
        found = result if isinstance(result, _usage.Found) else _usage.found(result)
        if found.input_tokens is not None and found.cost is None:
            found = found._replace(cost=self.price(call, found), cost_source=_prices.SOURCE)
        call.__dict__.setdefault("heard", []).append(found)  # from whatever thread

    def take(self, call: OpenTier, found: _usage.Found) -> None:
        """What the code says of a call's usage and model goes before what its result tells."""
        call.response_model = found.model or call.response_model
        if found.input_tokens is not None:
            call.input_tokens, call.output_tokens = found.input_tokens, found.output_tokens
            if call.cost is None or call.cost_source == _prices.SOURCE:
                call.cost, call.cost_source = self.price(call, found), _prices.SOURCE

    def price(self, call: OpenTier, found: _usage.Found) -> float | None:
        """US dollars by the table of prices."""
        model = call.response_model or str(call.series.at_start.get(semconv.REQUEST_MODEL, ""))
        return _prices.price(model, self.kind.provider, found)

    def usage_of(self, result: Any) -> _usage.Found:
        """Tokens, model and cost that a result tells."""
        told = _usage.found(result) if settings.read_results else _usage.NOTHING
        if self.usage is None:
            return told
        said = _usage.said(self.usage(result))
        sent, received = (self.checked(_values.tokens, each) for each in said[:2])
        if said.cost is None:
            said = said._replace(cost=told.cost, cost_source=told.cost_source)
        return said._replace(input_tokens=sent, output_tokens=received, model=told.model)


def _own_confidence(rejection: Any) -> Any:
    return getattr(rejection, "confidence", None)
