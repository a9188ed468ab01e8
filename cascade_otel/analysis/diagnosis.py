"""Why did it change: the inputs, the cheap model, or the threshold? Read from a task's single calls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cascade_otel.analysis.rollout import LONGEST_NAME, Move, moved
from cascade_otel.records import Cause, CauseName, Effect, Finding, Window
from cascade_otel.statistics.decomposition import shapley, shapley_interval
from cascade_otel.storage import schema
from cascade_otel.storage.rollup import Reader

MOST_CALLS = 200_000
"""Of each window; of more, evenly spaced ones are enough."""
MOST_SEGMENTS = 40
SHORT_DAYS = 5
"""A shorter window is cut into blocks of six hours instead of days."""
SHARE = 0.5
"""A cause explains at least so much of the change."""
RATE_MOVED = 0.02
"""Below it, a changed shape is not explained through the rate."""
COLUMNS = ["hour", "tier", "purpose", "escalated", "confidence_nano", "threshold", "segment"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Calls:
    """N decided production calls of a task's first tier."""

    strata: Ints
    """(N,)"""
    score: Floats
    """(N,) confidence, or where it does not explain the decision one that does: below or above every τ."""
    confidence: Floats
    """(N,) nan where missing."""
    block: Ints
    """(N,) day or quarter of a day."""
    threshold: float
    """Median of the recorded τ, nan without any."""


def cause(reader: Reader, finding: Finding) -> Cause:
    """The cause of a *suspect* or *drifting* finding; effects are percentage points of the escalation rate.

    The three effects add up to the change. An effect earns its name by explaining at least half of the change
    while its 90 % interval excludes 0. Confidences that changed within the kinds of input are the *model*'s
    doing only where the recorded model or version changed at the time; otherwise it may be inputs that no
    segment tells apart.
    """
    if finding.reference is None or finding.current is None or finding.since_hour is None:
        return _unknown("It is not known since when, so there is nothing to compare.")
    before, now, names = _windows(reader, finding, finding.reference, finding.current)
    if before is None or now is None:
        return _unknown("One of the two windows holds no decided calls.")
    effects = _effects(before, now, len(names))
    move = moved(reader, finding)
    total = sum(effect.points for effect in effects)
    leading = _leading(effects, total)
    if finding.stream == "confidence_shape" and (leading is None or abs(total) < RATE_MOVED * 100):
        name, note = _cause_of_shape(before, now, names, move)
    elif leading == 0:
        name, note = "inputs", _grown(before, now, names)
    elif leading == 1:
        name, note = _within(move, "Confidences changed within every kind of input")
    elif leading == 2:
        name, note = "threshold", f"τ was moved: {before.threshold:.3g} → {now.threshold:.3g}."
    else:
        parts = zip(("inputs", "model", "threshold"), effects, strict=True)
        split = ", ".join(f"{part} {effect.points:+.1f}" for part, effect in parts)
        name, note = "unknown", f"No single cause explains most of the change ({split} points)."
    return Cause(name, *effects, note)


def _unknown(note: str) -> Cause:
    nothing = Effect(0.0, 0.0, 0.0)
    return Cause("unknown", nothing, nothing, nothing, note)


def _windows(
    reader: Reader, finding: Finding, reference: Window, current: Window
) -> tuple[_Calls | None, _Calls | None, list[str]]:
    """The calls of both windows, and the names of the strata."""
    frames = [_rows(reader, finding, window) for window in (reference, current)]
    if any(frame.empty for frame in frames):
        return None, None, []
    segments = [frame["segment"].fillna("").astype(str) for frame in frames]
    unnamed = [(segment == "").mean() for segment in segments]
    if abs(unnamed[0] - unnamed[1]) > 0.5:
        # Recording of segments was switched on or off: that is no change of inputs.
        segments = [segment.where(segment == "", "") for segment in segments]
    names = list(pd.concat(segments).value_counts().index[:MOST_SEGMENTS])
    place = {name: index for index, name in enumerate(names)}
    strata = [segment.map(place).fillna(len(names)).to_numpy(np.int64) for segment in segments]
    usable = all(frame["threshold"].notna().any() for frame in frames)
    before, now = (_calls(frame, part, usable) for frame, part in zip(frames, strata, strict=True))
    return before, now, [*names, "other"]


