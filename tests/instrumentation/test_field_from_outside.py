"""An installed package, wrapped from outside: functions, classes, objects, names imported before."""

from __future__ import annotations

import asyncio
import inspect
import math
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from cascade_otel import cascade, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import outcomes

SOURCE = """
from abc import ABC, abstractmethod
from functools import lru_cache

def _local(prompt):
    return None if prompt == "hard" else "local text"

def _paid(prompt, model="big"):
    return {"text": "paid text", "model": model, "usd": 0.5}

@lru_cache
def settings():
    return {"limit": 0.8}

def route(prompt):
    settings.cache_clear()
    settings()
    return _local(prompt) or _paid(prompt)["text"]

class Provider(ABC):
    made = 0
    @classmethod
    def make(cls, model):
        cls.made += 1
        return cls(model)
    @staticmethod
    def clean(text):
        return text.strip()
    def __init__(self, model):
        self.model = model
    @abstractmethod
    async def complete(self, prompt): ...

class Echo(Provider):
    async def complete(self, prompt):
        return self.clean(f" {self.model}: {prompt} ")

class Loud(Echo):
    async def complete(self, prompt):
        return (await super().complete(prompt)).upper()
"""


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package that knows nothing of us."""
    package = ModuleType("theirs")
    exec(SOURCE, vars(package))
    monkeypatch.setitem(sys.modules, "theirs", package)
    return package


@pytest.mark.parametrize(("prompt", "final"), [("easy", "local"), ("hard", "paid")])
def test_module_functions(seen: Recorded, theirs: Any, prompt: str, final: str) -> None:
    """The package finds its own functions by name at each call, so what was put there is what it calls."""
    theirs.route = cascade(task="questions")(theirs.route)
    theirs._local = tier("local", cost=0.0)(theirs._local)
    theirs._paid = tier("paid", model=lambda prompt, model="big": model, cost="usd")(theirs._paid)
    assert theirs.route(prompt) == f"{final} text"
    (call,) = seen.cascades
    assert (call.name, call.task, call.final_tier) == ("route", "questions", final)
    assert call.cost == (0.5 if final == "paid" else 0.0)
    assert len(call.tiers) == (2 if final == "paid" else 1)


def test_a_cached_function_keeps_its_cache(seen: Recorded, theirs: Any) -> None:
    """The package clears it by name: what it put on the function is still there."""
    theirs.settings = tier("settings", kind="rule")(theirs.settings)
    assert theirs.route("easy") == "local text"
    assert theirs.settings.cache_info().misses == 1
    assert outcomes(seen) == {"settings": ["accepted"]}


def test_a_name_that_was_imported_before_still_means_the_undecorated_function(
    seen: Recorded, theirs: Any
) -> None:
    """``from theirs import route`` before the wrapping holds the old one: wrap first, or wrap there too."""
    user = ModuleType("user")
    exec("from theirs import _local, route\ndef ask(prompt): return _local(prompt)", vars(user))
    theirs._local = tier("local")(theirs._local)
    assert user.ask("easy") == "local text"
    assert not seen.tiers
    assert user.route("easy") == "local text"  # the old route, which looks _local up by name
    vars(user)["_local"] = theirs._local
    assert user.ask("easy") == "local text"
    assert outcomes(seen) == {"local": ["accepted", "accepted"]}


def test_a_bound_method_that_an_object_keeps_was_taken_when_the_object_was_made(seen: Recorded) -> None:
    """Clients that put ``self.create = self._create`` into a namespace: wrap the class before making one."""

    class Client:
        def __init__(self) -> None:
            self.create = self.complete

        def complete(self) -> str:
            return "text"

    early = Client()
    Client.complete = tier("small")(Client.complete)  # type: ignore[method-assign]  # as a user does from outside
    assert (early.create(), Client().create()) == ("text", "text")
    assert outcomes(seen) == {"small": ["accepted"]}


def test_classmethods_and_staticmethods_are_taken_from_the_classs_own_namespace(
    seen: Recorded, theirs: Any
) -> None:
    """``getattr`` would bind the one and strip the other: what ``vars`` gives is put back as what it was."""
    Provider, Loud = theirs.Provider, theirs.Loud
    Provider.make = tier("make", kind="rule")(vars(Provider)["make"])
    Provider.clean = tier("clean", kind="rule")(vars(Provider)["clean"])
    loud = Loud.make("m")
    assert (type(loud), Loud.made, Provider.made) == (Loud, 1, 0)
    assert (loud.make("n").model, loud.clean(" a "), Provider.clean(" a ")) == ("n", "a", "a")
    assert isinstance(vars(Provider)["make"], classmethod)
    assert isinstance(vars(Provider)["clean"], staticmethod)
    assert outcomes(seen) == {"make": ["accepted"] * 2, "clean": ["accepted"] * 2}


def test_each_class_that_overrides_an_abstract_method_is_wrapped(seen: Recorded, theirs: Any) -> None:
    """The base's method never runs; a subclass that calls ``super()`` makes two calls, one in the other."""
    for each in (theirs.Echo, theirs.Loud):
        each.complete = tier(lambda self, prompt: self.model)(each.complete)
    assert asyncio.run(theirs.Echo("small").complete("hi")) == "small: hi"
    assert asyncio.run(theirs.Loud("large").complete("hi")) == "LARGE: HI"
    assert outcomes(seen) == {"small": ["accepted"], "large": ["accepted", "accepted"]}
    with pytest.raises(TypeError, match="abstract"):
        theirs.Provider("x")


