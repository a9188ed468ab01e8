"""A framework that asks another one: within a tier of the user's, tokens are counted once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import litellm
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from cascade_otel import cascade, tier
from cascade_otel.adapters._inside import heard, through
from cascade_otel.adapters.langchain import LangChainInstrumentor
from cascade_otel.adapters.litellm import LiteLLMInstrumentor
from cascade_otel.testing import Recorded
from tests.adapters.switched import switched_on

ASKED: dict[str, Any] = {"model": "openai/gpt-4o-mini", "mock_response": "Paris"}


class OverLiteLLM(BaseChatModel):
    """A LangChain model that asks LiteLLM, as the one of LangChain's own package does."""

    @property
    def _llm_type(self) -> str:
        return "over-litellm"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return result(litellm.completion(messages=[{"role": "user", "content": "?"}], **ASKED))

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return result(await litellm.acompletion(messages=[{"role": "user", "content": "?"}], **ASKED))


def result(answer: Any) -> ChatResult:
    usage = answer.usage
    message = AIMessage(
        answer.choices[0].message.content,
        usage_metadata={
            "input_tokens": usage.prompt_tokens,
            "output_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
        },
    )
    return ChatResult(generations=[ChatGeneration(message=message)])


@pytest.fixture(autouse=True)
def both() -> Iterator[None]:
    with switched_on(LiteLLMInstrumentor), switched_on(LangChainInstrumentor):
        yield


@pytest.mark.parametrize("is_async", [False, True])
def test_what_both_frameworks_tell_of_one_call_is_counted_once(seen: Recorded, is_async: bool) -> None:
    """The tier returns a text, so that all it tells of tokens is what was heard inside."""
    model = OverLiteLLM()

    @tier("small")
    def small() -> object:
        return model.invoke("?").content

    @tier("small")
    async def small_later() -> object:
        return (await model.ainvoke("?")).content

    @cascade
    def ask() -> object:
        return small()

    @cascade
    async def ask_later() -> object:
        return await small_later()

    assert (asyncio.run(ask_later()) if is_async else ask()) == "Paris"
    (found,) = seen.tiers
    assert (found.input_tokens, found.output_tokens) == (10, 20)


@pytest.mark.parametrize("is_async", [False, True])
def test_only_the_outer_of_two_calls_is_heard_whatever_either_tells(seen: Recorded, is_async: bool) -> None:
    """And a call of a model after the outer one is heard again."""
    told: list[str] = []

    def hear(function: Callable[..., Any]) -> Callable[..., Any]:
        return through(function, lambda *_: heard(function, lambda _, result: told.append(result)))

    inner = hear(lambda: "inner")
    outer = hear(lambda: inner() + " in outer")

    async def in_a_loop() -> str:
        return "inner"

    async def around_it() -> str:
        return str(await inner_later()) + " in outer"

    inner_later, outer_later = hear(in_a_loop), hear(around_it)

    @tier("small")
    def small() -> None:
        outer()
        inner()

    @tier("small")
    async def small_later() -> None:
        await outer_later()
        await inner_later()

    asyncio.run(small_later()) if is_async else small()
    assert told == ["inner in outer", "inner"]
