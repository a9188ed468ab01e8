"""DSPy: within a cascade, each call of a language model is a tier; a module may be declared a cascade."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opentelemetry.context import attach, detach, get_current

from cascade_otel import cascade, semconv, tier
from cascade_otel.adapters._inside import heard, innermost, through
from cascade_otel.adapters._instrumentor import CascadeInstrumentor
from cascade_otel.adapters._patches import Patches
from cascade_otel.instrumentation._guard import Guard
from cascade_otel.instrumentation._tier_call import OpenTier
from cascade_otel.instrumentation._usage import Found, counted

MOST_PREPARED = 1_000
NATIVE = ("auto", "lm15")
RECKONED = semconv.COST_SOURCES[1]  # DSPy's own estimate is made of LiteLLM's prices


class DSPyInstrumentor(CascadeInstrumentor):
    """Records the calls of language models (``dspy.LM``, any ``BaseLM``) within cascades, as their tiers.

    A tier is named after the model. Within a ``@tier`` of yours, tokens and costs of the calls are that
    tier's. ``dspy.Parallel`` carries an open cascade into its threads.

    Options of ``instrument``: ``cascades``, module classes of which each call is a cascade; their ``task``,
    a string or a callable of the module and its inputs, by default the class's name; their
    ``from_result(prediction, call)``, as of ``cascade``.
    """

    package = "dspy >= 3.4"
    module = "dspy"

    def patch(
        self,
        patches: Patches,
        *,
        cascades: Iterable[type] = (),
        task: str | Callable[..., str] | None = None,
        from_result: Callable[[Any, Any], object] | None = None,
        **_: Any,
    ) -> None:
        """Replaces the calls of ``BaseLM``, where it accounts for them, and the modules that are cascades."""
        from dspy import BaseLM, Module
        from dspy.clients import execution
        from dspy.utils.parallelizer import ParallelExecutor

        tier_of = functools.lru_cache(MOST_PREPARED)(model_tier)
        patches.wrap(BaseLM, "__call__", lambda asked: asking(asked, tier_of))
        patches.wrap(BaseLM, "acall", lambda asked: asking(asked, tier_of))
        patches.wrap(execution, "finalize", noting)
        patches.wrap(ParallelExecutor, "execute", carrying)
        for kind in cascades:
            if not issubclass(kind, Module):
                raise TypeError(f"{kind!r} arrived among cascades=, where classes of dspy.Module are wanted")
            for method in ("forward", "aforward"):
                if hasattr(kind, method):
                    patches.wrap(kind, method, cascade(kind.__name__, task=task, from_result=from_result))


def model_tier(model: str, engine: str | None) -> tier:
    """The tier of a model: ``provider/name``, as DSPy writes it, or only its name.

    DSPy's native engines ask by themselves: no client's instrumentation makes the ``gen_ai`` span for them.
    """
    provider, _, name = model.partition("/")
    instrumented = False if engine in NATIVE else None
    if not name:
        return tier(model, model=model, instrumented=instrumented)
    return tier(model, model=name, provider=provider, instrumented=instrumented)


accounts: ContextVar[list[Any] | None] = ContextVar("cascade_otel.dspy.accounts", default=None)
"""What DSPy accounts of the call that is open: the results that it keeps tokens and cost in."""


@contextmanager
def accounted() -> Iterator[list[Any]]:
    """Collects what DSPy accounts of a call."""
    seen: list[Any] = []
    token = accounts.set(seen)
    try:
        yield seen
    finally:
        accounts.reset(token)


def noting(finalize: Callable[..., Any]) -> Callable[..., Any]:
    """Where DSPy accounts for a call, what it accounts is noted."""

    @functools.wraps(finalize)
    def note(lm: Any, call: Any, result: Any) -> Any:
        seen = accounts.get()
        if seen is not None:
            seen.append(result)
        return finalize(lm, call, result)

    return note


def asking(asked: Callable[..., Any], tier_of: Callable[[str, str | None], tier]) -> Callable[..., Any]:
    """A model's call, recorded: as a tier of the open cascade, or for the tier that is open."""

    def telling(lm: Any, *args: Any, **kwargs: Any) -> Any:
        with accounted() as seen:
            return heard(asked, functools.partial(tell, seen))(lm, *args, **kwargs)

    async def telling_async(lm: Any, *args: Any, **kwargs: Any) -> Any:
        with accounted() as seen:
            return await heard(asked, functools.partial(tell, seen))(lm, *args, **kwargs)

    told = telling_async if inspect.iscoroutinefunction(asked) else telling

    def choose(args: tuple[Any, ...], _: dict[str, Any]) -> Callable[..., Any]:
        inside = innermost()
        if inside is None or accounts.get() is not None:  # a model that asks another one: its own call
            return asked
        if inside == "tier":
            return told
        engine = getattr(args[0], "engine", None)
        return tier_of(args[0].model, engine if isinstance(engine, str) else None)(told)

    return through(asked, choose)


def tell(seen: list[Any], call: OpenTier, _: Any) -> None:
    """Tells the open tier tokens, model and cost of a call.

    The cost is DSPy's own reckoning. An answer from its cache has taken neither tokens nor money, though it
    keeps the cost that it once had.
    """
    with Guard("value", "dspy"):
        if seen:
            result = seen[-1]
            model = result.response_model and result.response_model.removeprefix(
                f"{call.site.kind.provider}/"
            )
            if result.cache_hit:
                call.hear(Found(0, 0, model, cost=0.0, cost_source=RECKONED))
            else:
                source = None if result.cost is None else RECKONED
                call.hear(counted(result.usage, model)._replace(cost=result.cost, cost_source=source))


def carrying(execute: Callable[..., Any]) -> Callable[..., Any]:
    """DSPy's thread pool, the open cascade carried into its threads."""

    @functools.wraps(execute)
    def run(executor: Any, function: Callable[..., Any], data: Any) -> Any:
        context = get_current()

        def carried(item: Any) -> Any:
            token = attach(context)
            try:
                return function(item)
            finally:
                detach(token)

        return execute(executor, function if innermost() is None else carried, data)

    return run
