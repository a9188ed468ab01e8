"""Chat models that answer from a script, and a gate: offline, on LangChain's own base classes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import Field

from cascade_otel.adapters.langchain import LangChainInstrumentor


class LowConfidence(Exception):  # noqa: N818 (named as the docs name it)
    """What the gate raises; ``confidence`` is 0 to 1."""

    def __init__(self, confidence: float | None = None) -> None:
        super().__init__("not sure enough")
        if confidence is not None:
            self.confidence = confidence


class Toy(BaseChatModel):
    """Answers ``{"confidence": ...}`` by ``sure[question]``; 10 tokens in, 2 out; fails where ``down``."""

    model: str
    sure: dict[str, float] = Field(default_factory=dict)
    down: bool = False
    calls: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "toy"

    def _answer(self, messages: list[BaseMessage]) -> AIMessage:
        question = str(messages[-1].content)
        self.calls.append(question)
        if self.down:
            raise ConnectionError("no route to the model")
        return AIMessage(
            content=json.dumps({"confidence": self.sure.get(question, 0.95)}),
            usage_metadata={"input_tokens": 10, "output_tokens": 2, "total_tokens": 12},
            response_metadata={"model_name": f"{self.model}-2026"},
        )

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages))])

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return self._generate(messages)

    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        whole = self._answer(messages)
        for letter in str(whole.content):
            yield ChatGenerationChunk(message=AIMessageChunk(content=letter))
        yield ChatGenerationChunk(
            message=AIMessageChunk(content="", usage_metadata=whole.usage_metadata),
            generation_info=whole.response_metadata,
        )

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages):
            yield chunk


def confidence(message: AIMessage) -> float:
    """What a toy says of itself."""
    return float(json.loads(str(message.content))["confidence"])


@contextmanager
def instrumented(**options: Any) -> Iterator[None]:
    """Records within the block."""
    LangChainInstrumentor().instrument(**options)
    try:
        yield
    finally:
        LangChainInstrumentor().uninstrument()


def gate(threshold: float) -> Runnable[AIMessage, AIMessage]:
    """Lets through what is sure enough."""

    def check(message: AIMessage) -> AIMessage:
        if confidence(message) < threshold:
            raise LowConfidence(confidence(message))
        return message

    return RunnableLambda(check)


def two_tiers(confidence: float, **options: Any) -> Runnable[Any, Any]:
    """A small model that is so sure, behind a gate at .8, and a large one."""
    small, large = Toy(model="small-1", sure={"sure?": confidence}), Toy(model="large-1")
    return (small | gate(0.8)).with_fallbacks([large], exceptions_to_handle=(LowConfidence,), **options)
