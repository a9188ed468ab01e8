"""What is read in the config of a LangChain call, and left there for the calls within."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from opentelemetry.context import Context

from cascade_otel.instrumentation._calls import OpenCall, Within

TIER, TASK = "cascade_tier", "cascade_task"
"""What we read in a config's ``metadata``."""


class Mark(BaseCallbackHandler):
    """Rides in the callbacks of an alternative's config, where the model calls within find it. Hears nothing.

    There, since the config alone is kept apart for each input of a batch: inputs share threads and context.
    """

    tier: str | None = None  # the alternative's, once a model was called in it
    over = False  # whether an alternative has ended, for a batch's input
    error: BaseException | None = None  # and how

    def __init__(self, call: OpenCall, context: Context | None = None, alternative: bool = True) -> None:
        self.call = call
        """The open cascade."""
        self.context = context
        """Where it is the current one, for a batch's input."""
        self.alternative = alternative
        """Of an alternative, else of a batch's input."""

    def _ignored(self) -> bool:
        return True

    ignore_llm = ignore_chat_model = ignore_chain = ignore_retry = property(_ignored)
    ignore_agent = ignore_retriever = ignore_custom_event = property(_ignored)


def mark_of(config: RunnableConfig) -> Mark | None:
    """The innermost mark in a config's callbacks."""
    callbacks = config.get("callbacks")
    handlers = callbacks if isinstance(callbacks, list) else getattr(callbacks, "inheritable_handlers", ())
    return next((each for each in reversed(handlers) if isinstance(each, Mark)), None)


def marked(config: RunnableConfig, mark: Mark) -> RunnableConfig:
    """The config, as ``ensure_config`` has made it (it copies callbacks), with the mark among its callbacks.

    Not by LangChain's merging of configs, which would sort the host's tags.
    """
    callbacks = config.get("callbacks")
    if callbacks is None or isinstance(callbacks, list):
        return {**config, "callbacks": [*(callbacks or ()), mark]}
    callbacks.add_handler(mark, inherit=True)
    return config


def within(context: Context, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, called where another context is the current one; a coroutine function stays one."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with Within(context):
            return function(*args, **kwargs)

    async def call_async(*args: Any, **kwargs: Any) -> Any:
        with Within(context):
            return await function(*args, **kwargs)

    return call_async if inspect.iscoroutinefunction(function) else call
