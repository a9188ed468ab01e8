"""What a result tells of tokens, model and cost, read from the shapes of the usual clients, none imported."""

from __future__ import annotations

from typing import Any, NamedTuple

from cascade_otel import semconv
from cascade_otel.instrumentation._usage_shapes import (
    PYDANTIC_AI,
    TWO_COUNTS,
    UNKNOWN,
    Names,
    Shape,
    declared,
    shape_of,
)

_PLAIN = frozenset({type(None), str, bytes, bool, int, float, list, tuple, set, frozenset})
_USAGES = ("usage", "usage_metadata", "usageMetadata", "amazon-bedrock-invocationMetrics")
_MODELS = ("model", "model_name", "model_version", "modelVersion")
_SOUGHT = frozenset((*_USAGES, *_MODELS, "response_metadata"))
_SOUGHT_IN_DICTS = _SOUGHT | {"type", "metadata"}
_WITHIN = {  # of events, by their type, where the answer is kept
    "response.completed": "response",
    "response.incomplete": "response",
    "message_stop": "message",
    "agent_run_result": "result",
}
_CLIENTS = ("openai", "anthropic", "pydantic_ai", "litellm")
_MOST_TYPES = 1_000
_FEW = 20  # keys that are looked through faster than the names that are sought
_AUDIO = ("audio",)
_BARE, _OTHER = "bare", "other"
_USUAL_LOOK_UPS = (object.__getattribute__, tuple.__getattribute__)
_sorts: dict[type, str] = {}


class Found(NamedTuple):
    """What was found; None is unknown.

    Tokens are counted as OpenTelemetry has it (``gen_ai.usage.input_tokens``): ``input_tokens`` includes
    ``cached_tokens`` (read from the provider's prompt cache) and ``cache_written_tokens``, of which
    ``written_1h_tokens`` are kept for an hour; ``output_tokens`` includes thoughts. ``modalities`` names what
    else than text is among them: audio, image, video. ``cost`` is US dollars as the client reckons them.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    model: str | None = None
    cached_tokens: int | None = None
    cache_written_tokens: int | None = None
    cost: float | None = None
    cost_source: str | None = None
    written_1h_tokens: int | None = None
    modalities: Names = ()


NOTHING = Found()


def total(several: list[Found]) -> Found:
    """The sum of several calls, with the last one's model. What one of them does not tell is unknown."""
    sent = [each.input_tokens for each in several if each.input_tokens is not None]
    received = [each.output_tokens for each in several if each.output_tokens is not None]
    cost = [each.cost for each in several if each.cost is not None]
    last, every = several[-1], len(several)
    return Found(
        sum(sent) if len(sent) == every else None,
        sum(received) if len(received) == every else None,
        last.model,
        cost=sum(cost) if len(cost) == every else None,
        cost_source=last.cost_source,
    )


def found(result: Any) -> Found:
    """What a result, or the last item of a stream, tells. Raises only what the result's own code raises."""
    kind = type(result)
    if kind in _PLAIN:
        return NOTHING
    sort = _sorts.get(kind) or _sort(kind)
    if sort is _BARE:
        return NOTHING
    if issubclass(kind, dict) and len(result) < _FEW and _SOUGHT_IN_DICTS.isdisjoint(result):
        return NOTHING
    holder = result
    usage, model = _held(kind, holder)
    if usage is None:
        inner = _within(sort, result)
        if inner is not None:
            holder, sort = inner, _sort(type(inner))
            usage, model = _held(type(inner), inner)
    cost = None
    if sort == "litellm" and usage is not None:
        hidden = getattr(holder, "_hidden_params", None)
        cost = hidden.get("response_cost") if isinstance(hidden, dict) else None
    return counted(usage, model, cost)


def counted(usage: Any, model: Any = None, cost: Any = None) -> Found:
    """The tokens of a usage object or dict in one of the usual shapes. ``cost`` is LiteLLM's."""
    model = model if isinstance(model, str) and model else None
    kind = type(usage)
    shape = UNKNOWN if kind in _PLAIN else shape_of(usage)
    if shape is UNKNOWN:
        return NOTHING if model is None else Found(None, None, model)
    get: Any = dict.get if issubclass(kind, dict) else getattr
    if shape is TWO_COUNTS and cost is None:
        sent, received = get(usage, "input_tokens", None), get(usage, "output_tokens", None)
        return Found(sent if type(sent) is int else None, received if type(received) is int else None, model)
    source = None
    if type(cost) in (int, float):
        source = semconv.COST_SOURCES[1]
    elif shape is PYDANTIC_AI:
        if _sum(usage, ("unmeasured_requests",)):
            return Found(None, None, model)  # its counts are too low, nobody knows by how much
        cost = get(usage, "cost", None)
        cost = float(cost) if type(cost).__name__ == "Decimal" else None
        source = None if cost is None else semconv.COST_SOURCES[2]  # which pydantic-ai asks itself
    else:
        cost = None
    sent, received = _sum(usage, shape.sent), _sum(usage, shape.received)
    details = usage if shape.details is None else get(usage, shape.details, None)
    cached, written, written_1h, modalities = _broken_down(shape, details)
    if shape.apart and sent is not None:
        sent += (cached or 0) + (written or 0)
    if shape.received_details is not None and not modalities:
        details = get(usage, shape.received_details, None)
        modalities = _AUDIO if details is not None and _sum(details, shape.audio) else ()
    return Found(sent, received, model, cached, written, cost, source, written_1h, modalities)


