"""How much to audit: what an audit rate costs, and what it buys in a lower certified escalation rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincc, gammaincinv

from cascade_otel.statistics.intervals import checked_level

Floats = NDArray[np.float64]

RATES = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
"""Audit rates that are compared."""
WORTH = 0.002
"""A higher rate must save at least this share of strong calls over a lower one."""
TYPICAL_EXPONENT = 1.9
"""Wrong answers among the s most confident calls grow like s to this power where confidence is of use."""


@dataclass(frozen=True)
class AuditPlan:
    """Audit rates and what each buys with n calls; K rates."""

    rate: Floats
    """(K,) share of accepted calls that are audited."""
    escalation: Floats
    """(K,) expected escalation rate at the lowest threshold it certifies; 1 where it certifies none."""
    strong_calls: Floats
    """(K,) calls of the strong tier per call: escalated ones and audits."""
    best: int
    """Place of the advised rate: within ``WORTH`` of the fewest strong calls, the lowest."""
    least: float
    """Rate below which nothing can be certified; above 1: not with so few calls."""


def least_rate(calls: float, alpha: float, delta: float) -> float:
    """Audit rate below which ``calls`` certify nothing: calls * rate * alpha must reach log(1 / delta).

    Even without a single wrong audit the Poisson bound of the joint risk is log(1/delta) / (calls * rate).
    """
    checked_level(alpha)
    checked_level(delta)
    return math.log(1 / delta) / (max(calls, 1e-9) * alpha)


def typical_curve(alpha: float, accepted: float = 0.5) -> tuple[Floats, Floats]:
    """A stand-in where nothing is known: shares of calls accepted, and the joint risk of each.

    ``accepted`` is the share that could be accepted at a risk of exactly ``alpha``.
    """
    share = np.linspace(0, 1, 101)
    return share, np.minimum(alpha * (share / accepted) ** TYPICAL_EXPONENT, share)


def audit_plan(calls: float, alpha: float, delta: float, accepted: ArrayLike, risk: ArrayLike) -> AuditPlan:
    """What auditing would buy at each of ``RATES``.

    With n calls, audit rate ε and joint risk R the wrong audits above a threshold are about Poisson(n ε R),
    and it is certified while they are so few that their exact upper bound stays within n ε α. Going down the
    curve they only become more, so the expected share accepted adds up what each threshold adds, times the
    probability that it is certified.

    Args:
        calls: n, calls until the next advice.
        alpha: largest joint risk.
        delta: probability that the advice may err.
        accepted: (T,) ascending shares of calls accepted.
        risk: (T,) joint risk of each, ascending.
    """
    rate = np.asarray(RATES)
    added = np.diff(np.asarray(accepted, np.float64), prepend=0.0)
    audits = calls * rate
    allowed = np.array([most_wrong(one * alpha, delta) for one in audits])
    expected = audits * np.asarray(risk, np.float64)[:, None]
    certified = np.where(allowed >= 0, gammaincc(np.maximum(allowed, 0) + 1, expected), 0.0)
    escalation = 1 - (added[:, None] * certified).sum(axis=0)
    strong = escalation + rate * (1 - escalation)
    best = int(np.argmax(strong <= strong.min() + WORTH))
    return AuditPlan(rate, escalation, strong, best, least_rate(calls, alpha, delta))


def most_wrong(limit: float, delta: float) -> int:
    """The greatest count whose exact upper bound of a Poisson mean is at most ``limit``; -1 where none is."""
    counts = np.arange(int(limit) + 1)
    return int((gammaincinv(counts + 1.0, 1 - delta) <= limit).sum()) - 1
