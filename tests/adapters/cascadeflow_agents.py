"""cascadeflow's own classes for tests, and a provider that answers offline."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from cascade_otel.adapters.cascadeflow import CascadeflowInstrumentor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its classes are written for an older pydantic
    from cascadeflow.agent import CascadeAgent as CascadeAgent
    from cascadeflow.providers import PROVIDER_REGISTRY as PROVIDER_REGISTRY
    from cascadeflow.providers.base import BaseProvider as BaseProvider
    from cascadeflow.providers.base import ModelResponse as ModelResponse
    from cascadeflow.quality.quality import QualityConfig as QualityConfig
    from cascadeflow.quality.quality import QualityValidator as QualityValidator
    from cascadeflow.quality.tool_validator import ToolQualityValidator as ToolQualityValidator
    from cascadeflow.schema.config import ModelConfig as ModelConfig

QUESTION = "Name the capital of France."
ANSWER = "Paris is the capital of France."


class Provider:
    """Answers offline; a model's confidence, or the error it raises, is set by the test."""

    says: dict[str, float | Exception]
    counts = True
    version = "-2026"
    content = ANSWER

    def __init__(self, **_: Any) -> None: ...

    async def complete(self, prompt: str | None = None, model: str = "", **_: Any) -> ModelResponse:
        await asyncio.sleep(0)
        return self.response(model)

    def response(self, model: str, **more: Any) -> ModelResponse:
        said = self.says[model]
        if isinstance(said, Exception):
            raise said
        usage = {"prompt_tokens": 200, "completion_tokens": 100} if self.counts else {}
        return ModelResponse(
            content=self.content,
            model=f"{model}{self.version}",
            provider="custom",
            cost=0.5,
            tokens_used=300 if self.counts else 0,
            confidence=said,
            metadata=usage,
            **more,
        )


class StreamingProvider(Provider):
    """Streams offline, and counts no tokens."""

    texts: dict[str, str | Exception]
    pause_s = 0.005

    async def stream(self, prompt: str = "", model: str = "", **_: Any) -> AsyncIterator[str]:
        text = self.texts[model]
        if isinstance(text, Exception):
            raise text
        for word in text.split():
            yield f"{word} "
            await asyncio.sleep(self.pause_s)


@contextmanager
def instrumented(**options: Any) -> Iterator[None]:
    CascadeflowInstrumentor().instrument(**options)
    try:
        yield
    finally:
        CascadeflowInstrumentor().uninstrument()
