"""A judge that asks a model itself: no tier of the cascade which it judges for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import litellm
import pytest

from cascade_otel import cascade, scorer
from cascade_otel.adapters.litellm import LiteLLMInstrumentor
from cascade_otel.testing import Recorded
from tests.adapters.switched import switched_on


@pytest.fixture(autouse=True)
def recording() -> Iterator[None]:
    with switched_on(LiteLLMInstrumentor):
        yield


def asked(model: str, text: str) -> dict[str, Any]:
    message = {"role": "user", "content": "?"}
    return {"model": model, "messages": [message], "mock_response": text}


def test_a_judges_own_model_call_is_no_tier(seen: Recorded) -> None:
    @scorer(confidence=float)
    def judge(answer: str) -> str:
        return str(litellm.completion(**asked("openai/gpt-4o", "0.9")).choices[0].message.content)

    @cascade
    def ask() -> str:
        return judge(litellm.completion(**asked("openai/gpt-4o-mini", "Paris")).choices[0].message.content)

    assert ask() == "0.9"
    assert [(each.model, each.confidence) for each in seen.tiers] == [("openai/gpt-4o-mini", 0.9)]


def test_nor_is_that_of_a_judge_that_is_awaited(seen: Recorded) -> None:
    @scorer(confidence=float)
    async def judge(answer: str) -> str:
        return str((await litellm.acompletion(**asked("openai/gpt-4o", "0.9"))).choices[0].message.content)

    @cascade
    async def ask() -> str:
        answer = await litellm.acompletion(**asked("openai/gpt-4o-mini", "Paris"))
        return await judge(answer.choices[0].message.content)

    assert asyncio.run(ask()) == "0.9"
    assert [(each.model, each.confidence) for each in seen.tiers] == [("openai/gpt-4o-mini", 0.9)]