def test_what_a_factory_makes_is_wrapped_as_it_is_made(seen: Recorded, theirs: Any) -> None:
    """A method on one object: the others of its class stay as they are."""
    make = theirs.Echo.make

    def made(model: str) -> Any:
        provider = make(model)
        provider.complete = tier(model)(provider.complete)
        return provider

    observed, plain = made("small"), make("small")
    assert inspect.iscoroutinefunction(observed.complete)
    assert asyncio.run(observed.complete("hi")) == asyncio.run(plain.complete("hi")) == "small: hi"
    assert outcomes(seen) == {"small": ["accepted"]}


@dataclass
class Scaled:
    """A library's callable object."""

    by: int

    def __call__(self, value: int) -> int:
        return self.by * value


class Slotted:
    __slots__ = ("by",)

    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, value: int) -> int:
        return self.by * value


@pytest.mark.parametrize("library", [Scaled, Slotted])
def test_a_callable_objects_class_is_wrapped_so_that_the_object_stays_what_it_is(
    seen: Recorded, library: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "__call__", tier("x")(library.__call__))
    scale = library(3)
    assert (scale(2), scale.by, type(scale)) == (6, 3, library)
    scale.by = 5
    assert scale(2) == 10
    assert outcomes(seen) == {"x": ["accepted", "accepted"]}


@pytest.mark.parametrize(
    ("function", "value", "result"),
    [(math.sqrt, 4.0, 2.0), (partial(round, ndigits=1), 1.23, 1.2), (Scaled(3), 2, 6), (str.upper, "a", "A")],
)
def test_c_functions_partials_and_objects_that_are_handed_over(
    seen: Recorded, function: Callable[..., Any], value: Any, result: Any
) -> None:
    decorated = tier("x")(function)
    assert decorated(value) == result
    assert inspect.signature(decorated) == inspect.signature(function)
    assert outcomes(seen) == {"x": ["accepted"]}


def test_a_partial_on_a_class_does_not_begin_to_bind(seen: Recorded) -> None:
    """A function on a class is a method, a partial is not: ``staticmethod`` keeps it so."""

    class Library:
        parse = partial(int, base=2)

    Library.parse = staticmethod(tier("x")(Library.parse))  # type: ignore[assignment]  # as a user does from outside
    assert Library.parse("11") == Library().parse("11") == 3
    assert outcomes(seen) == {"x": ["accepted", "accepted"]}


def test_streams_of_a_package_last_until_they_are_consumed(seen: Recorded) -> None:
    class Client:
        def stream(self) -> Iterator[str]:
            yield from "ab"

        async def astream(self) -> AsyncIterator[str]:
            yield "c"

    Client.stream = tier("x")(Client.stream)  # type: ignore[method-assign]  # as a user does from outside
    Client.astream = tier("x")(Client.astream)  # type: ignore[method-assign]  # as a user does from outside

    async def consume() -> list[str]:
        return [each async for each in Client().astream()]

    stream = Client().stream()
    assert not seen.tiers
    assert [*stream, *asyncio.run(consume())] == ["a", "b", "c"]
    assert outcomes(seen) == {"x": ["accepted", "accepted"]}


def test_wrapping_a_second_time_replaces_the_first(seen: Recorded, theirs: Any) -> None:
    """A notebook's cell is run again: a call stays one call, at its one price, under the newer name."""
    for name in ("local", "small"):
        theirs.route = cascade(name)(theirs.route)
        theirs._local = tier(name, cost=0.1)(theirs._local)
    assert theirs.route("easy") == "local text"
    (call,) = seen.cascades
    assert call.name == "small"
    assert call.cost == pytest.approx(0.1)
    assert outcomes(seen) == {"small": ["accepted"]}
