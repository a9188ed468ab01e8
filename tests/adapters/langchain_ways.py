"""The ways in which LangChain runs a chain, each giving the (last) output for one input."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.runnables import Runnable, RunnableConfig

QUESTION = "sure?"


def invoke(chain: Runnable[Any, Any], config: RunnableConfig | None = None) -> Any:
    """Its output."""
    return chain.invoke(QUESTION, config)


def ainvoke(chain: Runnable[Any, Any], config: RunnableConfig | None = None) -> Any:
    """Its output."""
    return asyncio.run(chain.ainvoke(QUESTION, config))


def stream(chain: Runnable[Any, Any], config: RunnableConfig | None = None) -> Any:
    """Its last chunk."""
    return list(chain.stream(QUESTION, config))[-1]


def astream(chain: Runnable[Any, Any], config: RunnableConfig | None = None) -> Any:
    """Its last chunk."""

    async def run() -> Any:
        return [chunk async for chunk in chain.astream(QUESTION, config)][-1]

    return asyncio.run(run())


def batch(chain: Runnable[Any, Any], config: RunnableConfig | None = None) -> Any:
    """Its output for a batch of one."""
    return chain.batch([QUESTION], config)[0]


def abatch(chain: Runnable[Any, Any], config: RunnableConfig | None = None) -> Any:
    """Its output for a batch of one."""
    return asyncio.run(chain.abatch([QUESTION], config))[0]


Run = Callable[..., Any]
WAYS: list[Run] = [invoke, ainvoke, stream, astream, batch, abatch]
every_way = pytest.mark.parametrize("run", WAYS)
