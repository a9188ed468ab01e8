"""Asks stored prompts again: what is called here is recorded as a canary, in no rate of production.

A model that has changed answers the same prompts differently; other inputs do not change them. So canaries
tell which of the two it is when confidences move.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeVar

from opentelemetry.context import attach, detach, set_value

from cascade_otel.instrumentation import _values
from cascade_otel.instrumentation._calls import CANARY
from cascade_otel.instrumentation._guard import Guard

P = TypeVar("P")


@contextmanager
def canary(prompt_id: str) -> Iterator[None]:
    """Every cascade called in this block is recorded with ``cascade.purpose`` canary and this identifier.

    ``with canary("q-17"): extract(question)`` needs no change to ``extract``; what its decorator says of its
    purpose does not count here. The identifier names the prompt and is recorded, so it is never the text. It
    rides in the OpenTelemetry context: into coroutines, and into threads where the context is carried.
    """
    marked = ""
    with Guard("value", "canary"):
        marked = _values.name(prompt_id)
    token = attach(set_value(CANARY, marked))
    try:
        yield
    finally:
        detach(token)


@dataclass(frozen=True)
class Replayed:
    """What came of a replay."""

    asked: int
    failed: Mapping[str, str]
    """Of each prompt that failed, by identifier: the exception's type and text."""


def replay(run: Callable[[P], object], prompts: Mapping[str, P]) -> Replayed:
    """Calls ``run(prompt)`` for each stored prompt, one after another, as canaries.

    Args:
        run: calls your cascade. It may be the decorated function itself, or a lambda that hands on several
            arguments; a coroutine function is awaited, a stream is read to its end.
        prompts: by identifier; never change which prompt an identifier stands for.

    Returns:
        How many were asked, and which failed: one failure stops nothing.

    Raises:
        RuntimeError: ``run`` is asynchronous and an event loop already runs here.
    """
    failed = {}
    with ExitStack() as opened:
        loop: asyncio.Runner | None = None
        for prompt_id, prompt in prompts.items():
            with canary(prompt_id):
                try:
                    answer = run(prompt)
                    if isinstance(answer, Iterator):
                        for _ in answer:
                            pass
                    if isinstance(answer, Awaitable | AsyncIterator):
                        loop = loop or opened.enter_context(_loop(answer))
                        loop.run(_ended(answer), context=copy_context())
                except _LoopRunsError:
                    raise
                except Exception as error:
                    failed[prompt_id] = f"{type(error).__name__}: {error}"
    return Replayed(len(prompts), failed)


class _LoopRunsError(RuntimeError):
    pass


def _loop(answer: object) -> asyncio.Runner:
    """One loop for all prompts, since clients are bound to theirs; not within another that runs."""
    if not _in_a_loop():
        return asyncio.Runner()
    if isinstance(answer, Coroutine):
        answer.close()
    raise _LoopRunsError(
        "replay() arrived with an asynchronous run inside a running event loop, where it cannot wait; "
        "wanted: for each prompt, with canary(prompt_id): await run(prompt)"
    )


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _ended(answer: object) -> None:
    if isinstance(answer, Awaitable):
        answer = await answer
    if isinstance(answer, AsyncIterator):
        async for _ in answer:
            pass
