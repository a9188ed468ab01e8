"""Scores from where the code computes them: a judge, a vote, a check, or a line in a cascade's code."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import CoroutineType
from typing import Any, TypeVar

from opentelemetry.context import get_current

from cascade_otel.instrumentation._calls import OpenCall, current, silent
from cascade_otel.instrumentation._cascade_call import OpenCascade
from cascade_otel.instrumentation._guard import Guard
from cascade_otel.instrumentation._shapes import code_of
from cascade_otel.instrumentation._tier_call import OpenTier
from cascade_otel.instrumentation._values import attribute
from cascade_otel.instrumentation._visits import Visit

F = TypeVar("F", bound=Callable[..., Any])


class scorer:
    """``@scorer("small")``: what the function returns is the confidence of that tier in the running cascade.

    ``confidence`` reads it from what the function returns: a string is an attribute, a callable gets the
    result. For a judge, a verifier, a vote or an agreement check, sync or async, called in the cascade or
    in the tier itself.
    """

    def __init__(self, tier: str, *, confidence: str | Callable[[Any], Any] | None = None) -> None:
        self.tier = tier
        self.confidence = attribute(confidence) if isinstance(confidence, str) else confidence
        self.asking = Guard("callable", tier)

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def score(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            return awaited(result) if type(result) is CoroutineType else self.note(result)

        @functools.wraps(function)
        async def score_async(*args: Any, **kwargs: Any) -> Any:
            return self.note(await function(*args, **kwargs))

        async def awaited(result: Any) -> Any:
            return self.note(await result)

        is_async = any(map(inspect.iscoroutinefunction, code_of(function)))
        return score_async if is_async else score  # type: ignore[return-value]  # same type as F, which mypy cannot follow

    def note(self, result: Any) -> Any:
        """Gives the score to the visit, and the result back."""
        if silent(get_current()):
            return result
        value = result
        if self.confidence is not None:
            value = None
            with self.asking:
                value = self.confidence(result)
        with Guard("unmatched", self.tier):
            told = _about(self.tier)
            told.confidence, told.source, told.scored = value, "scorer", True
        return result


def annotate(
    *,
    confidence: float | None = None,
    threshold: float | None = None,
    cost: float | None = None,
    tier: str | None = None,
) -> None:
    """Says a confidence, threshold or cost (USD) in the middle of the code.

    Within a tier it is about that call; in the cascade's own code about the tier called last; ``tier``
    names another.
    """
    if silent(get_current()):
        return
    with Guard("unmatched", "annotate"):
        told = _about(tier)
        if confidence is not None:
            told.confidence, told.source = confidence, "code"
        if threshold is not None:
            told.threshold = threshold
        if cost is not None:
            told.cost = cost


def _about(tier: str | None) -> OpenTier | Visit[OpenTier]:
    """The open call or the visit that a score is about."""
    call: OpenCall | None = current()
    if isinstance(call, OpenTier):
        if tier is None or tier == call.series.tier:
            return call
        call = call.cascade
    called: list[str] = []
    if isinstance(call, OpenCascade):
        visit = call.visits.by_tier.get(tier or call.visits.last or "")
        if visit is not None:
            return visit
        called = list(call.visits.by_tier)
    raise LookupError(
        f"a score for tier {tier!r} arrived where no call of it is known (called in this cascade: {called}); "
        "call it after the tier, inside the same cascade"
    )
