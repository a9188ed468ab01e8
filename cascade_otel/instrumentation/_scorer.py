"""Scores from where the code computes them: a judge, a vote, a check, or a line in a cascade's code."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import CoroutineType
from typing import Any, Literal, TypeVar

from opentelemetry.context import create_key, get_current, get_value, set_value

from cascade_otel.instrumentation import _usage
from cascade_otel.instrumentation._calls import OpenCall, Within, current, silent
from cascade_otel.instrumentation._cascade_call import OpenCascade
from cascade_otel.instrumentation._guard import Guard
from cascade_otel.instrumentation._shapes import code_of
from cascade_otel.instrumentation._tier_call import OpenTier
from cascade_otel.instrumentation._values import attribute, name
from cascade_otel.instrumentation._visits import Visit

JUDGING = create_key("cascade-judging")
F = TypeVar("F", bound=Callable[..., Any])


class scorer:
    """``@scorer("small")``: what the function returns is the confidence of that tier in the running cascade.

    ``tier``: a string is the name, a callable gets the arguments; without it, the tier called last.
    ``confidence`` reads it from what the function returns: a string is an attribute, a callable gets the
    result. For a judge, a verifier, a vote or an agreement check, sync or async, called in the cascade or
    in the tier itself.
    """

    def __init__(
        self,
        tier: str | Callable[..., str] | None = None,
        *,
        confidence: str | Callable[[Any], Any] | None = None,
    ) -> None:
        self.tier = tier
        self.confidence = attribute(confidence) if isinstance(confidence, str) else confidence
        self.asking = Guard("callable", tier or "scorer")

    def __call__(self, function: F) -> F:
        if isinstance(function, (classmethod, staticmethod)):
            return type(function)(self(function.__func__))
        if not callable(function):
            kind = type(function).__name__
            raise TypeError(f"a {kind} arrived where a function is wanted: decorate the function it holds")

        @functools.wraps(function)
        def score(*args: Any, **kwargs: Any) -> Any:
            with judged():
                result = function(*args, **kwargs)
            if type(result) is CoroutineType:
                return awaited(result, args, kwargs)
            return self.note(result, args, kwargs)

        @functools.wraps(function)
        async def score_async(*args: Any, **kwargs: Any) -> Any:
            return await awaited(function(*args, **kwargs), args, kwargs)

        async def awaited(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            with judged():
                result = await result
            return self.note(result, args, kwargs)

        is_async = any(map(inspect.iscoroutinefunction, code_of(function)))
        return score_async if is_async else score  # type: ignore[return-value]  # same type as F, which mypy cannot follow

    def note(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Gives the score to the visit, and the result back."""
        if silent(get_current()):
            return result
        value = result
        if self.confidence is not None:
            value = None
            with self.asking:
                value = self.confidence(result)
        with Guard("unmatched", self.asking.where):
            told = _about(self.tier(*args, **kwargs) if callable(self.tier) else self.tier)
            told.confidence, told.source, told.scored = value, "scorer", True
        return result


def judged() -> Within:
    """A block in which a judge is asked: what it asks itself is no tier of the cascade, unless declared."""
    return Within(set_value(JUDGING, current()))


def judging() -> bool:
    """Whether a scorer runs here, which adapters leave alone; not within a cascade of the judge's own."""
    call = current()
    return call is not None and get_value(JUDGING) is call


def annotate(
    *,
    confidence: float | None = None,
    threshold: float | None = None,
    cost: float | None = None,
    usage: Any = None,
    model: str | None = None,
    error: str | None = None,
    reason: Literal["low_confidence", "missing_confidence", "error", "timeout", "policy"] | None = None,
    tier: str | None = None,
) -> None:
    """Says in the middle of the code what a tier's result does not tell.

    Within a tier it is about that call; in the cascade's own code about the tier called last; ``tier``
    names another. ``cost`` is in USD, ``usage`` a pair of input and output tokens or an object that has
    them, ``model`` the one that answered. ``error`` is the type of a failure that was returned and not
    raised. ``reason``, why the tier escalates, is about all its calls, and recorded where it did.
    """
    if silent(get_current()):
        return
    found, failed = None, None
    with Guard("value", "annotate"):
        failed = None if error is None else name(error)
        if usage is not None or model is not None:
            found = _usage.said(usage) if usage is not None else _usage.NOTHING
            found = found if model is None else found._replace(model=name(model))
    with Guard("unmatched", "annotate"):
        told = _about(tier)
        if confidence is not None:
            told.confidence, told.source = confidence, "code"
        if threshold is not None:
            told.threshold = threshold
        if cost is not None:
            told.cost = cost
        if failed is not None:
            told.returned_error = failed
        if isinstance(told, OpenTier):
            visit = told.visit
            if found is not None:
                told.site.take(told, found)
        else:
            visit, told.usage = told, found or told.usage
        if reason is not None and visit is not None:
            visit.reason = reason


def _about(tier: str | None) -> OpenTier | Visit[OpenTier]:
    """The open call or the visit that a score is about."""
    call: OpenCall | None = current()
    if isinstance(call, OpenTier):
        if tier is None or tier == call.series.tier:
            return call
        call = call.cascade
    called: list[str] = []
    if isinstance(call, OpenCascade):
        visit = call.visits.by_tier.get((call.visits.last or "") if tier is None else tier)
        if visit is not None:
            return visit
        called = list(call.visits.by_tier)
    raise LookupError(
        f"a score for tier {tier!r} arrived where no call of it is known (called in this cascade: {called}); "
        "call it after the tier, inside the same cascade"
    )
