"""Where a framework's call takes place: those of a cascade are tiers, those within a tier are the tier's."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from opentelemetry.context import get_value, set_value

from cascade_otel.instrumentation._calls import COVERED, Within, current
from cascade_otel.instrumentation._guard import Guard
from cascade_otel.instrumentation._scorer import judging
from cascade_otel.instrumentation._tier_call import OpenTier

Choice: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], Callable[..., Any]]


def innermost() -> Literal["cascade", "tier"] | None:
    """What is open here and encloses all else that is; None outside any cascade and tier.

    A judge's own calls are as those within a tier: no tiers of the cascade that it judges for.
    """
    call = current()
    if call is None:
        return None
    return "tier" if isinstance(call, OpenTier) or judging() else "cascade"


def through(function: Callable[..., Any], choose: Choice) -> Callable[..., Any]:
    """The function, each call of it made through what ``choose(args, kwargs)`` gives.

    A coroutine function stays one, and chooses when it is awaited. Where choosing fails, the function itself
    is called.
    """
    guard = Guard("callable", function)

    def chosen(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        with guard:
            return choose(args, kwargs)
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return chosen(args, kwargs)(*args, **kwargs)

    @functools.wraps(function)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        return await chosen(args, kwargs)(*args, **kwargs)

    return call_async if inspect.iscoroutinefunction(function) else call


class Marked(Within):
    """A block within which ``get_value(key)`` of OpenTelemetry's context gives the value."""

    def __init__(self, key: str, value: object) -> None:
        self.key, self.value = key, value

    def __enter__(self) -> None:
        self.context = set_value(self.key, self.value)
        super().__enter__()


def heard(function: Callable[..., Any], tell: Callable[[OpenTier, Any], object]) -> Callable[..., Any]:
    """The function, to be called within a tier of the user's, which may itself return something else.

    ``tell(tier, result)`` is for the tier's usage. Calls of models inside this one are not heard in their
    turn, whichever framework's they are: their usage is in this one's.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        around = current()
        with Marked(COVERED, True):
            result = function(*args, **kwargs)
        if isinstance(around, OpenTier):
            tell(around, result)
        return result

    async def call_async(*args: Any, **kwargs: Any) -> Any:
        around = current()
        with Marked(COVERED, True):
            result = await function(*args, **kwargs)
        if isinstance(around, OpenTier):
            tell(around, result)
        return result

    if get_value(COVERED):
        return function
    return call_async if inspect.iscoroutinefunction(function) else call
