"""What labels tell: whether confidence means what it says, and what another τ would do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cascade_otel.presentation import words
from cascade_otel.presentation.periods import Period
from cascade_otel.presentation.task_frames import Tier
from cascade_otel.statistics.calibration import ece, reliability
from cascade_otel.statistics.deferral import deferral_curve
from cascade_otel.storage.reading.rollup import Reader

ENOUGH = 50
"""Fewer labelled calls make a chart that says nothing."""
NO_LABELS = (
    "No labels yet. Tell which answers were right, at any later time: "
    "feedback(trace_id, tier, correct, source=…)."
)
NO_PAIRS = (
    "Needs calls in which both tiers' answers are labelled. Escalated calls have both answers; for accepted "
    "ones run the strong tier on a small random share, purpose audit, and label both with feedback(…)."
)


@dataclass(frozen=True)
class Reliability:
    """Accuracy by confidence, or ``missing``: what to switch on."""

    bins: pd.DataFrame
    """One row per bin with labels: low, high (its edges), confidence (mean), accuracy, accuracy_low,
    accuracy_high (90 % interval), calls."""
    note: str
    missing: str = ""


@dataclass(frozen=True)
class Deferral:
    """End accuracy by share escalated, or ``missing``: what to switch on."""

    curve: pd.DataFrame
    """escalated, accuracy, threshold (τ that escalates so many; nan at the start)."""
    now: tuple[float, float] | None
    """Escalated share and accuracy at τ now."""
    threshold: float | None
    note: str
    missing: str = ""


def of_task(reader: Reader, task: str, period: Period) -> pd.DataFrame:
    """The task's labelled calls of a period; columns as of ``Reader.labels``."""
    labels = reader.labels(period.start_hour, period.end_hour)
    return labels[(labels["task"] == task) & labels["purpose"].isin(("", "audit"))].reset_index(drop=True)


def calibration(labels: pd.DataFrame, tier: Tier, period: Period) -> Reliability:
    """The reliability diagram of the first tier."""
    own = _scored(labels, tier)
    nothing = pd.DataFrame(
        columns=["low", "high", "confidence", "accuracy", "accuracy_low", "accuracy_high", "calls"]
    )
    if len(own) < ENOUGH:
        return Reliability(nothing, "", _few(len(own)) or NO_LABELS)
    score, right = own["confidence"].to_numpy(float), own["correct"].to_numpy(bool)
    weight = _weights(own["escalated"].fillna(False).to_numpy(bool), tier, period)
    found = reliability(score, right, weight=weight)
    bins = pd.DataFrame(
        {
            "low": found.edges[:-1],
            "high": found.edges[1:],
            "confidence": found.confidence,
            "accuracy": found.accuracy,
            "accuracy_low": found.low,
            "accuracy_high": found.high,
            "calls": found.calls,
        }
    )
    gap = ece(score, right, weight=weight)
    labelled = f"{words.count(len(own))} labelled calls, {period.name}"
    note = f"{labelled}; mean gap (ECE) {gap:.3f}; figures: calls in the bin"
    return Reliability(bins[bins["calls"] > 0].reset_index(drop=True), note)


def deferral(labels: pd.DataFrame, tier: Tier, threshold: float | None, period: Period) -> Deferral:
    """The deferral curve of the first tier and the next, from calls in which both are labelled.

    Where accepted calls were audited at random, each stands for as many as it takes to restore the share of
    calls that were accepted.
    """
    pairs = _pairs(labels, tier)
    nothing = pd.DataFrame(columns=["escalated", "accuracy", "threshold"])
    if len(pairs) < ENOUGH or pairs["escalated"].all():
        return Deferral(nothing, None, threshold, "", NO_PAIRS)
    weight = _weights(pairs["escalated"].to_numpy(bool), tier, period)
    score, cheap, strong = (
        pairs[name].to_numpy(kind)
        for name, kind in (("confidence", float), ("correct", bool), ("strong_correct", bool))
    )
    escalated, accuracy = deferral_curve(score, cheap, strong, thresholds=None, weight=weight)
    # Escalating the calls below τ: the corner after the i lowest confidences belongs to the next one as τ.
    corners = np.append(np.unique(score), np.inf)
    curve = pd.DataFrame({"escalated": escalated, "accuracy": accuracy, "threshold": corners})
    curve.loc[curve["threshold"] > 1, "threshold"] = np.nan
    now = None
    if threshold is not None:
        corner = int(np.searchsorted(corners, threshold - 1e-9))
        now = (float(escalated[corner]), float(accuracy[corner]))
    note = f"{words.count(len(pairs))} calls with both answers labelled, {period.name}"
    return Deferral(curve, now, threshold, note)


def _scored(labels: pd.DataFrame, tier: Tier) -> pd.DataFrame:
    own = labels[(labels["tier"] == tier.name) & (labels["purpose"] == "")]
    return own.dropna(subset=["confidence"])


def _pairs(labels: pd.DataFrame, tier: Tier) -> pd.DataFrame:
    cheap = _scored(labels, tier).dropna(subset=["escalated"])
    others = labels[labels["tier"] != tier.name].sort_values("tier_index")
    strong = others.drop_duplicates(["trace_hi", "trace_lo"])[["trace_hi", "trace_lo", "correct"]]
    return cheap.merge(strong.rename(columns={"correct": "strong_correct"}), on=["trace_hi", "trace_lo"])


def _weights(escalated: NDArray[np.bool_], tier: Tier, period: Period) -> NDArray[np.float64]:
    """(n,) how many calls each labelled one stands for, so that as many are accepted as in all traffic."""
    own = tier.rows[tier.rows["hour"] >= period.start_hour]
    traffic = int(own["escalated"].sum()), int((own["decided"] - own["escalated"]).sum())
    labelled = int(escalated.sum()), int((~escalated).sum())
    each = np.array(
        [all_ / some if some and all_ else 1.0 for all_, some in zip(traffic, labelled, strict=True)]
    )
    return np.asarray(each[np.where(escalated, 0, 1)])


def _few(labelled: int) -> str:
    calls = "1 labelled call" if labelled == 1 else f"{labelled} labelled calls"
    return f"{calls} so far; the chart starts at {ENOUGH}." if labelled else ""
