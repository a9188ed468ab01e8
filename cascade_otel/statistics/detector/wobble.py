"""How much a stream's level moves from day to day without meaning: size and memory of its day effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from cascade_otel.statistics.detector.fleet_prior import MEMORIES, SIZES, FleetPrior

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SMOOTHING = 0.1
"""Share of the prior's mass that is moved to neighbouring sizes, so that no size has probability zero."""

FADING_STREAMS = 20.0
"""A fleet of so many halves what the default is worth: its long tails are for those who have nothing else."""

EM_STEPS = 400


@dataclass(frozen=True)
class Wobble:
    """Posterior of B streams over the grid of K sizes and P memories, and the level at each grid point."""

    weight: Floats
    """(B, K, P), sums to 1 per stream."""
    level: Floats
    """(B, K, P) generalised-least-squares level of the reference, logit."""
    level_variance: Floats
    """(B, K, P) its variance."""
    fleet: Floats
    """(F, K, P) distribution of size and memory in each fleet."""

    @property
    def size_weight(self) -> Floats:
        """(B, K) posterior of the size alone."""
        return np.asarray(self.weight.sum(2))

    @property
    def mean_level(self) -> Floats:
        """(B,) posterior mean of the level."""
        return np.asarray((self.weight * self.level).sum((1, 2)))

    @property
    def mean_level_variance(self) -> Floats:
        """(B,) posterior variance of the level."""
        apart = (self.level - self.mean_level[:, None, None]) ** 2
        return np.asarray((self.weight * (self.level_variance + apart)).sum((1, 2)))

    @property
    def memory(self) -> Floats:
        """(B,) mean memory, weighted by the variance it belongs to: that of a tiny effect is no matter."""
        by_variance = (self.weight * (SIZES**2)[:, None] * MEMORIES).sum((1, 2))
        return np.asarray(by_variance / (self.size_weight * SIZES**2).sum(1))


def wobble_posterior(
    residual: Floats,
    variance: Floats,
    seen: Floats,
    fleet: Sequence[Ints],
    priors: Sequence[FleetPrior],
    prior_streams: float,
) -> Wobble:
    """Posterior of size and memory of the day effect from the days of the reference.

    Likelihood: a Kalman filter over days with an unknown level (restricted likelihood). Prior: the fleet's
    distribution over the grid, by EM (non-parametric maximum likelihood), mixed with what was known.

    Args:
        residual: (B, D) day residuals, logit.
        variance: (B, D) their binomial variance.
        seen: (B, D) 1 where the day counts, else 0.
        fleet: index arrays of streams that share a prior.
        priors: of each fleet, what is known from other streams.
        prior_streams: how many streams that is worth beyond those it was learned from, in a small fleet.
    """
    log_likelihood, level, level_variance = _kalman(residual, variance, seen)
    likelihood = np.exp(log_likelihood - log_likelihood.max((1, 2), keepdims=True))
    weight = np.zeros(likelihood.shape)
    learned = np.zeros((len(fleet), len(SIZES), len(MEMORIES)))
    for place, (members, prior) in enumerate(zip(fleet, priors, strict=True)):
        flat = likelihood[members].reshape(len(members), -1)
        together = len(members) + prior.streams
        known = prior.streams + prior_streams / (1 + together / FADING_STREAMS)
        learned[place] = _fleet_prior(flat, prior.wobble, known)
        smooth = _smooth(learned[place]).ravel()
        weight[members] = (flat * smooth / (flat @ smooth)[:, None]).reshape(-1, *learned[place].shape)
    return Wobble(weight, level, level_variance, learned)


def day_transition(nodes: Floats, memory: float, freedom: float) -> tuple[Floats, Floats]:
    """Markov chain of the day effect on a grid.

    Args:
        nodes: (Z,) standardised day effects.
        memory: correlation from one day to the next.
        freedom: degrees of freedom of the t-distributed innovation, scaled to unit variance overall.

    Returns:
        (Z, Z) probability of tomorrow's node (column) given today's (row), and (Z,) the stationary law.
    """
    edges = np.concatenate([[-np.inf], (nodes[1:] + nodes[:-1]) / 2, [np.inf]])
    scale = np.sqrt((1 - memory**2) * (freedom - 2) / freedom)
    step = np.diff(stdtr(freedom, (edges[None] - memory * nodes[:, None]) / scale), axis=1)
    return step, np.linalg.matrix_power(step, 256)[len(nodes) // 2]


def _kalman(residual: Floats, variance: Floats, seen: Floats) -> tuple[Floats, Floats, Floats]:
    """Restricted log-likelihood, level and its variance, each (B, K, P)."""
    size, days = residual.shape
    shape = (size, len(SIZES), len(MEMORIES))
    stationary = (SIZES**2)[None, :, None]
    memory = MEMORIES[None, None, :]
    mean, response = np.zeros(shape), np.zeros(shape)  # response: what a unit of level adds to the prediction
    spread: Floats = np.broadcast_to(stationary, shape)
    log_likelihood, information, score = np.zeros(shape), np.full(shape, 1e-6), np.zeros(shape)
    for day in range(days):
        on = seen[:, day][:, None, None]
        predicted = spread + variance[:, day][:, None, None]
        error = residual[:, day][:, None, None] - mean
        slope = 1 - response
        gain = on * spread / predicted
        log_likelihood = log_likelihood - 0.5 * on * (np.log(predicted) + error * error / predicted)
        information = information + on * slope * slope / predicted
        score = score + on * slope * error / predicted
        mean = memory * (mean + gain * error)
        response = memory * (response + gain * slope)
        spread = memory**2 * spread * (1 - gain) + (1 - memory**2) * stationary
    log_likelihood = log_likelihood + 0.5 * score * score / information - 0.5 * np.log(information)
    return log_likelihood, score / information, 1 / information


def _fleet_prior(likelihood: Floats, known: Floats, known_streams: float) -> Floats:
    """Prior (K, P) by EM from likelihoods (b, K*P) of one fleet and what is known, worth so many streams."""
    start = known.ravel()
    prior = start
    for _ in range(EM_STEPS):
        evidence = likelihood @ prior
        prior = ((likelihood / evidence[:, None]).sum(0) * prior + known_streams * start) / (
            len(likelihood) + known_streams
        )
    return np.asarray(prior.reshape(known.shape))


def _smooth(prior: Floats) -> Floats:
    """The same (K, P) with some of its mass moved to neighbouring sizes."""
    padded = np.pad(prior, ((1, 1), (0, 0)), "edge")
    return np.asarray((1 - SMOOTHING) * prior + SMOOTHING * (padded[2:] + padded[:-2]) / 2)
