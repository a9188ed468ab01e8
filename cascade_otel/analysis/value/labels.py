"""What labels and audits say about a confidence: does it tell right from wrong, and what does that mend?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cascade_otel.statistics import calibration, deferral
from cascade_otel.statistics.deferral import Loss
from cascade_otel.statistics.intervals import wilson

FEWEST = 50
FEWEST_OF_A_KIND = 10
FEWEST_ACCEPTED = 20
"""Accepted calls that both tiers' answers are known of. Fewer say too little about what is given up, unless
they are half of all."""
MARGIN = 0.02
"""A cascade keeps its strong tier's quality where it gives up at most this share of right answers."""
TRACE = ["trace_hi", "trace_lo"]
Basis = Literal["labels", "agreement", "none"]


@dataclass(frozen=True)
class Quality:
    """None: nothing that tells. Shares are of all calls unless another whole is named."""

    labelled: int = 0
    """Calls whose first tier's answer has a label."""
    pairs: int = 0
    """Of these, calls whose strongest tier's answer has one too."""
    auroc: float | None = None
    low: float = 0.0
    high: float = 1.0
    """Of the 90 % interval of the AUROC."""
    ece: float | None = None
    brier: float | None = None
    audc: float | None = None
    audc_normalised: float | None = None
    apgr: float | None = None
    pgr: float | None = None
    """Of the cascade as it runs."""
    rescued: float | None = None
    """Share of escalated calls that the strongest tier put right."""
    broken: float | None = None
    """Share of escalated calls that were right before."""
    wasted: float | None = None
    """Share of escalated calls whose first answer was right already."""
    loss: Loss | None = None
    """Right answers given up against the strongest tier alone."""
    basis: Basis = "none"
    """What ``loss`` and ``wasted`` rest on; with ``agreement`` the loss is at most what is said."""
    accepted: int = 0
    """Accepted calls that ``loss`` rests on."""
    within: tuple[float, float] | None = None
    """Lowest τ that surely gives up at most ``MARGIN``, and the share it escalates."""
    least: float = 0.0
    """Share that must be escalated at least, as any τ below surely gives up more than ``MARGIN``."""
    enough: bool = False
    """Enough right and enough wrong answers to judge the AUROC."""


@dataclass(frozen=True)
class Labelled:
    """Labelled calls of every task's first tier, each with how many calls it stands for."""

    scored: pd.DataFrame
    """task, confidence, correct, escalated, stands_for; calls that have a confidence."""
    pairs: pd.DataFrame
    """The same with strong (was the strongest tier's answer right?), of calls where both are known; a missing
    confidence is nan."""


@dataclass(frozen=True)
class Traffic:
    """What all calls of a task came to, and how often its strongest tier agreed with its first."""

    accepted: float
    escalated: float
    audited: int = 0
    agreed: float = 0.0
    """Share of accepted answers with which the strongest tier agrees, by audits."""
    compared: int = 0
    """Escalated calls whose answers were compared."""
    confirmed: float = 0.0
    """Share of them in which the strongest tier agrees."""

    @property
    def accepted_share(self) -> float:
        """Share of calls that were accepted; 1 without calls."""
        return self.accepted / (self.accepted + self.escalated) if self.accepted + self.escalated else 1.0


def labelled(labels: pd.DataFrame, roles: pd.DataFrame, traffic: pd.DataFrame) -> Labelled:
    """The labelled calls of first tiers, weighted so that accepted and escalated ones have their true shares.

    Where every escalated and one in twenty accepted calls is labelled, as under audits, the latter stand for
    twenty each. Weights that labels bring along hold within either kind.

    Args:
        labels: as of ``Reader.labels``.
        roles: as of ``usage.roles``.
        traffic: calls by task and escalated: task, escalated, calls.
    """
    known = labels.merge(roles, left_on="task", right_index=True)
    cheap = known[
        (known["tier"] == known["first"]) & (known["purpose"] == "") & known["escalated"].notna()
    ].astype({"escalated": bool, "correct": bool})
    strong = known[(known["tier"] == known["last"]) & known["purpose"].isin(("", "audit"))]
    strong = strong.drop_duplicates(["task", *TRACE])[["task", *TRACE, "correct"]]
    pairs = cheap.merge(strong.rename(columns={"correct": "strong"}), on=["task", *TRACE])
    pairs = pairs.astype({"strong": bool})
    scored = cheap[cheap["confidence"].notna()]
    columns = ["task", "confidence", "correct", "escalated", "stands_for"]
    return Labelled(_weighted(scored, traffic)[columns], _weighted(pairs, traffic)[[*columns, "strong"]])


