"""What labels say about a confidence: does it tell right from wrong, and does it mean what it says?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cascade_otel.statistics import calibration, deferral

FEWEST = 50
FEWEST_OF_A_KIND = 10
FINEST = 8
"""Copies of the rarest kind of call, where labels have different weights."""
MOST_COPIES = 1_000
Z90 = 1.6448536269514722
TRACE = ["trace_hi", "trace_lo"]


@dataclass(frozen=True)
class Quality:
    """None: no labels that tell. ``low`` and ``high`` are the 90 % interval of the AUROC."""

    labelled: int = 0
    auroc: float | None = None
    low: float = 0.0
    high: float = 1.0
    ece: float | None = None
    audc: float | None = None
    audc_normalised: float | None = None
    enough: bool = False
    """Enough right and enough wrong answers to judge the AUROC."""


def quality(labels: pd.DataFrame, tiers: pd.DataFrame, decided: pd.DataFrame) -> Quality:
    """Quality of the first tier's confidence.

    Where accepted and escalated calls are labelled in different shares, as under audits, each labelled call
    stands for as many as it takes to restore the traffic; unless labels carry weights of their own.

    Args:
        labels: as of ``Reader.labels``.
        tiers: tier rows with ``first`` and ``last``, of the same tasks.
        decided: the decided production calls of the first tier.
    """
    roles = tiers[["task", "tier", "first", "last"]].drop_duplicates(["task", "tier"])
    known = labels.merge(roles, on=["task", "tier"])
    cheap = known[
        known["first"] & (known["purpose"] == "") & known["confidence"].notna() & known["escalated"].notna()
    ]
    if cheap.empty:
        return Quality()
    copies = _copies(cheap, decided)
    score, right = cheap["confidence"].to_numpy(float), cheap["correct"].to_numpy(bool)
    auroc = calibration.auroc(np.repeat(score, copies), np.repeat(right, copies))
    low, high = _interval(auroc, right, copies)
    fewest = min(int(right.sum()), int((~right).sum()))
    strong = known[known["last"] & known["purpose"].isin(("", "audit"))]
    strong = strong.drop_duplicates(TRACE)[[*TRACE, "correct"]].rename(columns={"correct": "strong"})
    pairs = cheap.assign(copies=copies).merge(strong, on=TRACE)
    areas: tuple[float | None, float | None] = None, None
    if len(pairs) and not pairs["escalated"].astype(bool).all():
        times = pairs["copies"].to_numpy(np.int64)
        scores = np.repeat(pairs["confidence"].to_numpy(float), times)
        own, other = (np.repeat(pairs[name].to_numpy(bool), times) for name in ("correct", "strong"))
        areas = (
            _number(deferral.audc(scores, own, other)),
            _number(deferral.audc_normalised(scores, own, other)),
        )
    return Quality(
        labelled=len(cheap),
        auroc=_number(auroc),
        low=low,
        high=high,
        ece=_number(calibration.ece(np.repeat(score, copies), np.repeat(right, copies))),
        audc=areas[0],
        audc_normalised=areas[1],
        enough=len(cheap) >= FEWEST and fewest >= FEWEST_OF_A_KIND,
    )


def _copies(cheap: pd.DataFrame, decided: pd.DataFrame) -> NDArray[np.int64]:
    """Whole number of calls each labelled one stands for."""
    weight = cheap["weight"].to_numpy(float)
    escalated = cheap["escalated"].to_numpy(bool)
    if (weight == 1).all():
        keys = ["task", "escalated"]
        traffic = decided.groupby(keys, observed=True).size().rename("traffic")
        own = cheap.groupby(keys, observed=True)["weight"].transform("size").to_numpy(float)
        calls = cheap[keys].merge(traffic.reset_index(), on=keys, how="left")["traffic"].to_numpy(float)
        weight = np.where(np.isnan(calls), 1.0, calls / own)
    weight = np.maximum(weight, 1e-9)
    if np.allclose(weight, weight[0]) or len(set(escalated)) == 1:
        return np.ones(len(weight), np.int64)
    return np.asarray(np.clip(np.rint(weight / weight.min() * FINEST), 1, MOST_COPIES), np.int64)


def _interval(auroc: float, right: NDArray[np.bool_], copies: NDArray[np.int64]) -> tuple[float, float]:
    """90 % interval after Hanley and McNeil (1982), with the effective numbers of right and wrong answers."""
    if math.isnan(auroc):
        return 0.0, 1.0
    good, bad = (
        float(copies[part].sum()) ** 2 / float((copies[part] ** 2).sum()) for part in (right, ~right)
    )
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = (auroc * (1 - auroc) + (good - 1) * (q1 - auroc**2) + (bad - 1) * (q2 - auroc**2)) / (
        good * bad
    )
    spread = Z90 * math.sqrt(max(variance, 0.0))
    return max(auroc - spread, 0.0), min(auroc + spread, 1.0)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
