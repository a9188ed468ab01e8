"""Other people's decorators and object machinery, over ``@tier`` and under it."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_type_hints, overload

import attrs
import pydantic
import pytest
import tenacity

from cascade_otel import cascade, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import outcomes

x = tier("x")


def loud(function: Callable[..., str]) -> Callable[..., str]:
    """Anybody's decorator."""

    @functools.wraps(function)
    def louder(*args: Any, **kwargs: Any) -> str:
        return function(*args, **kwargs).upper()

    return louder


@loud
@x
def over(word: str, times: int = 1) -> str:
    """Over ours."""
    return word * times


@x
@loud
def under(word: str, times: int = 1) -> str:
    """Under ours."""
    return word * times


@pytest.mark.parametrize("function", [over, under])
def test_anybodys_decorator_over_ours_and_under_it(seen: Recorded, function: Callable[..., str]) -> None:
    assert function("ab", times=2) == "ABAB"
    assert str(inspect.signature(function)) == "(word: 'str', times: 'int' = 1) -> 'str'"
    assert outcomes(seen) == {"x": ["accepted"]}


def test_a_cache_over_ours_hides_the_hit_and_one_under_ours_is_a_call_each(seen: Recorded) -> None:
    @functools.cache
    @tier("over")
    def hidden() -> int:
        return 1

    @tier("under")
    @functools.cache
    def each() -> int:
        return 1

    assert (hidden(), hidden(), each(), each()) == (1, 1, 1, 1)
    assert outcomes(seen) == {"over": ["accepted"], "under": ["accepted", "accepted"]}
    assert (hidden.cache_info().hits, each.cache_info().hits) == (1, 1)
    each.cache_clear()
    assert each.cache_info().currsize == 0


def flaky(failures: int) -> Callable[[], str]:
    left = [ConnectionError()] * failures

    def ask() -> str:
        if left:
            raise left.pop()
        return "text"

    return ask


retry = tenacity.retry(stop=tenacity.stop_after_attempt(3), reraise=True)


@pytest.mark.parametrize("failures", [2, 3])
def test_a_retry_over_ours_is_one_visit_of_many_calls(seen: Recorded, failures: int) -> None:
    small = retry(tier("small")(flaky(failures)))

    @tier("large")
    def large() -> str:
        return "strong text"

    @cascade
    def answer() -> str:
        try:
            return small()
        except ConnectionError:
            return large()

    assert answer() == ("text" if failures == 2 else "strong text")
    assert outcomes(seen)["small"] == ["repeated", "repeated", "accepted" if failures == 2 else "escalated"]
    assert [each.error for each in seen.tiers[:2]] == ["ConnectionError", "ConnectionError"]
    assert seen.cascades[0].escalated == (failures == 3)
    assert small.statistics["attempt_number"] == 3


def test_a_retry_under_ours_is_one_call(seen: Recorded) -> None:
    small = tier("small")(retry(flaky(2)))
    assert small() == "text"
    assert small.retry.stop is not None
    assert [(each.outcome, each.error) for each in seen.tiers] == [("accepted", None)]


class Ladder(ABC):
    @x
    @abstractmethod
    def over(self) -> str: ...

    @abstractmethod
    @x
    def under(self) -> str: ...

    @x
    def inherited(self) -> str:
        return type(self).__name__

    @classmethod
    @x
    def made(cls) -> str:
        return cls.__name__


class Steps(Ladder):
    def over(self) -> str:
        return "over"

    @x
    def under(self) -> str:
        return "under"

    @x
    def inherited(self) -> str:
        return super().inherited() + "!"


def test_abstract_methods_stay_abstract_and_super_reaches_them(seen: Recorded) -> None:
    with pytest.raises(TypeError, match="abstract"):
        Ladder()  # type: ignore[abstract]  # that is the test
    steps = Steps()
    assert (steps.over(), steps.under(), steps.inherited(), Steps.made()) == (
        "over",
        "under",
        "Steps!",
        "Steps",
    )
    assert len(seen.tiers) == 4  # under, inherited and super's inside it, made


@x
@functools.singledispatch
def shown(value: object) -> str:
    return "object"


@shown.register
def _(value: int) -> str:
    return "int"


class Shower:
    @functools.singledispatchmethod
    @x
    def show(self, value: object) -> str:
        return "object"

    @show.register
    @x
    def _(self, value: int) -> str:
        return "int"

    @property
    @x
    def model(self) -> str:
        return "small"

    @functools.cached_property
    @x
    def client(self) -> str:
        return "client"

    bare = functools.partialmethod(x(lambda self, *words: words), "first")