def said(usage: Any) -> Found:
    """As ``counted``, of what the user's code calls the usage: also a pair of input and output tokens.

    Raises TypeError for what is neither.
    """
    if isinstance(usage, tuple) and len(usage) == 2:
        return Found(*usage)
    told = counted(usage)
    if told is NOTHING and usage is not None:
        raise TypeError(
            f"a {type(usage).__name__} arrived where usage is wanted: give (input tokens, output tokens), "
            "or an object or dict in the shape of a client's"
        )
    return told


def _broken_down(shape: Shape, details: Any) -> tuple[int | None, int | None, int | None, Names]:
    """Cached, written, of these for an hour, and modalities."""
    if details is None:
        return None, None, None, ()
    kept = details
    if shape.kept is not None:
        kept = details.get(shape.kept) if isinstance(details, dict) else getattr(details, shape.kept, None)
        if isinstance(kept, list):  # Bedrock's, one entry for each time to live
            kept = {each.get("ttl"): each.get("inputTokens") for each in kept if isinstance(each, dict)}
    modalities: Names = _AUDIO if shape.audio and _sum(details, shape.audio) else ()
    if shape.by_modality:
        modalities = _listed(details, shape.by_modality)
    return (
        _sum(details, shape.cached),
        _sum(details, shape.written),
        _sum(kept, shape.written_1h) if shape.written_1h and kept is not None else None,
        modalities,
    )


def _listed(usage: Any, names: Names) -> Names:
    """The modalities of counts like ``[{"modality": "AUDIO", "token_count": 7}]``."""
    get: Any = dict.get if issubclass(type(usage), dict) else getattr
    lists = [get(usage, name, None) for name in names]
    seen = set()
    for each in (each for one in lists if isinstance(one, list) for each in one):
        modality = each.get("modality") if isinstance(each, dict) else getattr(each, "modality", None)
        seen.add(_text(getattr(modality, "value", modality)).lower())
    return tuple(sorted(seen - {"", "text", "document"}))


def _sum(holder: Any, names: Names) -> int | None:
    get: Any = dict.get if issubclass(type(holder), dict) else getattr
    total: int | None = None
    for name in names:
        value = get(holder, name, None)
        if type(value) is int:
            total = value if total is None else total + value
    return total


def _held(kind: type, holder: Any) -> tuple[Any, Any]:
    """Usage and model where the clients keep them."""
    if issubclass(kind, dict):
        model = _first(holder, _MODELS)
        about = holder.get("response_metadata")
        if model is None and isinstance(about, dict):
            model = _first(about, _MODELS)
        return _first(holder, _USAGES), model
    usage = getattr(holder, "usage", None)
    if usage is None:
        usage = getattr(holder, "usage_metadata", None)
        if isinstance(usage, dict):  # LangChain
            about = getattr(holder, "response_metadata", None)
            return usage, _first(about, _MODELS) if isinstance(about, dict) else None
        if usage is not None:  # Gemini
            return usage, getattr(holder, "model_version", None)
        return None, getattr(holder, "model", None)
    model = getattr(holder, "model", None)
    if model is None and _sort(kind) == "pydantic_ai":
        answer = holder if hasattr(holder, "model_name") else getattr(holder, "response", None)
        model = getattr(answer, "model_name", None)
        if not hasattr(usage, "input_tokens") and callable(usage):  # a method, before its version 2
            usage = usage()
    return usage, model


def _within(sort: str, event: Any) -> Any:
    """What the event that ends a stream has within it: the answer, or what holds the usage."""
    if issubclass(type(event), dict):  # isinstance would believe a mock that says so
        inner = event.get("metadata")  # of Bedrock's ConverseStream
        if isinstance(inner, dict) and "usage" in inner:
            return inner
        return event.get(_WITHIN.get(_text(event.get("type")), ""))
    if sort is _OTHER:
        return None
    event_type = _text(getattr(event, "type", None)) or _text(getattr(event, "event_kind", None))
    return getattr(event, _WITHIN[event_type], None) if event_type in _WITHIN else None


def _text(value: Any) -> str:
    return value if type(value) is str else ""


def _first(holder: dict[Any, Any], names: Names) -> Any:
    for name in names:
        value = holder.get(name)
        if value is not None:
            return value
    return None


def _sort(kind: type) -> str:
    """The client that a result's class belongs to; or bare, if no instance can have what is looked for."""
    sort = _sorts.get(kind)
    if sort is None:
        root = str(kind.__module__).partition(".")[0]
        sort = root if root in _CLIENTS else _BARE if _is_bare(kind) else _OTHER
        if len(_sorts) < _MOST_TYPES:
            _sorts[kind] = sort
    return sort


def _is_bare(kind: type) -> bool:
    """Whether instances have only what their class declares, and it declares nothing that is looked for."""
    if issubclass(kind, dict) or kind.__getattribute__ not in _USUAL_LOOK_UPS:
        return False
    looks_up, config = getattr(kind, "__getattr__", None), getattr(kind, "model_config", None)
    if looks_up is None:
        closed = kind.__dictoffset__ == 0
    else:  # pydantic's own finds declared fields, and extra ones
        declares = isinstance(config, dict) and config.get("extra") != "allow"
        closed = declares and getattr(looks_up, "__module__", None) == "pydantic.main"
    return closed and declared(kind).isdisjoint(_SOUGHT)
