"""``with_fallbacks`` and LangGraph graphs: where one runs within no cascade yet, it is one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, nullcontext
from contextvars import copy_context
from types import TracebackType
from typing import Any, Literal, NamedTuple

from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.runnables.config import get_config_list
from opentelemetry.context import get_current

from cascade_otel import cascade
from cascade_otel.adapters._inside import Choice, innermost, through
from cascade_otel.adapters._langchain_alternatives import GUARD, Alternative, model_in
from cascade_otel.adapters._langchain_config import TASK, Mark, mark_of, marked, within
from cascade_otel.instrumentation._calls import current, silent

NAME = "langchain"
MOST_TASKS = 1_000


@functools.lru_cache(MOST_TASKS)
def cascade_of(task: str) -> Any:
    """The cascade of this task."""
    return cascade(NAME, task=task)


def task_of(fallbacks: Any, config: RunnableConfig) -> str:
    """What the user named it: ``cascade_task``, else its run, else itself."""
    said = (config.get("metadata") or {}).get(TASK)
    return str(said or config.get("run_name") or fallbacks.name or NAME)


class Watched(NamedTuple):
    """A ``with_fallbacks`` chain that is to be recorded."""

    chain: Any
    """As the host's, with stand-ins for its alternatives."""
    task: str | None
    """None within a cascade: its alternatives are tiers of that."""


def watched(fallbacks: Any, config: RunnableConfig) -> Watched | None:
    """None for what is to be left alone: in a tier, a judge or an alternative, or where no model is seen."""
    if silent(get_current()):
        return None
    where, mark = innermost(), mark_of(config)
    # one of another cascade is around a cascade of the user's own
    within_one = mark is not None and mark.alternative and (where is None or mark.call is current())
    if where == "tier" or within_one or model_in(fallbacks) is None:
        return None
    chain = fallbacks.model_copy(
        update={
            "runnable": Alternative(fallbacks.runnable),
            "fallbacks": [Alternative(each) for each in fallbacks.fallbacks],
        }
    )
    return Watched(chain, None if where == "cascade" else task_of(fallbacks, config))


def falling_back(original: Callable[..., Any]) -> Callable[..., Any]:
    """``invoke``, ``ainvoke``, ``stream`` or ``astream`` of ``with_fallbacks``."""

    def choose(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        def run(_: Any, /, *args: Any, **kwargs: Any) -> Any:
            return original(chain, *args, **kwargs)

        found = watched(args[0], ensure_config(config_in(args, kwargs)))
        if found is None:
            return original
        chain = found.chain
        decorated: Callable[..., Any] = run if found.task is None else cascade_of(found.task)(run)
        return decorated

    return through_any(original, choose)


def walking(original: Callable[..., Any]) -> Callable[..., Any]:
    """``stream`` or ``astream`` of a graph: a cascade where its config names a task."""

    def choose(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        if innermost() is not None:
            return original
        own, given = args[0].config or {}, ensure_config(config_in(args, kwargs))
        task = {**(own.get("metadata") or {}), **(given.get("metadata") or {})}.get(TASK)
        recorded: Callable[..., Any] = original if task is None else cascade_of(str(task))(original)
        return recorded

    return through_any(original, choose)


def running(original: Callable[..., Any]) -> Callable[..., Any]:
    """``invoke`` or ``ainvoke`` of a function in a chain: in a batch, it runs within its input's cascade."""

    def choose(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        config = config_in(args, kwargs)
        mark = mark_of(config) if config and innermost() is None else None
        return original if mark is None or mark.context is None else within(mark.context, original)

    return through(original, choose)


def config_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The config among the arguments of a method that takes it after self and the input."""
    return args[2] if len(args) > 2 else kwargs.get("config")


def through_any(function: Callable[..., Any], choose: Choice) -> Callable[..., Any]:
    """As ``through``; a generator function stays one too, and chooses at its first step."""

    def chosen(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        with GUARD:
            return choose(args, kwargs)
        return function

    @functools.wraps(function)
    def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
        yield from chosen(args, kwargs)(*args, **kwargs)

    @functools.wraps(function)
    async def astream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async with aclosing(chosen(args, kwargs)(*args, **kwargs)) as chunks:
            async for chunk in chunks:
                yield chunk

    if inspect.isasyncgenfunction(function):
        return astream
    return stream if inspect.isgeneratorfunction(function) else through(function, choose)


class Inputs:
    """A batch's inputs, each a cascade call of its own, and none the current one of this thread."""

    def __init__(self, fallbacks: Any, configs: list[RunnableConfig]) -> None:
        self.configs: list[RunnableConfig] = []
        self.open: list[tuple[Any, Any, Mark]] = []
        for config in configs:
            site, context = cascade_of(task_of(fallbacks, config)), copy_context()
            mark = Mark(context.run(site.__enter__), context.run(get_current), alternative=False)
            self.open.append((site, context, mark))
            self.configs.append(marked(config, mark))

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> Literal[False]:
        for site, context, mark in self.open:
            came_to = mark.error if mark.over else error
            with GUARD:
                context.run(site.__exit__, type(came_to), came_to, None)
        return False


def falling_back_in_batch(original: Callable[..., Any]) -> Callable[..., Any]:
    """``batch`` or ``abatch`` of ``with_fallbacks``: an alternative is still asked for all inputs at once."""

    def choose(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        given, configs = args[1] if len(args) > 1 else kwargs["inputs"], config_in(args, kwargs)
        found = watched(args[0], ensure_config(configs[0] if isinstance(configs, list) else configs))
        if found is None or not given:
            return original
        chain, calls = found.chain, None
        if found.task is not None:
            calls = Inputs(args[0], get_config_list(configs, len(given)))
            configs = calls.configs

        def run(_: Any, inputs: Any, config: Any = None, **kwargs: Any) -> Any:
            with calls or nullcontext():
                return original(chain, inputs, configs, **kwargs)

        async def run_async(_: Any, inputs: Any, config: Any = None, **kwargs: Any) -> Any:
            with calls or nullcontext():
                return await original(chain, inputs, configs, **kwargs)

        return run_async if inspect.iscoroutinefunction(original) else run

    return through(original, choose)
