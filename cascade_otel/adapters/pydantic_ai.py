"""pydantic-ai: a ``FallbackModel`` is a cascade, and each model that it asks is a tier."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

from opentelemetry.trace import get_current_span

from cascade_otel import annotate, cascade, semconv, tier
from cascade_otel.adapters._inside import heard, innermost, through
from cascade_otel.adapters._instrumentor import CascadeInstrumentor
from cascade_otel.adapters._patches import Patches
from cascade_otel.instrumentation._calls import SECOND, current
from cascade_otel.instrumentation._cascade_call import OpenCascade
from cascade_otel.instrumentation._guard import Guard
from cascade_otel.instrumentation._tier_call import OpenTier
from cascade_otel.instrumentation._values import attribute

NAME = "FallbackModel"
MOST_PREPARED = 1_000
Asked: TypeAlias = Callable[..., Any]
Rejections: TypeAlias = "type[Exception] | tuple[type[Exception], ...]"


class PydanticAIInstrumentor(CascadeInstrumentor):
    """Records each request to a ``FallbackModel`` as a cascade, the models it asks as its tiers.

    Within a ``@cascade`` of yours, with a ``FallbackModel`` or without, the models asked are that one's
    tiers; within a ``@tier`` of yours they are that tier's. A tier is named after its model.

    Options of ``instrument``: ``task``, a string or a callable of the request's arguments (the
    ``FallbackModel``, the messages, ...), by default the agent's name; ``confidence`` reads a score (0 to 1)
    from a ``ModelResponse``: an attribute's name or a callable; ``threshold`` (a number) is what your gate
    compares it with, for every model of a ``FallbackModel`` but the last; ``rejections``, the exceptions by
    which a model of your own turns its answer down.
    """

    package = "pydantic-ai-slim >= 2.0"
    module = "pydantic_ai"

    def patch(
        self,
        patches: Patches,
        *,
        task: str | Callable[..., str] | None = None,
        confidence: str | Callable[[Any], Any] | None = None,
        threshold: float | None = None,
        rejections: Rejections = (),
        **_: Any,
    ) -> None:
        """Replaces the requests of ``FallbackModel`` and of every model class there is and will be."""
        from pydantic_ai._run_context import get_current_run_context
        from pydantic_ai.models import Model
        from pydantic_ai.models.fallback import FallbackModel
        from pydantic_ai.models.wrapper import WrapperModel

        def agent_or_chain(model: Any, *_: Any, **__: Any) -> str:
            run = get_current_run_context()
            name = None if run is None or run.agent is None else run.agent.name
            return name or str(model.model_name)

        site = cascade(NAME, task=agent_or_chain if task is None else task)
        tiers = Tiers(confidence, threshold, rejections)

        def watch(kind: type) -> None:
            if issubclass(kind, FallbackModel):
                return  # what it asks are the tiers
            if issubclass(kind, WrapperModel):
                if "request" in vars(kind):
                    patches.wrap(kind, "request", tiers.gated)
                return
            if "request" in vars(kind):
                patches.wrap(kind, "request", tiers.request)
            if "request_stream" in vars(kind):
                patches.wrap(kind, "request_stream", tiers.request_stream)

        def watching(begun: Any) -> Any:
            def init_subclass(cls: type, /, **options: Any) -> None:
                begun.__func__(cls, **options)
                watch(cls)

            return classmethod(init_subclass)

        models_of = functools.partial(answering, FallbackModel, WrapperModel)
        patches.wrap(FallbackModel, "request", lambda asked: asking(asked, site, models_of))
        patches.wrap(FallbackModel, "request_stream", lambda asked: streaming(asked, site, models_of))
        for kind in subclasses(Model):
            watch(kind)
        patches.wrap(Model, "__init_subclass__", watching)


class Chain(NamedTuple):
    """The models of a ``FallbackModel`` that is being asked."""

    names: dict[int, str]
    """Of the models that answer, by their ``id``: what their tiers are called."""
    last: int
    instrumented: bool | None
    """Whether pydantic-ai's own instrumentation has made the ``gen_ai`` span, around it all."""


