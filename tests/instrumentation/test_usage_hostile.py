"""Results that are no client's: nothing is made up of them, and what they raise reaches nobody."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from cascade_otel import tier
from cascade_otel.instrumentation import _usage
from cascade_otel.instrumentation._usage import NOTHING, Found, found
from cascade_otel.instrumentation._usage_shapes import SHAPES
from cascade_otel.testing import Recorded


class Raises:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class AnswersAll:
    def __getattr__(self, name: str) -> Any:
        return AnswersAll()

    def __call__(self) -> Any:
        raise AssertionError("code of others was called")


class RaisingDict(dict[str, Any]):
    def get(self, *_: Any) -> Any:
        raise RuntimeError("get")


class Number(int):
    """Not the type that every exporter can encode."""


NAMES = [
    *_usage._SOUGHT_IN_DICTS,
    *{
        name
        for shape in SHAPES
        for names in shape
        if isinstance(names, tuple)
        for name in names
        if isinstance(name, str)
    },
]
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(["message_stop", "response.completed", Number(3), 10**40]),
        st.builds(Raises),
        st.builds(AnswersAll),
        st.builds(object),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=4).map(RaisingDict),
        st.dictionaries(st.sampled_from(NAMES).filter(str.isidentifier), inner, max_size=4).map(
            lambda names: SimpleNamespace(**names)
        ),
    ),
    max_leaves=8,
)


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(VALUES)
def test_only_true_ints_and_strings_are_found(result: Any) -> None:
    try:
        told = found(result)
    except RuntimeError:  # what the object itself raises is the caller's guard's
        return
    counts = (told.input_tokens, told.output_tokens, told.cached_tokens, told.cache_written_tokens)
    assert {type(each) for each in counts} <= {int, type(None)}
    assert told.model is None or (isinstance(told.model, str) and told.model)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(VALUES, VALUES)
def test_nothing_reaches_the_host(lenient: None, result: Any, usage: Any) -> None:
    assert tier("small", model="gpt-4o", usage=lambda _: usage)(lambda: result)() is result
    assert tier("small", model="gpt-4o")(lambda: result)() is result


@pytest.mark.parametrize(
    "mock",
    [
        Mock(),
        MagicMock(),
        AsyncMock(),
        Mock(spec=dict),
        MagicMock(spec=["usage"]),
        MagicMock(usage=MagicMock()),
    ],
)
def test_a_mock_tells_nothing_and_is_not_called(seen: Recorded, mock: Any) -> None:
    assert tier("small")(lambda: mock)() is mock
    assert (seen.tiers[0].input_tokens, seen.tiers[0].response_model, seen.tiers[0].cost) == (
        None,
        None,
        None,
    )
    assert not mock.called
    assert not mock.mock_calls


def test_a_mock_with_true_numbers_tells_them() -> None:
    assert found(MagicMock(model="m", usage=Mock(spec=["input_tokens"], input_tokens=5))) == Found(
        5, None, "m"
    )


def test_instances_of_one_class_that_differ_are_each_looked_at() -> None:
    class Open:
        pass

    late, with_extras = Open(), type("Extras", (BaseModel,), {"model_config": ConfigDict(extra="allow")})
    for kind in (Open, SimpleNamespace, with_extras):
        assert found(kind()) == NOTHING
    late.usage = {"input_tokens": 3}  # type: ignore[attr-defined]  # set where no class says so
    assert found(late) == Found(3)
    assert found(SimpleNamespace(usage=SimpleNamespace(prompt_tokens=4))) == Found(4)
    assert found(SimpleNamespace(usage=SimpleNamespace(inputTokens=5, cacheReadInputTokens=1))) == Found(
        6, cached_tokens=1
    )
    assert found(with_extras(usage={"input_tokens": 7})) == Found(7)


def test_classes_that_declare_all_they_have_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model(BaseModel):
        type: str = "answer"

    class Pair(NamedTuple):
        answer: str = "a"

    @dataclasses.dataclass(slots=True)
    class Slots:
        answer: str = "a"

    answers = [Model(), Pair(), Slots()]
    for answer in answers:
        assert found(answer) == NOTHING
    monkeypatch.setattr(_usage, "_held", None)  # where looking begins
    for answer in answers:
        assert found(answer) == NOTHING


def test_of_any_number_of_classes_a_bounded_number_is_remembered() -> None:
    for index in range(1_200):
        assert found(type(f"Made{index}", (), {"__slots__": ("usage",)})()) == NOTHING
    assert len(_usage._sorts) <= 1_000
