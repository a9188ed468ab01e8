"""Chat models called within a cascade: each call is a call of a tier."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, closing, nullcontext
from typing import Any, NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, ensure_config
from opentelemetry.context import Context

from cascade_otel import tier
from cascade_otel.adapters._inside import Marked, heard, innermost, through
from cascade_otel.adapters._langchain_config import TIER, mark_of, within
from cascade_otel.instrumentation._calls import COVERED, current
from cascade_otel.instrumentation._guard import Guard
from cascade_otel.instrumentation._scorer import judging
from cascade_otel.instrumentation._tier_call import OpenTier

MOST_TIERS = 1_000
PROVIDERS = {
    "amazon_bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "ibm": "ibm.watsonx.ai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
"""OpenTelemetry's names of providers, where LangChain's own are others."""


def name_of(model: Runnable[Any, Any], /, **kwargs: Any) -> tuple[str, str | None]:
    """A chat model's name (else that of its class), and its provider where its class tells."""
    if not isinstance(model, BaseChatModel):  # it becomes one when it is called
        return model.get_name(), None
    params = model._get_ls_params(**kwargs)  # what LangChain itself tells its tracers; no public name
    provider = params.get("ls_provider") if _tells(type(model)) else None
    name = params.get("ls_model_name")
    named = name if isinstance(name, str) and name else model.get_name()
    return named, PROVIDERS.get(provider, provider) if isinstance(provider, str) else None


def _tells(kind: type[BaseChatModel]) -> bool:
    """Whether a model's class names its provider; the fallback makes one up from the class's name."""
    return kind._get_ls_params is not BaseChatModel._get_ls_params


class Place(NamedTuple):
    """The tier that a call belongs to, and the context of its cascade where that is not the current one."""

    site: tier
    context: Context | None


class ChatModels:
    """Wraps the methods of ``BaseChatModel``. ``confidence`` and ``thresholds`` as of the instrumentor."""

    def __init__(self, confidence: Callable[[Any], Any] | None, thresholds: dict[str, float]) -> None:
        self.confidence, self.thresholds = confidence, thresholds
        self.site = functools.lru_cache(MOST_TIERS)(self.new_site)
        self.guard = Guard("callable", "LangChain's chat models")

    def new_site(self, name: str, model: str, provider: str | None) -> tier:
        """The tier of this name, model and provider."""
        threshold = self.thresholds.get(name)
        return tier(name, model=model, provider=provider, threshold=threshold, confidence=self.confidence)

    def place(self, model: Any, given: Any = None, config: Any = None, /, **kwargs: Any) -> Place | None:
        """The tier that a call belongs to, and where; None where it is to be left alone."""
        where, context = innermost(), None
        if where == "tier":
            return None
        config = ensure_config(kwargs.pop("config", config))
        mark = mark_of(config)
        if where is None:
            if mark is None or mark.context is None:
                return None
            context = mark.context  # a batch's input, in a thread that it shares with others
        elif mark is not None and mark.call is not current():
            mark = None  # a cascade of the user's own within an alternative
        said = {**(model.metadata or {}), **(config.get("metadata") or {})}
        if TIER in said and said[TIER] is None:
            return None
        named, provider = name_of(model, **kwargs)
        name = said.get(TIER) or (mark and mark.tier) or named
        name = name if isinstance(name, str) else str(name)
        if mark is not None:
            mark.tier = mark.tier or name
        return Place(self.site(name, named, provider), context)

    def answering(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """``invoke`` or ``ainvoke``, each call of it in a cascade a tier's."""

        def choose(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
            place, around = self.place(*args, **kwargs), around_it()
            if place is None:
                return original if around is None else heard(original, OpenTier.hear)
            recorded = place.site(original)
            return recorded if place.context is None else within(place.context, recorded)

        return through(original, choose)

    def streaming(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """``stream``, each of them in a cascade a tier's call, which ends when it does."""

        @functools.wraps(original)
        def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
            site, around = self.site_here(args, kwargs), around_it()
            if site is None and around is None:
                yield from original(*args, **kwargs)
                return
            answer = Answer(around)

            def told() -> Generator[Any, None, None]:
                for chunk in answer.steps(original(*args, **kwargs)):
                    answer.chunks.append(chunk)
                    yield chunk
                yield answer.message()

            with closing((told if site is None else site(told))()) as chunks:
                for chunk in chunks:
                    if not answer.complete:
                        yield chunk

        return stream

    def streaming_async(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """``astream``, as ``stream``."""

        @functools.wraps(original)
        async def astream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            site, around = self.site_here(args, kwargs), around_it()
            if site is None and around is None:
                async with aclosing(original(*args, **kwargs)) as stream:
                    async for chunk in stream:
                        yield chunk
                return
            answer = Answer(around)

            async def told() -> AsyncGenerator[Any, None]:
                async with aclosing(answer.async_steps(original(*args, **kwargs))) as stream:
                    async for chunk in stream:
                        answer.chunks.append(chunk)
                        yield chunk
                yield answer.message()

            async with aclosing((told if site is None else site(told))()) as chunks:
                async for chunk in chunks:
                    if not answer.complete:
                        yield chunk

        return astream

    def site_here(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tier | None:
        """The tier that a stream belongs to; None where it is to be left alone."""
        with self.guard:
            place = self.place(*args, **kwargs)
            return None if place is None or place.context is not None else place.site
        return None


class Answer:
    """A streamed answer. The tier's result is its last item, so that gets to be the whole message."""

    def __init__(self, around: OpenTier | None) -> None:
        self.around = around
        """The user's tier that it belongs to, where it is none itself."""
        self.chunks: list[Any] = []
        self.complete = False

    def message(self) -> Any:
        """All chunks in one, with the usage that any of them told; the host does not see it."""
        self.complete = True
        with Guard("value", "a streamed answer"):
            whole = self.chunks[0] + self.chunks[1:] if len(self.chunks) > 1 else self.chunks[0]
            if self.around is not None:
                self.around.hear(whole)
            return whole
        return None

    def steps(self, stream: Generator[Any, None, None]) -> Generator[Any, None, None]:
        """The stream; where a tier around it is told of the whole, it is told of nothing within."""
        with closing(stream):
            while True:
                with nullcontext() if self.around is None else Marked(COVERED, True):
                    try:
                        chunk = next(stream)
                    except StopIteration:
                        return
                yield chunk

    async def async_steps(self, stream: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        """As ``steps``."""
        async with aclosing(stream):
            while True:
                with nullcontext() if self.around is None else Marked(COVERED, True):
                    try:
                        chunk = await anext(stream)
                    except StopAsyncIteration:
                        return
                yield chunk


def around_it() -> OpenTier | None:
    """The tier of the user's, within which a model call is told of and not recorded."""
    call = current()
    return call if isinstance(call, OpenTier) and not judging() else None
