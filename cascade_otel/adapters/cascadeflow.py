"""cascadeflow: each run of a ``CascadeAgent`` is a cascade, and each model that it asks is a tier."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any
from weakref import WeakKeyDictionary

from cascade_otel import annotate, cascade, semconv, tier
from cascade_otel.adapters._inside import heard, innermost, through
from cascade_otel.adapters._instrumentor import CascadeInstrumentor
from cascade_otel.adapters._patches import Patches
from cascade_otel.instrumentation._calls import current
from cascade_otel.instrumentation._cascade_call import OpenCascade
from cascade_otel.instrumentation._guard import Guard
from cascade_otel.instrumentation._tier_call import OpenTier
from cascade_otel.instrumentation._usage import Found

MOST_PREPARED = 1_000
SAID = semconv.COST_SOURCES[0]
ASKING = ("complete", "complete_with_tools", "stream", "stream_with_tools")
"""How a cascadeflow provider is asked."""
Asked = Callable[..., Any]


class CascadeflowInstrumentor(CascadeInstrumentor):
    """Records ``run``, ``run_streaming``, ``stream_events`` and ``stream`` of every ``CascadeAgent``.

    The draft's tier has the confidence and the threshold that the quality gate compared, at every decision:
    thresholds that cascadeflow moves by itself are seen to move. Within a ``@cascade`` of yours the models
    are its tiers; within a ``@tier`` of yours they are that tier's. Costs are what ``ModelConfig(cost=...)``
    says, else looked up; cascadeflow's own, which guess at models it does not know, are not taken.

    Option of ``instrument``: ``task``, a string or a callable of the agent and the run's arguments, by
    default the run's ``domain_hint``, else ``CascadeAgent``.
    """

    package = "cascadeflow >= 1.1"
    module = "cascadeflow.agent"

    def patch(self, patches: Patches, *, task: str | Callable[..., str] | None = None, **_: Any) -> None:
        """Replaces the agent's runs, the gate's checks and, when an agent runs, its providers' calls."""
        from cascadeflow.agent import CascadeAgent
        from cascadeflow.quality.quality import QualityValidator
        from cascadeflow.quality.tool_validator import ToolQualityValidator

        site = cascade("CascadeAgent", task=hinted if task is None else task, from_result=tell)
        models = Models(patches)
        for name in ("run", "run_streaming"):
            patches.wrap(CascadeAgent, name, lambda run: running(run, site, models))
        patches.wrap(CascadeAgent, "stream_events", lambda stream: streaming(stream, site, models))
        patches.wrap(QualityValidator, "validate", lambda check: gating(check, compared))
        patches.wrap(ToolQualityValidator, "validate_tool_calls", lambda check: gating(check, compared_tools))


def hinted(*_: Any, domain_hint: Any = None, **__: Any) -> Any:
    """The domain that the caller names."""
    return domain_hint


def running(run: Asked, site: Any, models: Models) -> Asked:
    """A run that returns its result, recorded."""
    recorded = site(run)

    async def within(*args: Any, **kwargs: Any) -> Any:
        result = await run(*args, **kwargs)
        tell_enclosing(result)
        return result

    def choose(args: tuple[Any, ...], _: dict[str, Any]) -> Asked:
        models.learn(args[0])
        inside = innermost()
        return run if inside == "tier" else within if inside == "cascade" else recorded

    return through(run, choose)


