"""Which causes a changed window has, as probabilities: signatures of causes over the five measurements.

A cause shifts the confidences by some s, and changes the calibration by some multiple of what a mere
rescaling by s would change it by, k s (``Evidence.rescale``):

=================  ========  ===============  =======  ==================
cause              within    calibration      canary   canary calibration
=================  ========  ===============  =======  ==================
model              s         r k s            s        r k s
scale              s         about -k s       s        about -k s
hidden             s         r k s            0        0
silent             0         w < 0            0        w or 0
=================  ========  ===============  =======  ==================

A **model** that got worse is less sure and at least as often wrong as its confidence now says: r is about
0, or above. A changed **scale** of the confidences leaves the answers as they were, so at a given confidence
they are right more often. Inputs that are harder in a way no stratum shows (**hidden**) do what a worse model
does, but not to the same old prompts. **Silent** decay is answers that got worse at an unchanged confidence.

Sizes have a moment prior, which is 0 at 0 (Johnson and Rossell 2010): a cause of no size is none. Changes
within a tolerance are nobody's cause.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

from cascade_otel.statistics.causes.measurements import Evidence, Measurement

Floats = NDArray[np.float64]
Name = Literal["threshold", "mix", "model", "scale", "hidden", "silent"]

PRIORS: Mapping[Name, float] = {"mix": 0.2, "model": 0.2, "scale": 0.2, "hidden": 0.2, "silent": 0.1}
"""Probability of each cause before looking, after an alarm; silent decay by itself moves no confidence."""
NAMED_AT = 0.6
LEFT_OPEN_AT = 0.1
MIX_SIZE, SHIFT_SIZE, SILENT_SIZE = 0.03, 0.2, 0.35
"""Scales of the sizes: the most likely ones are sqrt(2) times these. Fraction of calls; normal scores;
log-odds."""
MIX_TOLERANCE, SHIFT_TOLERANCE, CALIBRATION_TOLERANCE = 0.005, 0.03, 0.06
CANARY_LIKENESS = 0.15
"""Canaries are not the traffic: they shift by the same, give or take this share of it."""
LEAST_RESCALE = 0.3
LOOSE = 0.02
"""A calibration change with a greater variance wants more audits."""


class Ratio(NamedTuple):
    """Calibration change as a multiple of the rescaling's: mean and standard deviation."""

    mean: float
    spread: float


NOTHING = Ratio(0.0, 0.0)
RATIOS: Mapping[str, Ratio] = {
    "model": Ratio(0.2, 0.35),
    "scale": Ratio(-1.0, 0.25),
    "hidden": Ratio(0.2, 0.35),
}
MIX_GRID = np.linspace(-0.4, 0.4, 321)
GRID = np.linspace(-2.0, 2.0, 81)


@dataclass(frozen=True)
class Diagnosis:
    """Probabilities of the causes, and what they come to."""

    probability: Mapping[Name, float]
    named: tuple[Name, ...]
    """Those at ``NAMED_AT`` or above."""
    unsure: tuple[Name, ...] = ()
    """Causes of which one is there, or more, without it being known which."""
    wanted: tuple[Literal["canaries", "audits", "time"], ...] = field(default=())
    """What would tell the unsure ones apart."""


def diagnose(
    evidence: Evidence, threshold_effect: float = 0.0, prior: Mapping[Name, float] | None = None
) -> Diagnosis:
    """Name the causes, or say between which one cannot tell.

    Args:
        evidence: the five measurements.
        threshold_effect: change of the rate that a changed threshold made; it is read from the record, so
            0 where the threshold did not change. A point (.01) or more is a cause for certain.
        prior: probability of causes before looking; those of ``PRIORS`` where none is given.
    """
    chances = {**PRIORS, **(prior or {})}
    joint = within_posterior(evidence, chances)

    def of(*names: str) -> float:
        return sum(p for causes, p in joint.items() if any(name in causes for name in names))

    probability: dict[Name, float] = {
        "threshold": float(abs(threshold_effect) >= 0.01),
        "mix": mix_probability(evidence.mix, chances["mix"]),
        "model": of("model"),
        "scale": of("scale"),
        "hidden": of("hidden"),
        "silent": of("silent"),
    }
    named = tuple(name for name, p in probability.items() if p >= NAMED_AT)
    inner: tuple[Name, ...] = ("model", "scale", "hidden", "silent")
    if of("model", "scale") >= NAMED_AT:
        # It is the cheap model; the question is how.
        inner = ("model", "scale") if evidence.canary is not None else ("model", "scale", "hidden")
    left = tuple(name for name in inner if name not in named and probability[name] > LEFT_OPEN_AT)
    settled = any(name in named for name in inner)
    unsure = left if not settled and len(left) > 1 and 1 - joint[()] >= NAMED_AT else ()
    return Diagnosis(probability, named, unsure, _wanted(evidence) if unsure else ())


def _wanted(evidence: Evidence) -> tuple[Literal["canaries", "audits", "time"], ...]:
    wanted: list[Literal["canaries", "audits", "time"]] = []
    if evidence.canary is None:
        wanted.append("canaries")
    if evidence.calibration is None or evidence.calibration.variance > LOOSE:
        wanted.append("audits")
    return tuple(wanted) or ("time",)


def mix_probability(mix: Measurement, prior: float) -> float:
    """Probability that the mix of strata moved the rate, against its ordinary ups and downs."""
    slab = _moment(MIX_GRID, MIX_SIZE)
    variance = mix.variance + MIX_TOLERANCE**2
    against_none = _log_normal(mix.estimate - MIX_GRID, variance) - _log_normal(mix.estimate, variance)
    log_odds = float(logsumexp(against_none, b=slab)) + math.log(prior / (1 - prior))
    return float(expit(np.clip(log_odds, -500, 500)))