def quality(scored: pd.DataFrame, pairs: pd.DataFrame, traffic: Traffic) -> Quality:
    """Quality of the first tier's confidence, of one task's labelled calls or of several tasks' together."""
    found = Quality(labelled=len(scored), pairs=len(pairs))
    if len(scored):
        found = _of_labels(found, scored)
    if len(pairs):
        found = _of_pairs(found, pairs, traffic)
    if found.loss is None and traffic.audited >= FEWEST_ACCEPTED:
        found = _of_agreement(found, traffic)
    return found


def _of_labels(found: Quality, scored: pd.DataFrame) -> Quality:
    score, right, weight = _columns(scored)
    low, high = calibration.auroc_interval(score, right, weight)
    fewest = min(int(right.sum()), int((~right).sum()))
    return replace(
        found,
        auroc=_number(calibration.auroc(score, right, weight)),
        low=low,
        high=high,
        ece=_number(calibration.ece(score, right, weight=weight)),
        brier=_number(calibration.brier(score, right, weight)),
        enough=len(scored) >= FEWEST and fewest >= FEWEST_OF_A_KIND,
    )


def _of_pairs(found: Quality, pairs: pd.DataFrame, traffic: Traffic) -> Quality:
    escalated, cheap, strong = (pairs[name].to_numpy(bool) for name in ("escalated", "correct", "strong"))
    weight = pairs["stands_for"].to_numpy(float)
    if escalated.any():
        rescued, broken, wasted = (
            float(np.average(kind[escalated], weights=weight[escalated]))
            for kind in (strong & ~cheap, cheap & ~strong, cheap)
        )
        found = replace(found, rescued=rescued, broken=broken, wasted=wasted, basis="labels")
    accepted = int((~escalated).sum())
    if accepted < min(FEWEST_ACCEPTED, traffic.accepted / 2):
        return found
    kept = np.where(escalated, strong, cheap)
    accuracies = (float(np.average(one, weights=weight)) for one in (kept, cheap, strong))
    found = replace(
        found,
        loss=deferral.given_up(~escalated, cheap, strong, weight, traffic.accepted_share),
        accepted=accepted,
        basis="labels",
        pgr=_number(deferral.performance_gap_recovered(*accuracies)),
    )
    own = pairs[pairs["confidence"].notna()]
    if own.empty:
        return found
    score, right, each = _columns(own)
    other = own["strong"].to_numpy(bool)
    return replace(
        found,
        audc=_number(deferral.audc(score, right, other, weight=each)),
        audc_normalised=_number(deferral.audc_normalised(score, right, other, weight=each)),
        apgr=_number(deferral.average_performance_gap_recovered(score, right, other, weight=each)),
        within=deferral.surely_within(score, right, other, MARGIN, each),
        least=deferral.least_escalation(score, right, other, MARGIN, each),
    )


def _of_agreement(found: Quality, traffic: Traffic) -> Quality:
    """Where the tiers agree nothing is given up; where they differ the strongest may be right."""
    differs = 1 - traffic.agreed
    _, most = wilson(differs * traffic.audited, traffic.audited)
    limit = traffic.accepted_share * float(most)
    return replace(
        found,
        loss=Loss(traffic.accepted_share * differs, -limit, limit),
        accepted=traffic.audited,
        basis="agreement",
        wasted=traffic.confirmed if found.wasted is None and traffic.compared else found.wasted,
    )


def _weighted(calls: pd.DataFrame, traffic: pd.DataFrame) -> pd.DataFrame:
    keys = ["task", "escalated"]
    own = calls.groupby(keys, observed=True)["weight"].transform("sum").to_numpy(float)
    whole = calls[keys].merge(traffic, on=keys, how="left")["calls"].to_numpy(float)
    weight = np.maximum(calls["weight"].to_numpy(float), 1e-9)
    known = ~np.isnan(whole) & (whole > 0) & (own > 0)
    return calls.assign(stands_for=np.where(known, weight * whole / np.where(known, own, 1.0), weight))


def _columns(
    calls: pd.DataFrame,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64] | None]:
    """Confidence, correctness and, unless all are alike, weights."""
    weight = calls["stands_for"].to_numpy(float)
    alike = bool(np.allclose(weight, weight[0]))
    return calls["confidence"].to_numpy(float), calls["correct"].to_numpy(bool), None if alike else weight


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
