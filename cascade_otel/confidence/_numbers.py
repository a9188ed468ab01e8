"""Numbers as they arrive, and the logistic function that takes a logit to a probability."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

DUST = 1e-6
"""How far above 0 a log-probability computed in single precision may come out."""
UNLISTED = -9999.0
"""What OpenAI gives for a token that is not among the likeliest."""


def real(value: Any, wanted: str) -> float:
    """The value as a float, also of numpy's scalars; NaN and the infinite are let through."""
    if type(value) is float:
        return value
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"a {type(value).__name__} arrived where {wanted} is wanted")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"an integer beyond every float arrived where {wanted} is wanted") from None


def finite(value: Any, wanted: str) -> float:
    """A finite float."""
    number = real(value, wanted)
    if not math.isfinite(number):
        raise ValueError(f"{number} arrived where {wanted} is wanted")
    return number


def probability(value: Any, wanted: str) -> float:
    """A float in [0, 1]."""
    number = finite(value, wanted)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{number:g} arrived where {wanted} between 0 and 1 is wanted")
    return number


def log_probability(value: Any) -> float:
    """A float in [-inf, 0]: -inf is the logarithm of probability 0 (as -9999), dust above 0 is rounding."""
    number = real(value, "a log-probability")
    if math.isnan(number) or number > DUST:
        raise ValueError(
            f"{number:g} arrived where a log-probability (at most 0) is wanted; "
            "of a probability p, give math.log(p)"
        )
    return min(number, 0.0) if number > UNLISTED else -math.inf


def logistic(logit: float) -> float:
    """1 / (1 + exp(-logit)), without overflow on either side."""
    if logit >= 0.0:
        return 1.0 / (1.0 + math.exp(-logit))
    odds = math.exp(logit)
    return odds / (1.0 + odds)


def from_logit(logit: float, *, temperature: float = 1.0, bias: float = 0.0) -> float:
    """A scorer's or classifier's logit as a probability: 1 / (1 + exp(-(logit / temperature + bias))).

    For a learned scorer that says how likely an answer is right, as FrugalGPT's (Chen et al., 2023). With
    ``temperature`` and ``bias`` fitted on labelled answers this is Platt's scaling (Platt, 1999: A is
    -1 / temperature, B is -bias); with the temperature alone, temperature scaling (Guo et al., 2017).

    Range: [0, 1]. Raises ValueError for what is not finite and for a temperature of 0 or below, TypeError
    for what is no number.
    """
    score = finite(logit, "a logit (a finite number)")
    heat = finite(temperature, "a temperature (a finite number above 0)")
    if heat <= 0.0:
        raise ValueError(f"{heat:g} arrived where a temperature above 0 is wanted")
    return logistic(score / heat + finite(bias, "a bias (a finite number)"))
