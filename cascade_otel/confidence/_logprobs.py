"""The tokens of an answer with their log-probabilities, read from wherever a result keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from numbers import Real
from typing import Any, NamedTuple

from cascade_otel.confidence._numbers import log_probability
from cascade_otel.confidence._results import field, first, has, items

_LOGPROB = ("logprob", "log_probability", "logProbability")


class Token(NamedTuple):
    """One position of an answer."""

    text: str | None
    """None where only numbers were given."""
    logprob: float | None
    """Of the token that was chosen; None where only the alternatives were given."""
    listed: Any
    """The likeliest tokens here as the result lists them, for ``alternatives``: most scores need none."""


def tokens(source: Any) -> list[Token]:
    """The tokens of a result, or of a sequence of log-probabilities; empty where it holds none.

    Raises TypeError for a result of no known shape, ValueError for what is no log-probability.
    """
    if callable(getattr(source, "tolist", None)):  # numpy, torch, pandas
        source = source.tolist()
    return _parsed(source if items(source) else _kept(source))


def alternatives(token: Token) -> list[tuple[str | None, float]]:
    """The likeliest tokens at this position with their log-probabilities, in no order; the text if known."""
    if isinstance(token.listed, Mapping):
        return [(str(text), log_probability(logprob)) for text, logprob in token.listed.items()]
    return [
        (None, log_probability(one))
        if isinstance(one, Real)
        else (_text(one), log_probability(field(one, *_LOGPROB)))
        for one in items(token.listed)
    ]


def _kept(result: Any) -> Any:
    """What the result keeps its log-probabilities in, None where it has none."""
    if has(result, "choices"):  # OpenAI chat and completions, LiteLLM: the first of n answers
        return field(first(field(result, "choices")), "logprobs")
    if has(result, "candidates"):  # Gemini
        return field(first(field(result, "candidates")), "logprobs_result", "logprobsResult")
    output = field(result, "output")
    if isinstance(output, (list, tuple)):  # OpenAI responses
        return [one for item in output for one in _in_blocks(field(item, "content"))]
    if has(result, "response_metadata"):  # LangChain
        kept = field(field(result, "response_metadata"), "logprobs", "logprobs_result")
        return _in_blocks(field(result, "content")) if kept is None else kept
    if has(result, "provider_details"):  # pydantic-ai
        kept = field(field(result, "provider_details"), "logprobs")
        parts = [field(part, "provider_details") for part in items(field(result, "parts"))]
        return [one for part in parts for one in items(field(part, "logprobs"))] if kept is None else kept
    if has(result, "logprobs"):  # Ollama, or one choice of many
        return field(result, "logprobs")
    return result


def _in_blocks(content: Any) -> list[Any]:
    return [one for block in items(content) for one in items(field(block, "logprobs"))]


def _parsed(kept: Any) -> list[Token]:
    if kept is None:
        return []
    if isinstance(kept, (list, tuple)) or items(kept):
        return [_token(entry) for entry in kept]
    if field(kept, "token_logprobs") is not None:  # completions
        columns = (items(field(kept, name)) for name in ("tokens", "token_logprobs", "top_logprobs"))
        return [
            Token(text, log_probability(logprob), others) for text, logprob, others in zip_longest(*columns)
        ]
    if has(kept, "content"):
        return _parsed(field(kept, "content"))
    if has(kept, "chosen_candidates") or has(kept, "chosenCandidates"):
        chosen = items(field(kept, "chosen_candidates", "chosenCandidates"))
        top = items(field(kept, "top_candidates", "topCandidates"))
        return [
            _token(entry)._replace(listed=field(others, "candidates"))
            for entry, others in zip_longest(chosen, top[: len(chosen)])
        ]
    raise TypeError(
        f"a {type(kept).__name__} arrived where log-probabilities are wanted: a sequence of them, or "
        "a result that holds them (OpenAI and LiteLLM: choices[0].logprobs.content; OpenAI responses: "
        "output[].content[].logprobs; Gemini: candidates[0].logprobs_result; "
        'LangChain: response_metadata["logprobs"]); of your own result say which part: '
        "confidence=lambda result: min_probability(result.raw)"
    )


def _token(entry: Any) -> Token:
    if isinstance(entry, Real):
        return Token(None, log_probability(entry), None)
    logprob = field(entry, *_LOGPROB)
    if logprob is not None:
        return Token(_text(entry), log_probability(logprob), field(entry, "top_logprobs"))
    if items(entry) or isinstance(entry, Mapping):
        return Token(None, None, entry)
    raise TypeError(f"a {type(entry).__name__} arrived where a token with its log-probability is wanted")


def _text(entry: Any) -> str | None:
    text = field(entry, "token")
    return text if isinstance(text, str) else None
