"""LiteLLM: each call of a Router is a cascade, and its model groups are the tiers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar

from opentelemetry.context import attach, create_key, detach, get_current, get_value

from cascade_otel.adapters import _litellm_streams as streams
from cascade_otel.adapters._inside import Marked, heard, innermost, through
from cascade_otel.adapters._instrumentor import CascadeInstrumentor
from cascade_otel.adapters._patches import Patches
from cascade_otel.instrumentation import _shapes
from cascade_otel.instrumentation._cascade import cascade
from cascade_otel.instrumentation._guard import Guard
from cascade_otel.instrumentation._tier import tier

CASCADE = "litellm"
TASK = "cascade_task"
"""In a call's ``metadata``: its task. Without it the task is the model group that was asked for."""
_ATTEMPT = create_key("cascade-litellm-attempt")
_NONE_FREE = ("RouterRateLimitError", "RouterRateLimitErrorBasic")  # the Router's own: it has called no model
_PROVIDERS = {  # LiteLLM's names where OpenTelemetry's are others
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "text-completion-openai": "openai",
    "vertex_ai": "gcp.vertex_ai",
    "vertex_ai_beta": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
_UNSEEN = frozenset(
    ("anthropic", "aws.bedrock", "cohere", "gcp.gemini", "gcp.vertex_ai", "groq", "mistral_ai", "ollama")
)
"""Providers that LiteLLM asks over HTTP without their own client: an instrumentation of that sees nothing."""


class LiteLLMInstrumentor(CascadeInstrumentor):
    """Records LiteLLM: ``LiteLLMInstrumentor().instrument()``.

    ``Router.completion`` and ``acompletion`` are cascades, unless they run inside a cascade of yours, whose
    tiers their model groups then are; so are ``litellm.completion`` and ``acompletion`` with ``fallbacks=``.
    Other calls of these two are recorded in a cascade of yours, as a tier named as the model; within a
    ``@tier`` of yours nothing is, since all of that is your tier's.

    ``confidence``: a callable of the response, or the name of an attribute of it: 0 to 1. ``thresholds``: by
    tier, what your own code compares it with.
    """

    package: ClassVar[str] = "litellm >= 1.90"
    tested: ClassVar[str] = "1.90.0 to 1.110.2"
    module: ClassVar[str] = "litellm"

    def patch(
        self,
        patches: Patches,
        *,
        confidence: str | Callable[[Any], Any] | None = None,
        thresholds: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Replaces what there is of what is to be recorded."""
        import litellm
        from litellm.litellm_core_utils import fallback_utils
        from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper
        from litellm.router import Router

        kinds = TierKinds(confidence, thresholds)
        in_python = hasattr(Router, "_completion")  # until 1.110, whose Router walks its groups in Rust

        def replace(owner: Any, name: str, decorate: Callable[[Any], Any]) -> bool:
            if there := hasattr(owner, name):
                patches.wrap(owner, name, decorate)
            return there

        missing = []
        for name in ("completion", "acompletion"):
            if not replace(litellm, name, lambda original: _call(original, kinds)):
                missing.append(f"litellm.{name}")
            if not replace(Router, name, lambda original: _routed(original, None if in_python else Walk)):
                missing.append(f"Router.{name}")
            replace(Router, f"_{name}", _attempt)
        for runs_in_thread in {inspect.getmodule(getattr(Router, "completion", None)), fallback_utils}:
            replace(runs_in_thread, "run_async_function", _with_context)
        streams.heed_all(patches, CustomStreamWrapper)
        patches.put(_shapes.streams, CustomStreamWrapper, streams.follow)
        self.leave_out(missing)


class TierKinds:
    """The recorded tiers of one function, by what is the same for all calls of a provider."""

    def __init__(
        self, confidence: str | Callable[[Any], Any] | None, thresholds: Mapping[str, float] | None
    ) -> None:
        if thresholds is not None and not isinstance(thresholds, Mapping):
            raise TypeError(
                f"thresholds={thresholds!r} arrived, a threshold for each tier is wanted: "
                'instrument(thresholds={"small": 0.8})'
            )
        self.confidence, self.thresholds = confidence, None if thresholds is None else dict(thresholds)

    def decorate(self, function: Callable[..., Any], provider: str | None, told: bool | None) -> Any:
        """The function as a tier; ``told``: whether the ``gen_ai`` span is made elsewhere. None: look."""
        return tier(
            _tier_name,
            model=_model,
            threshold=self.threshold if self.thresholds is not None else None,
            confidence=self.confidence,
            provider=provider,
            instrumented=told,
        )(function)

    def threshold(self, *args: Any, **kwargs: Any) -> Any:
        """The threshold of the tier that is called."""
        return None if self.thresholds is None else self.thresholds.get(_tier_name(*args, **kwargs))


class Attempt(Marked):
    """One try of the Router's with one model group. It may fail before any model is called: all deployments
    cool down, a rate limit is reached. To the cascade that is a failed call of the tier."""

    called = False

    def __init__(self, group: str) -> None:
        super().__init__(_ATTEMPT, self)
        self.group = group

    def calls(self, _: Mapping[str, Any]) -> None:
        """A model is called, with this metadata."""
        self.called = True

    def calling(self, _: Mapping[str, Any]) -> Any:
        """The model group for which a model is called, with this metadata."""
        return self.group

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, tb)
        if isinstance(error, Exception) and not self.called:
            _fail(self.group, error)


class Walk(Attempt):
    """One call of a Router whose attempts begin in Rust, unseen. A call of a model says in its metadata for
    which group it is, and how each try before it has failed. What failed without calling a model is told
    then, once for each group; after the last call of a model it stays unknown."""

    last = None
    """The group that a model was called for last."""
    known = 0
    """How many of the failures that the metadata lists have been looked at."""

    def calls(self, metadata: Mapping[str, Any]) -> None:
        """The same, once the failures before it have been told."""
        super().calls(metadata)
        listed = metadata.get("previous_models") or ()
        unseen = {}
        for each in listed[self.known :]:
            group, kind = each.get("model_group"), each.get("exception_type")
            # a call's own failure is listed too, and may be so twice
            if isinstance(kind, str) and (group != self.last or kind in _NONE_FREE):
                unseen[group] = type(kind, (Exception,), {})(each.get("exception_string"))
        self.last, self.known = self.calling(metadata), len(listed)
        for group, error in unseen.items():
            _fail(group, error)

    def calling(self, metadata: Mapping[str, Any]) -> Any:
        """The group that the metadata names."""
        return metadata.get("model_group") or self.group


def _fail(group: object, error: Exception) -> None:
    """Tells of a try with a model group that has failed without a call of a model."""
    with Guard("value", "litellm router"):
        if isinstance(group, str):
            failed = tier(group)
            failed.__enter__()
            failed.__exit__(type(error), error, error.__traceback__)


def _call(original: Callable[..., Any], kinds: TierKinds) -> Callable[..., Any]:
    """``litellm.completion``, or ``acompletion``."""
    as_cascade = cascade(CASCADE, task=_task)(original)
    as_tier = functools.lru_cache(1000)(functools.partial(kinds.decorate, original))

    def choose(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        inside = innermost()
        if _is_mirrored(kwargs):
            return original
        if kwargs.get("fallbacks"):  # each of its models is called through here in turn
            return as_cascade if inside is None else original
        if inside == "tier":
            return heard(original, streams.tell)
        if inside is None:
            return original
        attempt = get_value(_ATTEMPT)
        if isinstance(attempt, Attempt):
            attempt.calls(_metadata(kwargs))
        provider = _provider(_model(*args, **kwargs), kwargs.get("custom_llm_provider"))
        told = True if _tells_itself() else False if provider in _UNSEEN else None
        return as_tier(provider, told)  # type: ignore[no-any-return]  # what tier gives back

    return through(original, choose)


def _routed(original: Callable[..., Any], mark: type[Attempt] | None) -> Callable[..., Any]:
    """``Router.completion``, or ``acompletion``."""
    call = original if mark is None else _marked(original, mark)
    as_cascade = cascade(CASCADE, task=lambda router, *args, **kwargs: _task(*args, **kwargs))(call)

    def choose(_: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        inside = innermost()
        if inside == "tier" or _is_mirrored(kwargs):
            return original
        return as_cascade if inside is None else call

    return through(original, choose)


def _attempt(original: Callable[..., Any]) -> Callable[..., Any]:
    """``Router._completion``, or ``_acompletion``: one attempt with one model group."""
    tried = _marked(original, Attempt)
    return through(original, lambda *_: tried if innermost() == "cascade" else original)


def _marked(original: Callable[..., Any], mark: type[Attempt]) -> Callable[..., Any]:
    """A method of the Router's, within a mark that names the model group asked for."""

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        with mark(_model(*args[1:], **kwargs)):
            return original(*args, **kwargs)

    @functools.wraps(original)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        with mark(_model(*args[1:], **kwargs)):
            return await original(*args, **kwargs)

    return call_async if inspect.iscoroutinefunction(original) else call


def _with_context(original: Callable[..., Any]) -> Callable[..., Any]:
    """LiteLLM's way from a sync function to an async one; it may be a thread, which loses the context."""

    @functools.wraps(original)
    def run_async_function(async_function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        context = get_current()

        async def inside(*args: Any, **kwargs: Any) -> Any:
            token = attach(context)
            try:
                return await async_function(*args, **kwargs)
            finally:
                detach(token)

        return original(inside, *args, **kwargs)

    return run_async_function


def _model(*args: Any, **kwargs: Any) -> Any:
    """The model that is asked for: the first argument everywhere."""
    return kwargs["model"] if "model" in kwargs else args[0] if args else None


def _tier_name(*args: Any, **kwargs: Any) -> Any:
    """The model group where the Router calls, else the model."""
    attempt, metadata = get_value(_ATTEMPT), _metadata(kwargs)
    if isinstance(attempt, Attempt):
        return attempt.calling(metadata)
    # a broken stream's fallback is no call of the user's
    return metadata.get("model_group") or _model(*args, **kwargs)


def _task(*args: Any, **kwargs: Any) -> Any:
    """What the call's metadata says, else the model or model group that was asked for."""
    return _metadata(kwargs).get(TASK) or _model(*args, **kwargs)


def _metadata(kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = kwargs.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _is_mirrored(kwargs: Mapping[str, Any]) -> bool:
    """Whether the Router sends a copy of the traffic to a model on trial (``silent_model``)."""
    return _metadata(kwargs).get("is_silent_experiment") is True


def _provider(model: Any, given: Any) -> str | None:
    """What OpenTelemetry calls the provider; None where LiteLLM would guess it, since it does so aloud."""
    import litellm

    if not isinstance(given, str) and isinstance(model, str):
        before, slash, _ = model.partition("/")
        given = before if slash else litellm.model_cost.get(model, {}).get("litellm_provider")
    return _PROVIDERS.get(given, given) if isinstance(given, str) else None


def _tells_itself() -> bool:
    """Whether LiteLLM's own OpenTelemetry callback is on: it makes the ``gen_ai`` spans and durations."""
    import litellm

    return any(
        each == "otel"
        if isinstance(each, str)
        else any(
            kind.__name__.startswith("OpenTelemetry") and kind.__module__.startswith("litellm.")
            for kind in type(each).__mro__
        )
        for each in (*litellm.callbacks, *litellm.success_callback)
    )
