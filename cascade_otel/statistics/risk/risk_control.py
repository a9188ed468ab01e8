"""Which threshold keeps the risk below a limit: an upper bound at each confidence, tested from the top down.

A call is *accepted* at a threshold if its confidence is at or above it. The *joint* risk of a threshold is
the share of all calls that are accepted and wrong; the *selective* risk is the share of accepted calls that
are wrong. Thresholds are tested from the highest down, and the first that cannot be certified ends the
sequence: an order fixed beforehand needs no correction for the number of tests (Angelopoulos, Bates, Candès,
Jordan and Lei 2021, "Learn then Test"). So P(risk > alpha) <= delta if, within each stratum, the labelled
calls are a random sample, calls are independent, and the next calls are like these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from cascade_otel.statistics.intervals import checked_level
from cascade_otel.statistics.risk.binomial_bounds import melded

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ALWAYS, NEVER = np.inf, -np.inf
"""Confidences of calls that every threshold accepts, or that none does."""
START = 0.3
"""Share of the rarest kind of labels above which the sequence for the selective risk begins."""


@dataclass(frozen=True)
class Counts:
    """Calls at each of T distinct confidences, highest first, in each of G strata."""

    confidence: Floats
    """(T,) descending."""
    calls: Ints
    """(T, G)"""
    labelled: Ints
    """(T, G) those of which it is known whether the answer was wrong."""
    wrong: Ints
    """(T, G) those known to be wrong."""


@dataclass(frozen=True)
class RiskCurve:
    """What each of T thresholds would do, highest first: it accepts the calls at or above it."""

    threshold: Floats
    """(T,) descending."""
    accepted: Floats
    """(T,) share of calls accepted."""
    labelled: Ints
    """(T,) labelled calls among the accepted."""
    estimate: Floats
    """(T,) unbiased estimate of the risk; a stratum without labels counts as wrong throughout."""
    upper: Floats
    """(T,) upper bound at confidence 1 - delta, for each threshold alone."""


def count(confidence: ArrayLike, wrong: ArrayLike, stratum: ArrayLike) -> Counts:
    """Counts per distinct confidence and stratum.

    Args:
        confidence: (n,) in [0, 1], or ``ALWAYS`` or ``NEVER``.
        wrong: (n,) 1 or 0; nan where it is not known whether the answer was wrong.
        stratum: (n,) what had the same chance of a label, settled before the answer: the label rate itself
            serves (1 where calls are escalated anyway, the audit rate where a coin decides).

    Raises:
        ValueError: no calls, lengths differ, or a confidence is nan.
    """
    score, missed = np.asarray(confidence, np.float64), np.asarray(wrong, np.float64)
    group = np.asarray(stratum)
    if score.ndim != 1 or not len(score) or score.shape != missed.shape or score.shape != group.shape:
        raise ValueError(
            "confidence, wrong and stratum must be of one length, at least 1, "
            f"not {score.shape}, {missed.shape} and {group.shape}"
        )
    if np.isnan(score).any():
        raise ValueError("a confidence is nan: leave the call out, or say ALWAYS or NEVER accepted")
    levels, row = np.unique(-score, return_inverse=True)
    strata, column = np.unique(group, return_inverse=True)
    shape = len(levels), len(strata)
    cell = row * shape[1] + column
    known = ~np.isnan(missed)
    calls, labelled, bad = (
        np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
        for cells in (cell, cell[known], cell[known & (missed > 0)])
    )
    return Counts(-levels, calls, labelled, bad)


def thinned(counts: Counts, most: int) -> Counts:
    """About ``most`` thresholds, as far apart in calls as they come, instead of every distinct confidence.

    Which remain follows from the confidences alone, so every guarantee holds as before.
    """
    if len(counts.confidence) <= most:
        return counts
    share = counts.calls.sum(axis=1).cumsum() / counts.calls.sum()
    part = np.minimum((share * most).astype(np.int64), most - 1)
    part[counts.confidence == NEVER] = most
    last = np.append(np.flatnonzero(np.diff(part)), len(part) - 1)
    first = np.concatenate([[0], last[:-1] + 1])
    calls, labelled, wrong = (
        np.add.reduceat(one, first, axis=0) for one in (counts.calls, counts.labelled, counts.wrong)
    )
    return Counts(counts.confidence[last], calls, labelled, wrong)


def risk_curve(counts: Counts, delta: float, selective: bool = False) -> RiskCurve:
    """Estimate and upper bound of the joint, or selective, risk at every threshold above ``NEVER``.

    The bound is :func:`melded` over the strata for the shares as they were; the sampling error of the shares
    (multinomial) is added in quadrature.

    Args:
        counts: of n calls.
        delta: the risk of one threshold exceeds its bound with probability at most this.
        selective: risk among accepted calls instead of among all.
    """
    checked_level(delta)
    total = counts.calls.sum()
    rows = counts.confidence > NEVER
    calls, labelled, wrong = (
        one[rows].cumsum(axis=0) for one in (counts.calls, counts.labelled, counts.wrong)
    )
    accepted = calls.sum(axis=1)
    trials = accepted if selective else np.full(len(accepted), total)
    share = calls / trials[:, None]
    error = np.where(labelled > 0, wrong / np.maximum(labelled, 1), 1.0)
    estimate = (share * error).sum(axis=1)
    margin = np.maximum(melded(share, wrong, labelled, delta) - estimate, 0)
    variance_of_shares = np.maximum((share * error**2).sum(axis=1) - estimate**2, 0) / trials
    margin_of_shares = float(ndtri(1 - delta)) * np.sqrt(variance_of_shares)
    return RiskCurve(
        threshold=counts.confidence[rows],
        accepted=accepted / total,
        labelled=labelled.sum(axis=1),
        estimate=estimate,
        upper=estimate + np.hypot(margin, margin_of_shares),
    )


def certified(curve: RiskCurve, alpha: float, first: int = 0) -> int:
    """Place of the lowest certified threshold in the curve; -1 where none is.

    Args:
        curve: bounds at the wanted confidence.
        alpha: largest risk.
        first: place at which the sequence begins, chosen without looking at the answers.
    """
    passes = curve.upper[first:] <= alpha
    length = len(passes) if passes.all() else int(np.argmin(passes))
    return first + length - 1 if length else -1


def selective_start(counts: Counts, alpha: float, delta: float) -> int:
    """Where the sequence for the selective risk begins: not at the very top, where no labels are.

    The first threshold with twice the labels that perfect answers need, and with ``START`` of the labels of
    the stratum in which labels are rarest. It follows from where labels are, not from what they say.
    """
    labelled, calls = counts.labelled.sum(axis=0), counts.calls.sum(axis=0)
    rate = np.where(labelled > 0, labelled / np.maximum(calls, 1), np.inf)
    rarest = counts.labelled[:, int(np.argmin(rate))].cumsum()
    enough = counts.labelled.sum(axis=1).cumsum() >= 2 * labels_needed(alpha, delta)
    return int((~(enough & (rarest >= START * rarest[-1]))).sum())


def labels_needed(alpha: float, delta: float) -> int:
    """Labelled calls below which not even right answers throughout certify a risk of ``alpha``.

    The smallest m with (1 - alpha)^m <= delta: 45 for .05 and .1.
    """
    checked_level(alpha)
    checked_level(delta)
    return int(np.ceil(np.log(delta) / np.log1p(-alpha)))
