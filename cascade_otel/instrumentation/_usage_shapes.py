"""Under which names the usual clients and frameworks count tokens."""

from __future__ import annotations

from typing import Any, NamedTuple

_MOST_TYPES = 1_000

Names = tuple[str, ...]


class Shape(NamedTuple):
    """Where one kind of usage keeps its counts. Counts under several names are added up."""

    markers: Names
    """The kind has one of these names, and none of those of the kinds before it."""
    sent: Names = ()
    received: Names = ()
    details: str | None = None
    """Under which the next four are kept; None: beside those above."""
    cached: Names = ()
    written: Names = ()
    written_1h: Names = ()
    audio: Names = ()
    kept: str | None = None
    """Within those details, under which ``written_1h`` is kept."""
    received_details: str | None = None
    """Under which ``audio`` is kept for the answer."""
    by_modality: Names = ()
    """Lists of counts, each with its modality."""
    apart: bool = False
    """Tokens of the cache are not among those sent."""


_IN_OUT = ("input_tokens",), ("output_tokens",)
_FIVE_MINUTES, _HOUR = "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"
UNKNOWN = Shape(())
PYDANTIC_AI = Shape(  # for every provider
    ("cache_read_tokens",),
    *_IN_OUT,
    cached=("cache_read_tokens",),
    written=("cache_write_tokens",),
    written_1h=("cache_write_1h_tokens",),
    audio=("input_audio_tokens", "output_audio_tokens"),
)
TWO_COUNTS = Shape(("input_tokens", "output_tokens"), *_IN_OUT)
SHAPES = (
    Shape(  # OpenAI chat completions and all that follow them; LiteLLM for every provider
        ("prompt_tokens",),
        ("prompt_tokens",),
        ("completion_tokens",),
        details="prompt_tokens_details",
        cached=("cached_tokens",),
        written=("cache_write_tokens",),
        kept="cache_creation_token_details",
        written_1h=(_HOUR,),
        audio=("audio_tokens",),
        received_details="completion_tokens_details",
    ),
    Shape(  # OpenAI Responses
        ("input_tokens_details",),
        *_IN_OUT,
        details="input_tokens_details",
        cached=("cached_tokens",),
        written=("cache_write_tokens",),
    ),
    Shape(  # LangChain for every provider
        ("input_token_details",),
        *_IN_OUT,
        details="input_token_details",
        cached=("cache_read",),
        written=("cache_creation", _FIVE_MINUTES, _HOUR),  # the first is 0 where the others are given
        written_1h=(_HOUR,),
        audio=("audio",),
        received_details="output_token_details",
    ),
    PYDANTIC_AI,
    Shape(  # Anthropic, also as the body of Bedrock's InvokeModel
        ("cache_read_input_tokens", "cache_creation_input_tokens"),
        *_IN_OUT,
        cached=("cache_read_input_tokens",),
        written=("cache_creation_input_tokens",),
        kept="cache_creation",
        written_1h=(_HOUR,),
        apart=True,
    ),
    TWO_COUNTS,
    Shape(  # Bedrock's Converse and ConverseStream
        ("inputTokens",),
        ("inputTokens",),
        ("outputTokens",),
        cached=("cacheReadInputTokens",),
        written=("cacheWriteInputTokens",),
        kept="cacheDetails",
        written_1h=("1h",),
        apart=True,
    ),
    Shape(  # Bedrock's InvokeModelWithResponseStream
        ("inputTokenCount",),
        ("inputTokenCount",),
        ("outputTokenCount",),
        cached=("cacheReadInputTokenCount",),
        written=("cacheWriteInputTokenCount",),
        apart=True,
    ),
    Shape(  # Gemini
        ("prompt_token_count",),
        ("prompt_token_count", "tool_use_prompt_token_count"),
        ("candidates_token_count", "thoughts_token_count"),
        cached=("cached_content_token_count",),
        by_modality=("prompt_tokens_details", "candidates_tokens_details"),
    ),
    Shape(  # Gemini over REST
        ("promptTokenCount",),
        ("promptTokenCount", "toolUsePromptTokenCount"),
        ("candidatesTokenCount", "thoughtsTokenCount"),
        cached=("cachedContentTokenCount",),
        by_modality=("promptTokensDetails", "candidatesTokensDetails"),
    ),
)
_MARKED = tuple((marker, shape) for shape in SHAPES for marker in shape.markers)
_of_type: dict[type, Shape | None] = {}  # None: the class does not tell, instances may differ


def shape_of(usage: Any) -> Shape:
    """The kind of a usage object or dict; UNKNOWN where it has none of the names."""
    kind = type(usage)
    known = _of_type.get(kind)
    if known is not None:
        return known
    if issubclass(kind, dict):
        for marker, shape in _MARKED:
            if marker in usage:
                return shape
        return UNKNOWN
    if kind not in _of_type:
        names = declared(kind)
        known = next((shape for marker, shape in _MARKED if marker in names), None)
        if len(_of_type) < _MOST_TYPES:
            _of_type[kind] = known
    if known is not None:
        return known
    for marker, shape in _MARKED:
        if getattr(usage, marker, None) is not None:
            return shape
    return UNKNOWN


def declared(kind: type) -> set[str]:
    """The attributes that a class says its instances have."""
    fields = (getattr(kind, name, None) for name in ("__pydantic_fields__", "__dataclass_fields__"))
    return set(dir(kind)).union(*(each for each in fields if isinstance(each, dict)))
