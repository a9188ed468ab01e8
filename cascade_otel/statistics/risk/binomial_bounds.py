"""Upper confidence bounds of an error rate, from one sample or from several strata with known shares."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, gammaincinv

from cascade_otel.statistics.intervals import checked_level

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SMALLEST = float(np.finfo(np.float64).tiny)
LEAST_SKEWNESS = 1e-4
"""Below it a Gamma distribution is a normal one, and its shape would overflow."""


def clopper_pearson(wrong: ArrayLike, labelled: ArrayLike, delta: float) -> Floats:
    """Exact upper bound of an error rate: the true rate exceeds it with probability at most ``delta``.

    Clopper and Pearson (1934): the 1 - delta quantile of Beta(wrong + 1, labelled - wrong).

    Args:
        wrong: wrong answers among the labelled, any shape.
        labelled: same shape; where 0, or where all are wrong, the bound is 1.
        delta: in (0, 1).
    """
    checked_level(delta)
    x, m = np.broadcast_arrays(np.asarray(wrong, np.float64), np.asarray(labelled, np.float64))
    informative = x < m
    right = np.where(informative, m - x, 1.0)
    return np.where(informative, betaincinv(x + 1, right, 1 - delta), 1.0)


def melded(share: ArrayLike, wrong: ArrayLike, labelled: ArrayLike, delta: float) -> Floats:
    """Upper bound of a sum of error rates, each weighted by the known share of its stratum.

    With one informative stratum it is its share times :func:`clopper_pearson`, exactly. With several, their
    upper confidence variables Beta(wrong + 1, labelled - wrong) are added (melding: Fay, Proschan and
    Brittain 2015, Biometrics 71:146), and the quantile of the sum is that of a shifted Gamma distribution
    with the same mean, variance and skewness. A stratum without a right label counts as wrong throughout.

    Args:
        share: (..., G) share of each stratum.
        wrong: (..., G) wrong answers among its labelled calls.
        labelled: (..., G)
        delta: the true sum exceeds the bound with probability at most this.

    Returns:
        (...), at most the sum of the shares.
    """
    a, x, m = np.broadcast_arrays(*(np.asarray(one, np.float64) for one in (share, wrong, labelled)))
    informative = (a > 0) & (x < m)
    alone = (a * clopper_pearson(x, m, delta)).sum(axis=-1)
    several = informative.sum(axis=-1) > 1
    if not several.any():
        return np.asarray(alone, np.float64)
    bound = np.array(alone, np.float64)
    bound[several] = _sum_quantile(a[several], x[several], m[several], informative[several], 1 - delta)
    return np.asarray(np.minimum(bound, a.sum(axis=-1)), np.float64)


def _sum_quantile(share: Floats, wrong: Floats, labelled: Floats, informative: Bools, level: float) -> Floats:
    """Quantile of sum(share * Beta(wrong + 1, labelled - wrong)) over the last axis."""
    p = np.where(informative, wrong + 1, 1.0)
    q = np.where(informative, labelled - wrong, 1.0)
    size = p + q
    mean = np.where(informative, p / size, 1.0)
    variance = np.where(informative, p * q / (size**2 * (size + 1)), 0.0)
    third = variance * 2 * (q - p) / (size * (size + 2))  # third central moment of a Beta distribution
    total_mean = (share * mean).sum(axis=-1)
    total_variance = (share**2 * variance).sum(axis=-1)
    total_third = (share**3 * third).sum(axis=-1)
    deviation = np.sqrt(total_variance)
    skewness = np.maximum(total_third / np.maximum(deviation**3, SMALLEST), LEAST_SKEWNESS)
    shape = 4 / skewness**2
    standard = (gammaincinv(shape, level) - shape) / np.sqrt(shape)
    return np.asarray(total_mean + deviation * standard, np.float64)
