"""P(True): what a model thinks of an answer when asked whether it is right."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from numbers import Real
from typing import Any

from cascade_otel.confidence._logprobs import Token, alternatives, tokens
from cascade_otel.confidence._numbers import log_probability, logistic

_SPACES = " \t\r\n\u2581\u0120\u010a"  # with the marks that tokenizers write for a space and a line's end


def p_true(
    source: Any,
    *,
    affirmative: Collection[str] = ("yes", "true"),
    negative: Collection[str] = ("no", "false"),
) -> float | None:
    """P(affirmative) / (P(affirmative) + P(negative)) of the first token of a self-verification.

    Kadavath et al. ("Language Models (Mostly) Know What They Know", 2022) ask whether a proposed answer is
    true and read the probability of the word that says so. Each side sums the tokens that are one of its
    words, whatever their case and the space around them.

    ``source``: a mapping of token to log-probability, or a result with alternatives (OpenAI:
    ``logprobs=True, top_logprobs=20``), of which the first token that is not blank is read. Only listed
    tokens have a known probability: a missing affirmative side counts 0, and a missing negative one as
    much as the list leaves room for, so that a short list never makes an answer look surer than it is.

    Range: [0, 1]; None without log-probabilities, and where neither side is listed. Raises TypeError for a
    result of no known shape, ValueError for NaN, a number above 0, and words that are on both sides.
    """
    yes, no = _words(affirmative), _words(negative)
    if yes & no:
        raise ValueError(f"{sorted(yes & no)} arrived as affirmative and as negative")
    if isinstance(source, Mapping) and source and all(isinstance(one, Real) for one in source.values()):
        listed = {str(text): log_probability(logprob) for text, logprob in source.items()}
    else:
        listed = _first_listed(tokens(source))
    for_it = _log_sum([logprob for text, logprob in listed.items() if _bare(text) in yes])
    against = _log_sum([logprob for text, logprob in listed.items() if _bare(text) in no])
    if for_it == against == -math.inf:
        return None
    if against == -math.inf:
        against = _room(list(listed.values()))
    return logistic(for_it - against)


def _first_listed(found: list[Token]) -> dict[str, float]:
    """Token to log-probability at the first position that is not blank."""
    for token in found:
        listed = {text: logprob for text, logprob in alternatives(token) if text is not None}
        if token.text is not None and token.logprob is not None:
            listed.setdefault(token.text, token.logprob)
        if not listed:
            raise TypeError(
                "numbers without their tokens arrived; p_true wants a mapping of token to log-probability, "
                "or a result that holds both"
            )
        if token.text is None or _bare(token.text):
            return listed
    return {}


def _room(listed: list[float]) -> float:
    """Logarithm of the most that an unlisted token may have: no more than any listed or what is left."""
    left = 1.0 - math.fsum(map(math.exp, listed))
    return min(*listed, math.log(left)) if left > 0.0 else -math.inf


def _log_sum(logprobs: list[float]) -> float:
    """log Σ exp(logprob), without underflow; -inf for nothing."""
    top = max(logprobs, default=-math.inf)
    if top == -math.inf:
        return top
    return top + math.log(math.fsum(math.exp(one - top) for one in logprobs))


def _words(words: Collection[str]) -> set[str]:
    if isinstance(words, str):
        raise TypeError(f"the text {words!r} arrived where several words are wanted: ({words!r},)")
    return {_bare(word) for word in words}


def _bare(text: str) -> str:
    return text.strip(_SPACES).casefold()
