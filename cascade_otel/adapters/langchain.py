"""LangChain and LangGraph: ``with_fallbacks`` is a cascade, and a chat model called in a cascade is a tier.

Methods are wrapped; no callback handler listens. A handler is told of a run by its parents, but the
alternatives of ``with_fallbacks`` are not children of its run, and a gate that turns an answer down shows as
a failed chain. It also runs beside the call: what it would open could not be the current span while the
model works, and an asynchronous call runs it in another thread. The OpenTelemetry context has all three
right, LangChain and LangGraph carry it into their own thread pools, and the public decorators ride in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from wrapt import register_post_import_hook

from cascade_otel.adapters._instrumentor import CascadeInstrumentor
from cascade_otel.adapters._patches import Patches
from cascade_otel.instrumentation._guard import Guard


class LangChainInstrumentor(CascadeInstrumentor):
    """Records cascades written with LangChain or LangGraph.

    ``LangChainInstrumentor().instrument()`` takes two options. ``confidence``: a callable of the model's
    message that gives its score (0 to 1), or None where there is none. ``thresholds``: τ by tier, as
    ``{"gpt-5-nano": 0.8}``.

    A tier is named after its model. What a call's ``config["metadata"]`` (or the model's own ``metadata``)
    says goes first: ``cascade_tier`` names the tier, None there says that the call belongs to no tier (a
    judge's); ``cascade_task`` names the task of a ``with_fallbacks`` chain, and makes a LangGraph graph a
    cascade.
    """

    package = "langchain-core >= 1.0"
    module = "langchain_core.language_models.chat_models"
    _graphs: object = None  # of the instrumentation that is on; LangGraph may be imported long after it

    def patch(
        self,
        patches: Patches,
        *,
        confidence: Callable[[Any], Any] | None = None,
        thresholds: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Replaces the methods of chat models, of ``with_fallbacks`` and, once it is imported, of graphs."""
        from langchain_core.language_models import BaseChatModel
        from langchain_core.runnables import RunnableLambda, RunnableWithFallbacks

        from cascade_otel.adapters import _langchain_cascades as cascades
        from cascade_otel.adapters._langchain_models import ChatModels

        models = ChatModels(confidence, dict(thresholds or {}))
        for name in ("invoke", "ainvoke"):
            patches.wrap(BaseChatModel, name, models.answering)
            patches.wrap(RunnableLambda, name, cascades.running)
        patches.wrap(BaseChatModel, "stream", models.streaming)
        patches.wrap(BaseChatModel, "astream", models.streaming_async)
        for name in ("invoke", "ainvoke", "stream", "astream"):
            patches.wrap(RunnableWithFallbacks, name, cascades.falling_back)
        for name in ("batch", "abatch"):
            patches.wrap(RunnableWithFallbacks, name, cascades.falling_back_in_batch)

        self._graphs = this_time = object()

        def imported(module: ModuleType) -> None:
            if self._graphs is this_time:
                with Guard("sdk", self.package):
                    for name in ("stream", "astream"):  # invoke and ainvoke read these to their end
                        patches.wrap(module.Pregel, name, cascades.walking)

        register_post_import_hook(imported, "langgraph.pregel.main")

    def _uninstrument(self, **options: Any) -> None:
        self._graphs = None
        super()._uninstrument(**options)
