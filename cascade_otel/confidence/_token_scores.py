"""Scores made of the probabilities of an answer's tokens."""

from __future__ import annotations

import math
from typing import Any

from cascade_otel.confidence import _numbers
from cascade_otel.confidence._logprobs import alternatives, tokens


def mean_probability(source: Any) -> float | None:
    """Arithmetic mean of the token probabilities: (1/n) Σ exp(logprob_i).

    A long answer of common words hides one doubtful token: ``min_probability`` and
    ``quantile_probability`` do not.

    ``source``: a sequence of log-probabilities (natural logarithm), or a result that holds them.
    Range: [0, 1]; None without log-probabilities. Raises TypeError for a result of no known shape,
    ValueError for NaN or a number above 0.
    """
    chosen = _chosen(source)
    return _inside(math.fsum(map(math.exp, chosen)) / len(chosen)) if chosen else None


def min_probability(source: Any) -> float | None:
    """Probability of the least likely token: min exp(logprob_i).

    It is Chow-Quantile at 0 (Gupta et al., "Language Model Cascades: Token-Level Uncertainty and Beyond",
    ICLR 2024). Arguments, range and errors as ``mean_probability``.
    """
    chosen = _chosen(source)
    return math.exp(min(chosen)) if chosen else None


def sequence_probability(source: Any) -> float | None:
    """Probability of the whole answer: Π exp(logprob_i) = exp(Σ logprob_i).

    Orders answers as Chow-Sum does (Gupta et al., ICLR 2024), whose score is its logarithm. It falls with
    every token: over answers of different lengths, a threshold on it is mostly a limit on length, and past
    some hundred tokens it is 0. Arguments, range and errors as ``mean_probability``.
    """
    chosen = _chosen(source)
    return math.exp(math.fsum(chosen)) if chosen else None


def geometric_mean_probability(source: Any) -> float | None:
    """Geometric mean of the token probabilities: exp((1/n) Σ logprob_i), which is 1 / perplexity.

    Orders answers as Chow-Average does (Gupta et al., ICLR 2024), whose score is its logarithm: the
    sequence's probability, normalised by length. Arguments, range and errors as ``mean_probability``.
    """
    chosen = _chosen(source)
    return math.exp(math.fsum(chosen) / len(chosen)) if chosen else None


def quantile_probability(source: Any, q: float) -> float | None:
    """The q-quantile of the token probabilities, interpolated linearly between neighbours.

    Chow-Quantile (Gupta et al., ICLR 2024): 0 is the least likely token, .5 the median. For a tier, fix
    ``q``: ``confidence=functools.partial(quantile_probability, q=0.1)``. Arguments, range and errors as
    ``mean_probability``; ValueError also for a ``q`` outside [0, 1].
    """
    share = _numbers.probability(q, "a quantile")
    chosen = sorted(map(math.exp, _chosen(source)))
    if not chosen:
        return None
    place = share * (len(chosen) - 1)
    below = math.floor(place)
    above = min(below + 1, len(chosen) - 1)
    return _inside(chosen[below] + (place - below) * (chosen[above] - chosen[below]))


def margin(source: Any) -> float | None:
    """Mean over the tokens of the likeliest alternative's probability minus the next one's.

    (1/n) Σ (p_i(1) − p_i(2)): for a label of one token the margin of Scheffer et al. (2001), for longer
    answers the mean of Wang & Zhou ("Chain-of-Thought Reasoning without Prompting", 2024).

    ``source``: a result with at least two alternatives a token (OpenAI: ``top_logprobs=2``), or a sequence
    with, for each token, a mapping of its alternatives to log-probabilities or a sequence of these.
    Range: [0, 1]; None where a token has fewer than two alternatives. Errors as ``mean_probability``.
    """
    gaps = []
    for token in tokens(source):
        likeliest = sorted((logprob for _, logprob in alternatives(token)), reverse=True)[:2]
        if len(likeliest) < 2:
            return None
        gaps.append(math.exp(likeliest[0]) - math.exp(likeliest[1]))
    return _inside(math.fsum(gaps) / len(gaps)) if gaps else None


def _chosen(source: Any) -> list[float]:
    """The log-probabilities of the answer's own tokens."""
    chosen = []
    for token in tokens(source):
        if token.logprob is None:
            raise TypeError(
                "alternatives of a token arrived where the log-probability of the chosen token is wanted; "
                "only margin and p_true take alternatives"
            )
        chosen.append(token.logprob)
    return chosen


def _inside(value: float) -> float:
    return min(max(value, 0.0), 1.0)  # rounding of a sum may step over
