"""Tokens and model read from results shaped like OpenAI's and Anthropic's, without importing either."""

from __future__ import annotations

from typing import Any

_PLAIN = frozenset({type(None), str, bytes, bool, int, float, list, tuple, set, frozenset})
Tokens = tuple[Any, Any]


def found(result: Any) -> tuple[Any, Any, Any]:
    """Input tokens, output tokens and the answering model; None where the result does not tell."""
    if type(result) in _PLAIN:
        return None, None, None
    if isinstance(result, dict):
        usage, model = result.get("usage"), result.get("model")
    else:
        usage, model = getattr(result, "usage", None), getattr(result, "model", None)
    sent, received = (None, None) if usage is None else tokens(usage)
    return (
        sent if type(sent) is int else None,
        received if type(received) is int else None,
        model if isinstance(model, str) and model else None,
    )


def tokens(usage: Any) -> Tokens:
    """Input and output tokens of a pair, or of a usage object or dict in the field's usual names."""
    if isinstance(usage, tuple):
        sent, received = usage
        return sent, received
    if isinstance(usage, dict):
        return (
            usage.get("input_tokens", usage.get("prompt_tokens")),
            usage.get("output_tokens", usage.get("completion_tokens")),
        )
    sent, received = getattr(usage, "input_tokens", None), getattr(usage, "output_tokens", None)
    if sent is None and received is None:
        sent, received = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    return sent, received