chain: ContextVar[Chain | None] = ContextVar("cascade_otel.pydantic_ai.chain", default=None)


def subclasses(kind: type) -> list[type]:
    """All classes below this one."""
    below: list[type] = kind.__subclasses__()
    return below + [each for child in below for each in subclasses(child)]


def answering(fallback: type, wrapper: type, model: Any) -> list[Any]:
    """The models that answer for this one, in order: those of a ``FallbackModel``, the one in a wrapper."""
    if isinstance(model, fallback):
        models: list[Any] = vars(model)["models"]
        return [each for one in models for each in answering(fallback, wrapper, one)]
    return answering(fallback, wrapper, vars(model)["wrapped"]) if isinstance(model, wrapper) else [model]


def chained(models: list[Any]) -> Chain:
    """Names the tiers: by model, and where two of them are of one model, by their place too."""
    times = Counter(model.model_name for model in models)
    names = {
        id(model): model.model_name if times[model.model_name] == 1 else f"{model.model_name} #{place}"
        for place, model in enumerate(models, 1)
    }
    return Chain(names, id(models[-1]), own_instrumentation())


def own_instrumentation() -> bool | None:
    """Whether the span of this very request is there already; None: look for a client's."""
    attributes = getattr(get_current_span(), "attributes", None) or {}
    return True if attributes.get(semconv.OPERATION_NAME) == "chat" else None


def asking(asked: Asked, site: Any, models_of: Callable[[Any], list[Any]]) -> Asked:
    """``FallbackModel.request``, recorded."""

    async def in_chain(here: Chain, *args: Any, **kwargs: Any) -> Any:
        token = chain.set(here)
        try:
            return await asked(*args, **kwargs)
        finally:
            chain.reset(token)

    def choose(args: tuple[Any, ...], _: dict[str, Any]) -> Asked:
        inside = innermost()
        if inside == "tier":
            return asked
        with_chain = functools.partial(in_chain, chain.get() or chained(models_of(args[0])))
        return with_chain if inside == "cascade" else site(with_chain)

    return through(asked, choose)


