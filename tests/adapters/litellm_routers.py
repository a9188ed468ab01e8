"""Routers of LiteLLM whose models answer by themselves, offline, for the tests of its adapter."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import litellm
from litellm import Router

from cascade_otel.adapters.litellm import LiteLLMInstrumentor

ASK = [{"role": "user", "content": "Which colour?"}]
SMALL, LARGE = "openai/gpt-4o-mini", "openai/gpt-4o"
BUSY = "litellm.RateLimitError"

for each in ("LiteLLM", "LiteLLM Router"):
    logging.getLogger(each).setLevel(logging.CRITICAL)  # it tells of each failure that a test causes
litellm.suppress_debug_info = True


@contextmanager
def instrumented(**options: Any) -> Iterator[None]:
    """LiteLLM is recorded within the block."""
    LiteLLMInstrumentor().instrument(**options)
    try:
        yield
    finally:
        LiteLLMInstrumentor().uninstrument()


def deployment(group: str, model: str, answer: Any = "blue", **params: Any) -> dict[str, Any]:
    """One deployment of a group that gives this answer, or fails with this exception."""
    params = {"model": model, "api_key": "none", "mock_response": answer, **params}
    return {"model_name": group, "litellm_params": params}


def router(small: Any = BUSY, large: Any = "blue", of_small: int = 1, **options: Any) -> Router:
    """Two groups, of which the small one falls back on the large one."""
    options = {"fallbacks": [{"small": ["large"]}], "num_retries": 0, **options}
    smalls = [deployment("small", SMALL, small) for _ in range(of_small)]
    return Router(model_list=[*smalls, deployment("large", LARGE, large)], **options)


def ask(asked: Router, way: str, model: str = "small", **options: Any) -> Any:
    """One call in one of the ways there are: sync, async, or the sync one within a running event loop."""
    if way == "sync":
        return asked.completion(model, ASK, **options)
    if way == "async":
        return run(lambda: asked.acompletion(model, ASK, **options))

    async def within() -> Any:
        return asked.completion(model=model, messages=ASK, **options)

    return run(within)


def run(function: Callable[[], Awaitable[Any]]) -> Any:
    """The result, once LiteLLM's own tasks in the loop have had their turn."""

    async def whole() -> Any:
        try:
            return await function()
        finally:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if others:  # among them a logging worker, which waits for ever
                await asyncio.wait(others, timeout=0.05)

    return asyncio.run(whole())