def within_posterior(evidence: Evidence, prior: Mapping[Name, float]) -> dict[tuple[Name, ...], float]:
    """Joint probabilities of the sets of causes that act within strata; they sum to 1.

    Of one measurement of confidences only one shift can be told: without canaries a hidden change of inputs
    and one of the model are not tried together. Silent decay stands alone: with a shift beside it, it is a
    matter of that shift's calibration.
    """
    sets: list[tuple[Name, ...]] = [(), ("model",), ("scale",), ("hidden",), ("silent",)]
    if evidence.canary is not None:
        sets += [("model", "hidden"), ("scale", "hidden")]
    weights = {}
    for causes in sets:
        odds = sum(math.log(prior[name] / (1 - prior[name])) for name in causes)
        likelihood = _silent(evidence) if causes == ("silent",) else _shifted(evidence, causes)
        weights[causes] = odds + likelihood
    total = float(logsumexp(list(weights.values())))
    return {causes: math.exp(weight - total) for causes, weight in weights.items()}


def _shifted(evidence: Evidence, causes: tuple[Name, ...]) -> float:
    """Log-likelihood of the measurements under a shift by the model, by hidden inputs, by both or by neither.

    Sizes are integrated over a grid: the model's shift along the first axis, the inputs' along the second.
    """
    of_model = RATIOS["model"] if "model" in causes else RATIOS["scale"] if "scale" in causes else NOTHING
    of_inputs = RATIOS["hidden"] if "hidden" in causes else NOTHING
    model, inputs = (
        (GRID, _moment(GRID, SHIFT_SIZE)) if ratio is not NOTHING else (np.zeros(1), np.ones(1))
        for ratio in (of_model, of_inputs)
    )
    by_model, by_inputs = model[0][:, None], inputs[0][None, :]
    found = np.zeros((len(model[0]), len(inputs[0])))
    if evidence.within is not None:
        loose = (CANARY_LIKENESS * by_model) ** 2 if evidence.canary is not None else 0.0
        variance = evidence.within.variance + SHIFT_TOLERANCE**2 + loose
        found = found + _log_normal(evidence.within.estimate - by_model - by_inputs, variance)
    if evidence.canary is not None:
        found = found + _log_normal(
            evidence.canary.estimate - by_model, evidence.canary.variance + SHIFT_TOLERANCE**2
        )
    gain = update = np.zeros(1)
    k, canary_k = evidence.rescale, evidence.canary_rescale
    if "scale" not in causes:
        k, canary_k = max(k, LEAST_RESCALE), max(canary_k, LEAST_RESCALE)
    if evidence.canary_calibration is not None:
        off = evidence.canary_calibration.estimate - of_model.mean * canary_k * by_model
        variance = (
            evidence.canary_calibration.variance
            + CALIBRATION_TOLERANCE**2
            + (of_model.spread * canary_k * by_model) ** 2
        )
        found = found + _log_normal(off, variance)
        # Both calibrations see the same ratio of the model: what one has told narrows the other.
        shared = of_model.spread**2 * k * canary_k * by_model**2
        gain, update = shared**2 / variance, shared / variance * off
    if evidence.calibration is not None:
        mean = k * (of_model.mean * by_model + of_inputs.mean * by_inputs)
        spread = k**2 * ((of_model.spread * by_model) ** 2 + (of_inputs.spread * by_inputs) ** 2)
        variance = evidence.calibration.variance + CALIBRATION_TOLERANCE**2 + spread - gain
        found = found + _log_normal(evidence.calibration.estimate - mean - update, variance)
    return float(logsumexp(found, b=model[1][:, None] * inputs[1][None, :]))


def _silent(evidence: Evidence) -> float:
    """Log-likelihood under a calibration that fell while no confidence moved.

    Canaries may show it or not: the cheap model may have got worse at everything, or at today's inputs.
    """
    fallen = GRID[GRID < 0]
    slab = _moment(fallen, SILENT_SIZE)
    unmoved = sum(
        float(_log_normal(np.asarray(one.estimate), one.variance + SHIFT_TOLERANCE**2))
        for one in (evidence.within, evidence.canary)
        if one is not None
    )
    found = np.zeros(len(fallen))
    if evidence.calibration is not None:
        variance = evidence.calibration.variance + CALIBRATION_TOLERANCE**2
        found = found + _log_normal(evidence.calibration.estimate - fallen, variance)
    if evidence.canary_calibration is not None:
        variance = evidence.canary_calibration.variance + CALIBRATION_TOLERANCE**2
        seen = _log_normal(
            evidence.canary_calibration.estimate - fallen, variance + (CANARY_LIKENESS * fallen) ** 2
        )
        unseen = _log_normal(np.asarray(evidence.canary_calibration.estimate), variance)
        found = found + np.logaddexp(seen, unseen) - math.log(2)
    return unmoved + float(logsumexp(found, b=slab))


def _moment(sizes: Floats, scale: float) -> Floats:
    """Moment prior on a grid of sizes, summing to 1."""
    density = sizes**2 * np.exp(-0.5 * (sizes / scale) ** 2)
    return np.asarray(density / density.sum(), np.float64)


def _log_normal(off: Floats | float, variance: Floats | float) -> Floats:
    """Log density of a normal deviation."""
    return np.asarray(
        -0.5 * np.square(off) / variance - 0.5 * np.log(2 * np.pi * np.asarray(variance)), np.float64
    )
