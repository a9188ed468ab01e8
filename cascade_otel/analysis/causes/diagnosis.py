"""Why did it change? The split of the change, the causes behind it, and what else changed at that hour.

A diagnosis explains a finding; it never makes, changes or ends one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cascade_otel.analysis.causes import words as cause_words
from cascade_otel.analysis.causes.coincidences import coincidences
from cascade_otel.analysis.causes.rollout import moved
from cascade_otel.analysis.causes.windows import Windows, read
from cascade_otel.records import Cause, CauseName, CauseProbability, Effect, Finding, ToKnow
from cascade_otel.statistics.causes.decomposition import shapley, shapley_interval
from cascade_otel.statistics.causes.evidence import measure
from cascade_otel.statistics.causes.posterior import Diagnosis, Name, diagnose
from cascade_otel.storage.reading.rollup import Reader

NAMES: Mapping[Name, CauseName] = {
    "threshold": "threshold",
    "mix": "inputs",
    "model": "model",
    "scale": "confidence_scale",
    "hidden": "hidden_inputs",
    "silent": "silent_decay",
}
AFTER_A_ROLLOUT: Mapping[Name, float] = {"model": 0.6, "scale": 0.6}
"""Probability of these before looking, where the recorded model or version changed at that hour."""
TAU_MOVED = 0.05
"""Share of calls that must have got another τ for a threshold effect to be one."""


def cause(reader: Reader, finding: Finding) -> Cause:
    """The causes of a finding's shift; effects are percentage points of the escalation rate.

    The three effects add up to the change: of another mix of inputs, of confidences within kinds of input
    (``model``), of τ. Which causes are behind them is a matter of probabilities, from five measurements
    (``statistics.evidence``): a cause is named at .6, and where causes cannot be told apart, they are said
    with what would tell them. A recorded change of the model or version at that hour counts for the model.
    """
    if finding.reference is None or finding.current is None or finding.since_hour is None:
        return _unknown("It is not known since when, so there is nothing to compare.")
    windows = read(reader, finding, finding.reference, finding.current)
    if windows is None:
        return _unknown("One of the two windows holds no decided calls.")
    effects = _effects(windows)
    moves = moved(reader, finding)
    evidence = measure(*windows.calls(), windows.canaries, windows.before.tau)
    tau_effect = effects[2].points / 100 if _tau_moved(windows) else 0.0
    found = diagnose(evidence, tau_effect, AFTER_A_ROLLOUT if moves else None)
    named = _by_size(found, effects)
    unsure = tuple(NAMES[name] for name in found.unsure)
    name = _headline(found, named, effects, bool(moves))
    shift = 0.0 if evidence.within is None else evidence.within.estimate
    told = cause_words.Told(windows, moves, shift, effects)
    return Cause(
        name,
        *effects,
        cause_words.note(finding.stream, name, named, unsure, _to_know(found, windows), told),
        probabilities=tuple(CauseProbability(NAMES[one], p) for one, p in found.probability.items()),
        named=named,
        unsure=unsure,
        to_know=_to_know(found, windows),
        changes=coincidences(windows, moves, finding),
    )


def _unknown(note: str) -> Cause:
    nothing = Effect(0.0, 0.0, 0.0)
    return Cause("unknown", nothing, nothing, nothing, note)


def _effects(windows: Windows) -> tuple[Effect, Effect, Effect]:
    before, now = windows.before, windows.now
    compared = (
        before.strata, before.score, before.threshold, now.strata, now.score, now.threshold,
        len(windows.names),
    )  # fmt: skip
    points = shapley(*compared)
    intervals = shapley_interval(*compared, before.block, now.block)
    inputs, model, threshold = (
        Effect(100 * point, 100 * low, 100 * high)
        for point, (low, high) in zip(points, intervals, strict=True)
    )
    return inputs, model, threshold


def _tau_moved(windows: Windows) -> bool:
    """Whether enough calls have another τ than calls had before: the medians may be the same."""
    _, before, now = windows.taus()
    return float(np.abs(now - before).sum()) / 2 >= TAU_MOVED


def _by_size(found: Diagnosis, effects: tuple[Effect, Effect, Effect]) -> tuple[CauseName, ...]:
    """The named causes, those that moved the rate most first."""
    inputs, model, threshold = (abs(effect.points) for effect in effects)
    size: dict[Name, float] = {"threshold": threshold, "mix": inputs, "silent": -1.0}
    return tuple(NAMES[name] for name in sorted(found.named, key=lambda name: -size.get(name, model)))


def _headline(
    found: Diagnosis, named: tuple[CauseName, ...], effects: tuple[Effect, Effect, Effect], rolled_out: bool
) -> CauseName:
    """The one name of what moved the rate most.

    Where nothing but the record of a rollout, or canaries, can tell the model from hidden inputs, it is not
    called the model's doing without one of them, however the probabilities before looking add up. Where the
    scale of confidences changed with a rollout, it is called the model's: that is what to look at.
    """
    if found.unsure:
        inputs, model, threshold = (abs(effect.points) for effect in effects)
        beside = {"inputs": inputs, "threshold": threshold}.get(named[0], 0.0) if named else 0.0
        if beside < model or not named:
            return "model" if rolled_out or "hidden" not in found.unsure else "model_or_inputs"
    if named and named[0] == "confidence_scale" and rolled_out:
        return "model"
    return named[0] if named else "unknown"


def _to_know(found: Diagnosis, windows: Windows) -> tuple[ToKnow, ...]:
    hidden = "hidden" in (*found.named, *found.unsure)
    segments: tuple[ToKnow, ...] = ("segments",) if hidden and not windows.has_strata else ()
    return (*found.wanted, *segments)
