"""Microseconds of CPU of single pieces of the recording, each the least over rounds.

Our own share of a call is what is left with a tracer and histograms that keep nothing. Clients' results are
left out where the package is absent. Run: ``python benchmarks/pieces.py [--quick]``.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import timeit
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from importlib import import_module
from inspect import isasyncgenfunction
from typing import Any

import overhead
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, NoOpTracer

from cascade_otel import tier
from cascade_otel.instrumentation import _calls, _instruments, _prices, _usage
from cascade_otel.instrumentation._counters import Histogram

CALLS, ROUNDS, CHUNKS = (100, 50, 300) if "--quick" in sys.argv else (200, 500, 1000)
MODEL, CACHED, TOTAL = "gpt-4o-mini-2024-07-18", {"cached_tokens": 100}, {"total_tokens": 219}
COUNTS = {"prompt_tokens": 212, "completion_tokens": 7, "prompt_tokens_details": CACHED, **TOTAL}
IN_OUT = {"input_tokens": 212, "output_tokens": 7, "input_token_details": {"cache_read": 100}, **TOTAL}
OPENAIS: Any = {"id": "", "created": 1, "object": "chat.completion", "choices": []}
OPENAIS |= {"model": MODEL, "usage": COUNTS}
LANGCHAINS = {"content": "", "usage_metadata": IN_OUT, "response_metadata": {"model_name": MODEL}}
RESULTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a str": ("builtins", "str", {}),
    "an object without usage": ("asyncio", "Event", {}),
    "OpenAI's, as a dict": ("builtins", "dict", OPENAIS),
    "OpenAI's": ("openai.types.chat", "ChatCompletion", OPENAIS),
    "LangChain's": ("langchain_core.messages", "AIMessage", LANGCHAINS),
    "LiteLLM's": ("litellm", "ModelResponse", OPENAIS),
    "pydantic-ai's": ("pydantic_ai", "ModelResponse", {"parts": [], "model_name": MODEL}),
}
LOADING = "import time; start = time.process_time(); import genai_prices as g; "
LOADING += "g.calc_price(g.Usage(), 'gpt-4o', provider_id='openai'); print(time.process_time() - start)"


class Unkept(NonRecordingSpan):
    def is_recording(self) -> bool:
        return True


class Stub(NoOpTracer):
    def start_span(self, *_: Any, **__: Any) -> Unkept:
        return Unkept(INVALID_SPAN_CONTEXT)


def least(run: Callable[[], object], count: int) -> float:
    """Microseconds for each of the ``count`` things that one run does."""
    return min(timeit.repeat(run, number=1, repeat=ROUNDS, timer=time.process_time)) / count * 1e6


def call(function: Callable[[Any], object], argument: Any = 0) -> float:
    return least(lambda: [function(argument) for _ in range(CALLS)], CALLS)


def stream() -> Iterator[int]:
    yield from range(CHUNKS)


async def stream_async() -> AsyncIterator[int]:
    for i in range(CHUNKS):
        yield i


def chunk(stream: Any) -> float:
    async def read() -> list[int]:
        return [each async for each in stream()]

    return least(lambda: asyncio.run(read()) if isasyncgenfunction(stream) else list(stream()), CHUNKS)


def pieces() -> Iterator[tuple[str, float]]:
    for name, (module, kind, said) in RESULTS.items():
        with suppress(ImportError):
            result = getattr(import_module(module), kind)(**said)
            yield f"usage and model of a result: {name}", call(_usage.found, result)
    if _prices._library is not None:
        found = _usage.Found(212, 7, MODEL, 100)
        yield "a price, by genai-prices", call(lambda found: _prices.price(None, "openai", found), found)
    for each, name in ((stream, "a stream"), (stream_async, "an async stream")):
        yield f"a chunk of {name}", chunk(tier("x")(each)) - chunk(each)
    for shape, name in (("tier", "a tier"), ("one", "a cascade of one"), ("two", "a cascade of two")):
        yield f"our own share of {name}", call(overhead.decorated(shape, "sync"))


if __name__ == "__main__":
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else LiteLLM downloads prices as it is imported
    _prices.begin_loading()
    _prices.wait_until_loaded()
    _calls.wake()
    _instruments.tracer = Stub()
    for each in Histogram.all:
        each.record = lambda *_: None
    print("| piece | CPU, µs |\n|---|---|")
    for name, took in pieces():
        print(f"| {name} | {took:.1f} |", flush=True)
    if _prices._library is not None:
        loads = [float(subprocess.check_output([sys.executable, "-c", LOADING])) for _ in range(3)]
        print(f"\nloading genai-prices, in a thread of its own: {min(loads):.2f} s")