@overload
def doubled(value: int) -> int: ...
@overload
def doubled(value: str) -> str: ...
@x
def doubled(value: Any) -> Any:
    return value * 2


def test_dispatch_overloads_and_descriptors_under_which_ours_stands(seen: Recorded) -> None:
    shower = Shower()
    assert (shown(1), shown("a"), shower.show(1), shower.show("a")) == ("int", "object", "int", "object")
    assert (doubled(2), doubled("a")) == (4, "aa")
    assert (shower.model, shower.client, shower.client) == ("small", "client", "client")
    assert shower.bare("second") == ("first", "second")
    assert len(seen.tiers) == 9


@pytest.mark.parametrize("holder", [property, functools.cached_property, functools.singledispatchmethod])
def test_what_only_holds_a_function_is_refused_in_words(holder: Callable[..., Any]) -> None:
    """At import, where the mistake is; a property must not silently become a method."""
    for decorator in (tier("x"), cascade("x")):
        with pytest.raises(TypeError, match=f"a {holder.__name__} arrived where a function is wanted"):
            decorator(holder(lambda self: "small"))


class Whole:
    @x
    def answer(self) -> str:
        return "text"


def test_what_reads_annotations_reads_them_as_ever(seen: Recorded) -> None:
    """Frameworks build validation, tools and commands from a function's type hints."""

    def scaled(value: int, by: int = 2) -> int:
        return value * by

    for validated in (pydantic.validate_call(x(scaled)), x(pydantic.validate_call(scaled))):
        assert get_type_hints(validated) == {"value": int, "by": int, "return": int}
        assert validated("3") == 6  # type: ignore[arg-type]  # pydantic reads it as a number
        with pytest.raises(pydantic.ValidationError):
            validated("three")  # type: ignore[arg-type]  # that is the test
    assert [each.error for each in seen.tiers] == [None, None, "ValidationError"]


def test_decorated_functions_and_methods_are_pickled_by_name() -> None:
    """Process pools hand them over so."""
    for function in (over, under, doubled):
        assert pickle.loads(pickle.dumps(function)) is function
    assert pickle.loads(pickle.dumps(Whole().answer))() == "text"
    assert pickle.loads(pickle.dumps(functools.partial(under, times=2)))("a") == "AA"


def test_objects_with_decorated_methods_are_copied_as_ever(seen: Recorded) -> None:
    whole = Whole()
    each: Any
    for each in (copy.copy(whole), copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
        assert each is not whole
        assert each.answer.__self__ is each
        assert each.answer() == "text"
    assert len(seen.tiers) == 3


def test_a_method_wrapped_on_one_object_goes_with_its_copies_to_the_old_one() -> None:
    """Hence wrap the class where objects are copied: a function is one thing in every copy."""
    whole = Whole()
    whole.answer = x(whole.answer)  # type: ignore[method-assign]  # as a user does from outside
    copied: Any = copy.deepcopy(whole).answer
    assert copied.__wrapped__.__self__ is whole


@dataclass
class Plain:
    ask: Callable[[], str]
    sent: list[str] = field(default_factory=list)

    @x
    def answer(self) -> str:
        return self.ask()


@dataclass(frozen=True, slots=True)
class Frozen:
    ask: Callable[[], str]

    @x
    def answer(self) -> str:
        return self.ask()


@attrs.define
class Attrs:
    ask: Callable[[], str]

    @x
    def answer(self) -> str:
        return self.ask()


class Model(pydantic.BaseModel):
    ask: Callable[[], str]

    @x
    def answer(self) -> str:
        return self.ask()


@pytest.mark.parametrize("kind", [Plain, Frozen, Attrs, Model])
def test_data_classes_with_decorated_methods_and_decorated_functions_in_fields(
    seen: Recorded, kind: Callable[..., Any]
) -> None:
    """An object of any of these refuses or allows what it did: the class carries the decoration."""
    one = kind(ask=tier("inner")(lambda: "text"))
    assert (one.answer(), one.ask()) == ("text", "text")
    assert outcomes(seen) == {"x": ["accepted"], "inner": ["accepted", "accepted"]}
    assert kind(one.ask) == one if kind is not Model else kind(ask=one.ask) == one


@pytest.mark.parametrize("kind", [Frozen, Attrs, Model])
def test_where_the_object_refuses_attributes_its_class_is_wrapped(
    seen: Recorded, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = kind(ask=lambda: "text")
    with pytest.raises((AttributeError, TypeError, ValueError)):
        one.answer = tier("object")(one.answer)
    monkeypatch.setattr(kind, "answer", tier("class")(kind.answer))
    assert one.answer() == "text"
    assert outcomes(seen) == {"class": ["accepted"]}  # in the place of x, which was there before
