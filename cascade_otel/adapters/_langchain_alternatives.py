"""The alternatives of ``with_fallbacks``: the model calls of each are one tier, or it is one itself."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from itertools import islice
from time import perf_counter_ns, time_ns
from types import TracebackType
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, ensure_config
from langchain_core.runnables.config import get_config_list
from opentelemetry.context import get_current

from cascade_otel import tier
from cascade_otel.adapters._langchain_config import TIER, Mark, mark_of, marked
from cascade_otel.adapters._langchain_models import MOST_TIERS, name_of
from cascade_otel.instrumentation._calls import NO_RESULT, current
from cascade_otel.instrumentation._cascade_call import OpenCascade
from cascade_otel.instrumentation._guard import Guard
from cascade_otel.instrumentation._tier_call import OpenTier

GUARD = Guard("callable", "LangChain's with_fallbacks")
DEEPEST, WIDEST = 8, 64
"""How far down a chain's parts, and among how many in a list, a chat model is looked for."""


def model_in(chain: Any) -> Any:
    """The first chat model among a chain's parts, or what may become one; None where none is seen."""
    found = _model_in(chain, functions=False)
    # what a function refers to is told by its source, which takes long to read
    return _model_in(chain, functions=True) if found is None else found


def _model_in(part: Any, functions: bool, depth: int = 0) -> Any:
    if isinstance(part, BaseChatModel):
        return part
    parts: Iterable[Any] = ()
    if isinstance(part, RunnableLambda):
        parts = part.deps if functions else ()
    elif isinstance(part, Runnable):
        parts = getattr(part, "__dict__", {}).values()
    elif isinstance(part, (list, tuple)):
        parts = part
    elif isinstance(part, Mapping):
        parts = part.values()
    if depth < DEEPEST:
        for each in islice(parts, WIDEST):  # a retriever may hold a million documents
            found = _model_in(each, functions, depth + 1)
            if found is not None:
                return found
    # as init_chat_model gives where the model is chosen by each call's config
    return part if isinstance(part, Runnable) and hasattr(part, "bind_tools") else None


class Attempt:
    """One alternative's turn at one input: ``with Attempt(...) as config`` calls it with that config."""

    def __init__(self, alternative: Any, config: RunnableConfig | None) -> None:
        self.alternative, self.config = alternative, config
        self.mark: Mark | None = None
        self.batched: Mark | None = None
        with GUARD:
            self.begin(ensure_config(config))

    def begin(self, config: RunnableConfig) -> None:
        """Leaves a mark for the model calls within."""
        outer = mark_of(config)
        self.batched = outer if outer is not None and not outer.alternative else None
        call = current() if self.batched is None else self.batched.call
        if not isinstance(call, OpenCascade):
            return
        self.began = time_ns(), perf_counter_ns()
        self.cascade, self.before = call, standing(call)
        self.mark = Mark(call, None if self.batched is None else self.batched.context)
        self.config = marked(config, self.mark)

    def __enter__(self) -> RunnableConfig | None:
        return self.config

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> Literal[False]:
        self.over(error)
        return False

    def over(self, error: BaseException | None) -> None:
        """The alternative has answered, or failed, or its answer was turned down."""
        if self.batched is not None:
            self.batched.over, self.batched.error = True, error
        if self.mark is None or (error is not None and not isinstance(error, Exception)):
            return
        with GUARD:
            if standing(self.cascade) == self.before:
                self.record(self.mark, error)
            elif error is not None and getattr(error, "confidence", None) is not None:
                turn_down(self.cascade, self.mark.tier, error)

    def record(self, mark: Mark, error: Exception | None) -> None:
        """It called no tier: it is one itself, a rule that answered, or a model that was not reached."""
        bound = getattr(self.alternative, "config", None) or {}
        said = {**((self.config or {}).get("metadata") or {}), **(bound.get("metadata") or {})}
        if TIER in said and said[TIER] is None:
            return
        model = None if error is None else model_in(self.alternative)
        named, provider = (None, None) if model is None else name_of(model)
        site = _site(
            str(said.get(TIER) or named or self.alternative.get_name()),
            named,
            provider,
            getattr(error, "confidence", None) is not None,
        )
        call = OpenTier(site, mark.context or get_current())
        call.wall, call.clock = self.began
        site.prepare(call, (), {})
        call.finish(error, NO_RESULT)


@functools.lru_cache(MOST_TIERS)
def _site(name: str, model: str | None, provider: str | None, turned_down: bool) -> tier:
    kind: Literal["rule", "model"] = "rule" if model is None else "model"
    return tier(name, model=model, provider=provider, kind=kind, rejections=Exception if turned_down else ())


def standing(call: OpenCascade) -> list[OpenTier | None]:
    """What stands for each visit so far: it differs once another tier's call has ended."""
    return [visit.stands for visit in list(call.visits.by_tier.values())]


def turn_down(call: OpenCascade, name: str | None, error: Exception) -> None:
    """The model had answered, and what came after it raised: the answer was not good enough."""
    visit = call.visits.by_tier.get(name or call.visits.last or "")
    answer = None if visit is None else visit.stands
    if answer is None or answer.outcome != "accepted":
        return  # the model itself failed
    answer.outcome = "exhausted"
    answer.confidence, answer.source = getattr(error, "confidence", None), "result"
    threshold = getattr(error, "threshold", None)
    if threshold is not None:
        answer.threshold = threshold


class Alternative:
    """Stands in for one alternative while the host's ``with_fallbacks`` runs: calls it, and tells of it."""

    def __init__(self, alternative: Any) -> None:
        self.alternative = alternative

    def __getattr__(self, name: str) -> Any:
        return getattr(self.alternative, name)

    def invoke(self, given: Any, /, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As the alternative's."""
        with Attempt(self.alternative, config) as config:
            return self.alternative.invoke(given, config, **kwargs)

    async def ainvoke(self, given: Any, /, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As the alternative's."""
        with Attempt(self.alternative, config) as config:
            return await self.alternative.ainvoke(given, config, **kwargs)

    def stream(self, given: Any, /, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        """As the alternative's."""
        with Attempt(self.alternative, config) as config:
            yield from self.alternative.stream(given, config, **kwargs)

    async def astream(
        self, given: Any, /, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """As the alternative's."""
        with Attempt(self.alternative, config) as config:
            chunks = self.alternative.astream(given, config, **kwargs)
            try:
                async for chunk in chunks:
                    yield chunk
            finally:
                if hasattr(chunks, "aclose"):  # a runnable of the host's need not have it
                    await chunks.aclose()

    def batch(self, given: list[Any], /, config: Any = None, **kwargs: Any) -> list[Any]:
        """As the alternative's: one call of its own batch."""
        attempts = [Attempt(self.alternative, each) for each in get_config_list(config, len(given))]
        outputs: list[Any] = self.alternative.batch(given, [each.config for each in attempts], **kwargs)
        return _told(attempts, outputs)

    async def abatch(self, given: list[Any], /, config: Any = None, **kwargs: Any) -> list[Any]:
        """As the alternative's: one call of its own batch."""
        attempts = [Attempt(self.alternative, each) for each in get_config_list(config, len(given))]
        outputs: list[Any] = await self.alternative.abatch(
            given, [each.config for each in attempts], **kwargs
        )
        return _told(attempts, outputs)


def _told(attempts: list[Attempt], outputs: list[Any]) -> list[Any]:
    for attempt, output in zip(attempts, outputs, strict=False):
        attempt.over(output if isinstance(output, BaseException) else None)
    return outputs