def _rows(reader: Reader, finding: Finding, window: Window) -> pd.DataFrame:
    rows = reader.rows(finding.task, window.start_hour, window.end_hour, kind=schema.TIER, columns=COLUMNS)
    decided = rows["escalated"].notna() & (rows["tier"] == finding.tier) & (rows["purpose"].fillna("") == "")
    rows = rows[decided]
    return rows.iloc[:: -(-len(rows) // MOST_CALLS) or 1]


def _calls(rows: pd.DataFrame, strata: Ints, usable: bool) -> _Calls:
    escalated = rows["escalated"].to_numpy(bool)
    confidence = rows["confidence_nano"].to_numpy(float) / 1e9
    decided_by = rows["threshold"].to_numpy(float)
    threshold = float(np.nanmedian(decided_by)) if usable else 0.5
    explained = (confidence < np.where(np.isnan(decided_by), threshold, decided_by)) == escalated
    explained &= ~np.isnan(confidence)
    # Above every τ, also above one of 1.
    score = np.where(explained & usable, confidence, np.where(escalated, -1.0, 2.0))
    hour = rows["hour"].to_numpy(np.int64)
    days = (hour.max() - hour.min() + 1) / 24
    return _Calls(strata, score, confidence, hour // (24 if days >= SHORT_DAYS else 6), threshold)


def _effects(before: _Calls, now: _Calls, strata: int) -> tuple[Effect, Effect, Effect]:
    windows = (before.strata, before.score, before.threshold, now.strata, now.score, now.threshold, strata)
    points = shapley(*windows)
    intervals = shapley_interval(*windows, before.block, now.block)
    inputs, model, threshold = (
        Effect(100 * point, 100 * low, 100 * high)
        for point, (low, high) in zip(points, intervals, strict=True)
    )
    return inputs, model, threshold


def _leading(effects: tuple[Effect, ...], total: float) -> int | None:
    """Which effect explains at least half of the change in its direction, beyond chance."""
    place = int(np.argmax([effect.points * np.sign(total) for effect in effects]))
    effect = effects[place]
    real = effect.low > 0 or effect.high < 0
    return place if real and effect.points * np.sign(total) >= SHARE * abs(total) > 0 else None


def _within(move: Move | None, what: str) -> tuple[CauseName, str]:
    if move is not None:
        return "model", f"{what} when {move}."
    return "model_or_inputs", f"{what}, and no recorded model, version or segment changed with them."


def _grown(before: _Calls, now: _Calls, names: list[str]) -> str:
    """Which kind of input changed its share most, preferring one that grew."""
    shares = [np.bincount(calls.strata, minlength=len(names)) / len(calls.strata) for calls in (before, now)]
    most = int(np.argmax(shares[1] - shares[0]))
    name = names[most][:LONGEST_NAME] or "(unnamed)"
    return f"Inputs of segment {name} grew from {shares[0][most]:.0%} to {shares[1][most]:.0%} of calls."


def _cause_of_shape(
    before: _Calls, now: _Calls, names: list[str], move: Move | None
) -> tuple[CauseName, str]:
    """The cause of another distribution of confidences where the escalation rate says nothing."""
    if move is not None:
        return _within(move, "Confidences changed, and τ no longer means what it did,")
    means = []
    for calls in (before, now):
        scored = ~np.isnan(calls.confidence)
        n = np.bincount(calls.strata[scored], minlength=len(names))
        total = np.bincount(calls.strata[scored], calls.confidence[scored], len(names))
        means.append((n / max(n.sum(), 1), total / np.maximum(n, 1), n))
    (mix0, mean0, n0), (mix1, mean1, n1) = means
    shift = (mix1 * mean1).sum() - (mix0 * mean0).sum()
    common = np.where(n0 > 0, np.where(n1 > 0, (mean0 + mean1) / 2, mean0), mean1)
    reweighted = ((mix1 - mix0) * common).sum()
    if abs(reweighted) > abs(shift - reweighted) and reweighted * shift > 0:
        return "inputs", _grown(before, now, names)
    return _within(None, "τ no longer means what it did: confidences changed within the kinds of input")
