"""A place in the user's code that is recorded: a decorated function, or a ``with`` block."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import FunctionType, MappingProxyType, TracebackType
from typing import Any, Generic, Literal, TypeVar
from weakref import WeakKeyDictionary

from opentelemetry.context import get_current

from cascade_otel.instrumentation._calls import (
    NO_RESULT,
    OpenCall,
    current,
    hand_on_late,
    late,
    nobody,
    silent,
)
from cascade_otel.instrumentation._cascade_call import OpenCascade
from cascade_otel.instrumentation._guard import Guard
from cascade_otel.instrumentation._shapes import driven
from cascade_otel.instrumentation._tier_call import OpenTier

F = TypeVar("F", bound="Callable[..., Any] | classmethod[Any, Any, Any] | staticmethod[Any, Any]")
C = TypeVar("C", OpenTier, OpenCascade)
T = TypeVar("T")
_NONE: Mapping[str, Any] = MappingProxyType({})


_decorated: WeakKeyDictionary[Any, type] = WeakKeyDictionary()


def undecorated(function: Any, by: type) -> Any:
    """The function beneath what this kind of decorator has already made of it.

    Packages are wrapped from outside in notebook cells that run again, and in modules that are reloaded: no
    function is one call of two tiers.
    """
    ours = isinstance(function, FunctionType) and _decorated.get(function) is by
    return function.__wrapped__ if ours else function


class Site(Generic[C]):
    """What ``tier`` and ``cascade`` share: decorating, opening a block, asking the user's callables."""

    call: type[C]
    rejections: tuple[type[BaseException], ...] = ()  # exceptions by which the code turns an answer down

    def __init__(self, name: str | Callable[..., str | None] | None) -> None:
        self.name = name
        self.guard("cascade" if name is None else name)
        # ``with`` blocks of this object that are open, in whatever tasks and threads.
        self.blocks: list[OpenCall] = []
        self.silent_blocks: list[OpenCall] = []  # those that began where nothing is to be recorded

    def __call__(self, function: F) -> F:
        if isinstance(function, (classmethod, staticmethod)):
            return type(function)(self(function.__func__))
        if not callable(function):
            kind = type(function).__name__
            raise TypeError(f"a {kind} arrived where a function is wanted: decorate the function it holds")
        beneath = undecorated(function, type(self))
        site = copy.copy(self)
        site.name = self.name or getattr(function, "__name__", "cascade")
        if callable(site.name):
            site.guard(getattr(function, "__qualname__", site.name))
        drive = driven(beneath, site.begin)
        _decorated[drive] = type(self)
        return drive  # type: ignore[return-value]  # same type as F, which mypy cannot follow

    def guard(self, where: object) -> None:
        """Names the place in what is logged and counted."""
        self.recording, self.asking, self.checking = (
            Guard("sdk", where),
            Guard("callable", where),
            Guard("value", where),
        )

    def __enter__(self) -> C:
        call = self.begin((), {})
        if call is nobody:  # the block still has an object of its own to set things on
            unheard = self.call(self, get_current())
            self.silent_blocks.append(unheard)
            return unheard
        call.__enter__()
        self.blocks.append(call)
        return call  # type: ignore[return-value]  # of self.call, unless it is nobody

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> Literal[False]:
        call = current()
        if self.silent_blocks and self.left_silently(call):
            return False
        if call is not None and call in self.blocks:
            call.__exit__(kind, error, tb)
        elif self.blocks:  # a generator's block that ends in another task or thread than it began in
            call = self.blocks[-1]
        else:
            return False
        self.blocks.remove(call)
        call.finish(error, NO_RESULT)
        return False

    def left_silently(self, inside: OpenCall | None) -> bool:
        """Whether the block that ends here began silently: such a block left the context as it was."""
        here, unheard = get_current(), tuple(self.silent_blocks)
        found = [call for call in unheard if call.context is here]
        if not found and inside not in self.blocks:
            found = list(unheard)  # it ends in another task or thread: better no call's end than another's
        for call in found:
            try:
                self.silent_blocks.remove(call)
            except ValueError:  # another thread was faster
                continue
            return True
        return False

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> OpenCall:
        """The call that a decorated function runs under.

        Never raises: it is good for ``with call`` and ``finish`` whatever went wrong.
        """
        context = get_current()
        if silent(context):
            return nobody
        if late:
            hand_on_late()
        call = self.call(self, context)
        try:
            self.prepare(call, args, kwargs)
        except Exception as error:
            self.recording.caught(error)
        return call if call.heeded else nobody

    def prepare(self, call: C, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Looks up what is known of this call and starts its span."""
        raise NotImplementedError

    def ask(
        self,
        source: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any] = _NONE,
        failed: Any = None,
        *,
        what: str = "",
    ) -> Any:
        """What a constant or a user's callable says; ``failed`` where it fails."""
        if not callable(source):
            return source
        try:
            return source(*args, **kwargs)
        except Exception as error:
            self.asking.caught(error, what)
            return failed

    def checked(self, convert: Callable[[Any], T], value: Any) -> T | None:
        """The value as it may be recorded; None where it may not."""
        if value is None:
            return None
        try:
            return convert(value)
        except Exception as error:
            self.checking.caught(error)
            return None