def streaming(stream: Asked, site: Any, models: Models) -> Asked:
    """A run that yields events, of which the last has the result, recorded until its end."""
    recorded = site(stream)

    async def within(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        event = None
        async for event in stream(*args, **kwargs):
            yield event
        tell_enclosing(event)

    def choose(args: tuple[Any, ...], _: dict[str, Any]) -> Asked:
        models.learn(args[0])
        inside = innermost()
        return stream if inside == "tier" else within if inside == "cascade" else recorded

    return through(stream, choose)


def gating(check: Asked, score: Callable[[Any], tuple[Any, Any]]) -> Asked:
    """A check of the quality gate: what it compared with what is told of the draft."""

    @functools.wraps(check)
    def checked(*args: Any, **kwargs: Any) -> Any:
        verdict = check(*args, **kwargs)
        if innermost() == "cascade":
            with Guard("value", "cascadeflow"):
                confidence, threshold = score(verdict)
                annotate(confidence=confidence, threshold=threshold)
        return verdict

    return checked


def compared(verdict: Any) -> tuple[Any, Any]:
    """Confidence and threshold of a draft's text."""
    details = verdict.details
    about = details.get("confidence") or {}
    return details.get("effective_confidence", about.get("value")), about.get("threshold")


def compared_tools(verdict: Any) -> tuple[Any, Any]:
    """Score and threshold of a draft's tool calls."""
    return verdict.overall_score, verdict.threshold_used


def tell(result: Any, call: OpenCascade) -> None:
    """Tells the cascade what cascadeflow's result, or the event that has it, says of its decision.

    A verifier that was started ahead and then not needed makes no escalation. Not taken: the verifier's
    confidence, which is 0 where it was not called and .95 where nobody has measured it.
    """
    facts = vars(result)
    if "data" in facts:
        facts = (facts["data"] or {}).get("result") or {}
    draft, accepted = facts.get("draft_model"), facts.get("draft_accepted")
    if draft not in call.visits.by_tier or accepted is None:
        return  # asked directly, or broken off
    call.visit(draft).escalated = not accepted
    if (facts.get("metadata") or {}).get("final_content_source") == "draft":
        call.final_tier = draft  # the verifier failed, or gave nothing


def tell_enclosing(result: Any) -> None:
    """Tells it to the cascade of the user's own around the run."""
    call = current()
    with Guard("callable", "cascadeflow"):
        if isinstance(call, OpenCascade):
            tell(result, call)


class Models:
    """The models of the agents that have run, and the providers that answer for them."""

    def __init__(self, patches: Patches) -> None:
        self.patches, self.known = patches, set[type]()
        self.configured: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()
        self.lock = threading.Lock()
        self.prepared = functools.lru_cache(MOST_PREPARED)(self.prepare)

    def learn(self, agent: Any) -> None:
        """Records from now on what this agent's providers are asked: they may be the user's own classes."""
        with self.lock:
            for provider in (*agent.providers.values(), *agent.model_providers.values()):
                of_provider = self.configured.setdefault(provider, {})
                of_provider.update((config.name, config) for config in agent.models)
                kind = type(provider)
                if kind not in self.known:
                    self.known.add(kind)
                    for name in ASKING:
                        if hasattr(kind, name):
                            self.patches.wrap(kind, name, self.asking)

    def asking(self, asked: Asked) -> Asked:
        """One of a provider's methods, recorded."""
        default = inspect.signature(asked).parameters.get("model")
        streams = inspect.isasyncgenfunction(asked)

        def choose(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Asked:
            inside = innermost()
            if inside is None:
                return asked
            model: Any = kwargs.get("model") or (None if default is None else default.default)
            config: Any = self.configured.get(args[0], {}).get(model)
            cost = config.cost if config is not None and "cost" in config.model_fields_set else None
            if inside == "tier":
                return asked if streams else heard(asked, functools.partial(tell_usage, cost))
            provider = None if config is None else config.provider
            own = type(args[0]).__module__.startswith("cascadeflow.")
            site = self.prepared(model, provider, cost, own)
            recorded: Asked = site(asked if streams else heard(asked, ignore))
            return recorded

        return through(asked, choose)

    def prepare(self, model: str, provider: str | None, usd_per_1k: float | None, own: bool) -> tier:
        """The tier of one model.

        ``usd_per_1k`` is US dollars for a thousand tokens, sent or received. cascadeflow's own providers ask
        by HTTP: no client's instrumentation makes the ``gen_ai`` span for them.
        """
        return tier(
            model,
            model=model,
            provider=provider,
            usage=tokens,
            cost=None if usd_per_1k is None else functools.partial(costing, usd_per_1k),
            confidence=stated,
            instrumented=False if own else None,
        )


def tokens(response: Any) -> tuple[Any, Any]:
    """Tokens sent and received, where the provider has counted them. Chunks of a stream have none."""
    metadata = getattr(response, "metadata", None) or {}
    usage = metadata.get("usage") or metadata
    sent, received = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return usage.get("input_tokens", sent), usage.get("output_tokens", received)


def tell_usage(usd_per_1k: float | None, call: OpenTier, response: Any) -> None:
    """Tells a tier of the user's own what a model within it has used."""
    with Guard("value", "cascadeflow"):
        sent, received = tokens(response)
        if sent is None and received is None:
            return
        cost = None if usd_per_1k is None else costing(usd_per_1k, response)
        model = getattr(response, "model", None)
        call.hear(Found(sent, received, model, cost=cost, cost_source=None if cost is None else SAID))


def ignore(call: OpenTier, response: Any) -> None:
    """The tier that is open is the model's own."""


def costing(usd_per_1k: float, response: Any) -> float | None:
    """US dollars; None where nobody has counted the tokens."""
    counted = tokens(response)
    total = sum(counted) if None not in counted else getattr(response, "tokens_used", None)
    if not usd_per_1k:
        return 0.0
    return None if not total else usd_per_1k * total / 1_000


def stated(response: Any) -> Any:
    """The confidence that the provider gives its answer, 0 to 1."""
    return getattr(response, "confidence", None)