def streaming(asked: Asked, site: Any, models_of: Callable[[Any], list[Any]]) -> Asked:
    """``FallbackModel.request_stream``, recorded until its stream ends."""

    async def in_chain(here: Chain, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            token = chain.set(here)
            try:
                response = await stack.enter_async_context(asked(*args, **kwargs))
            finally:
                chain.reset(token)
            yield response
            end_stream(response)

    def choose(args: tuple[Any, ...], _: dict[str, Any]) -> Asked:
        inside = innermost()
        if inside == "tier":
            return asked
        with_chain = functools.partial(in_chain, chain.get() or chained(models_of(args[0])))
        return asynccontextmanager(with_chain if inside == "cascade" else site(with_chain))

    return through(asked, choose)


class TurnedDown(Exception):  # noqa: N818 (it is an answer's fate, not an error)
    """A model of the user's own has raised after the model that it builds on had answered."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    @property
    def confidence(self) -> Any:
        """The score that the exception carries, if any."""
        return getattr(self.error, "confidence", None)


class Tiers:
    """What models are asked, each as a tier of the cascade that is open."""

    def __init__(
        self,
        confidence: str | Callable[[Any], Any] | None,
        threshold: float | None,
        rejections: Rejections,
    ) -> None:
        kinds = rejections if isinstance(rejections, tuple) else (rejections,)
        self.confidence = None if confidence is None else of_whole(confidence)
        self.threshold, self.rejections = threshold, (*kinds, TurnedDown)
        self.prepared = functools.lru_cache(MOST_PREPARED)(self.prepare)

    def prepare(
        self, name: str, model: str, provider: str, compared: bool, instrumented: bool | None
    ) -> tier:
        """The tier of one model."""
        return tier(
            name,
            model=model,
            provider=provider,
            confidence=self.confidence,
            threshold=self.threshold if compared else None,
            rejections=self.rejections,
            instrumented=instrumented,
        )

    def site(self, model: Any) -> tier | None:
        """The tier that this model is here; None where it is no tier."""
        if innermost() != "cascade":
            return None
        here, name, compared, instrumented = chain.get(), model.model_name, False, own_instrumentation()
        if here is not None:
            if id(model) not in here.names:
                return None  # asked by a response handler: it judges
            name, compared = here.names[id(model)], id(model) != here.last
            instrumented = instrumented or here.instrumented
        return self.prepared(name, model.model_name, model.system, compared, instrumented)

    def request(self, asked: Asked) -> Asked:
        """``request`` of a model class, recorded."""

        async def answer(*args: Any, **kwargs: Any) -> Any:
            try:
                return await asked(*args, **kwargs)
            except Exception as error:
                call = current()
                if not isinstance(call, OpenTier) or not call.heard:
                    raise
                raise TurnedDown(error) from error

        def choose(args: tuple[Any, ...], _: dict[str, Any]) -> Asked:
            if innermost() == "tier":
                return heard(asked, OpenTier.hear)
            site = self.site(args[0])
            return asked if site is None else functools.partial(with_own_errors, site(answer))

        return through(asked, choose)

    def gated(self, asked: Asked) -> Asked:
        """``request`` of a class that wraps models: where it raises after the answer, it is a gate."""

        @functools.wraps(asked)
        async def request(*args: Any, **kwargs: Any) -> Any:
            try:
                return await asked(*args, **kwargs)
            except Exception as error:
                with Guard("callable", type(args[0])):
                    self.note(error)
                raise

        return request

    def note(self, error: Exception) -> None:
        """What the gate's exception tells of the answer before it."""
        call = current()
        if not isinstance(call, OpenCascade) or call.visits.last is None:
            return
        confidence = getattr(error, "confidence", None)
        if confidence is not None:
            annotate(confidence=confidence)
        if isinstance(error, self.rejections):
            call.visit(call.visits.last).reason = "low_confidence"

    def request_stream(self, asked: Asked) -> Asked:
        """``request_stream`` of a model class, recorded until its stream ends."""

        async def answer(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            async with asked(*args, **kwargs) as response:
                yield response
                end_stream(response)

        async def within(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            async with asked(*args, **kwargs) as response:
                yield response
                call = current()
                if isinstance(call, OpenTier):
                    call.hear(response)

        def choose(args: tuple[Any, ...], _: dict[str, Any]) -> Asked:
            if innermost() == "tier":
                return asynccontextmanager(within)
            site = self.site(args[0])
            return asked if site is None else asynccontextmanager(site(answer))

        return through(asked, choose)


async def with_own_errors(asked: Asked, *args: Any, **kwargs: Any) -> Any:
    """The answer, or what the user's code has raised, unchanged."""
    try:
        return await asked(*args, **kwargs)
    except TurnedDown as turned:
        error = turned.error
    raise error  # not within ``except``, which would leave its mark on it


def end_stream(response: Any) -> None:
    """Says of the open call when its first chunk came (the stream was there before), and how it ended."""
    call = current()
    if not isinstance(call, OpenTier) and (call is None or call.site.name != NAME):
        return  # a cascade of the user's own goes on
    with Guard("value", "request_stream"):
        if response.get().state == "interrupted":
            call.outcome = "abandoned"
        waited = response.time_to_first_chunk(call.clock / SECOND)
        call.first_chunk = None if waited is None else round(waited * SECOND)


def of_whole(confidence: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same, of a stream too: there, of all that has come."""
    ask = attribute(confidence) if isinstance(confidence, str) else confidence
    return lambda answer: ask(answer if hasattr(answer, "parts") else answer.get())
