"""Why did a rate change: an exact split into inputs, model and threshold.

The escalation rate is R = sum over strata x of mix(x) F_x(threshold), with F_x the confidence distribution
within stratum x. Each of the three is replaced by its later version in all six orders; the average effect of
each (its Shapley value) is its share, and the shares add up to the change exactly (Kitagawa 1955; Shorrocks
2013, "Decomposition procedures for distributional analysis").
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cascade_otel.statistics.intervals import central

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Interval = tuple[float, float]

MOST_THRESHOLDS = 40
"""Of more distinct thresholds, every one is rounded to .01."""


def shapley(
    strata0: ArrayLike,
    confidence0: ArrayLike,
    threshold0: ArrayLike,
    strata1: ArrayLike,
    confidence1: ArrayLike,
    threshold1: ArrayLike,
    n_strata: int,
) -> tuple[float, float, float]:
    """Split the change of P(confidence < threshold) between window 0 and window 1.

    A stratum that one window lacks is taken to have the other window's confidence distribution: all of its
    change is then one of the inputs. Where calls of a window have different thresholds (a rollout half-way,
    a threshold of each stratum), every call counts under its own, and a window's thresholds are what its
    calls of each stratum had; in combinations that never were, a call's threshold is taken to be independent
    of its confidence within the stratum.

    Args:
        strata0: (n0,) stratum of each call, 0 to n_strata-1.
        confidence0: (n0,)
        threshold0: calls below it escalate; one for all, or (n0,).
        strata1: (n1,)
        confidence1: (n1,)
        threshold1: the later threshold; one for all, or (n1,).
        n_strata: number of strata.

    Returns:
        Effects of inputs (mix), model (confidence within strata) and threshold, as fractions; their sum is
        the change.

    Raises:
        ValueError: a window is empty, lengths differ, or a stratum is out of range.
    """
    levels, *thresholds = _levels(threshold0, threshold1)
    window0 = _tables(strata0, confidence0, thresholds[0], levels, n_strata, None)
    window1 = _tables(strata1, confidence1, thresholds[1], levels, n_strata, None)
    inputs, model, threshold = _split(window0, window1)[0]
    return float(inputs), float(model), float(threshold)


def shapley_interval(
    strata0: ArrayLike,
    confidence0: ArrayLike,
    threshold0: ArrayLike,
    strata1: ArrayLike,
    confidence1: ArrayLike,
    threshold1: ArrayLike,
    n_strata: int,
    day0: ArrayLike,
    day1: ArrayLike,
    draws: int = 200,
    seed: int = 0,
    level: float = 0.9,
) -> tuple[Interval, Interval, Interval]:
    """Intervals of the three effects by a block bootstrap: whole blocks are drawn, thresholds are kept.

    Of n blocks n-1 are drawn with replacement, which makes the bootstrap's variance unbiased for few blocks.
    A window of a single block adds no spread of its own: pass shorter blocks where there are few days.

    Args:
        strata0: as in :func:`shapley`, like the next six.
        confidence0: see there.
        threshold0: see there.
        strata1: see there.
        confidence1: see there.
        threshold1: see there.
        n_strata: see there.
        day0: (n0,) integer label of the block of each call, such as its day.
        day1: (n1,)
        draws: bootstrap draws.
        seed: of the random generator.
        level: of the intervals.

    Returns:
        (low, high) of inputs, model and threshold, as fractions.
    """
    generator = np.random.default_rng(seed)
    levels, *thresholds = _levels(threshold0, threshold1)
    windows = (
        _tables(strata0, confidence0, thresholds[0], levels, n_strata, np.asarray(day0)),
        _tables(strata1, confidence1, thresholds[1], levels, n_strata, np.asarray(day1)),
    )
    drawn = [_draw_blocks(tables, draws, generator) for tables in windows]
    low, high = central(_split(*drawn), level)
    inputs, model, threshold = zip(low.tolist(), high.tolist(), strict=True)
    return inputs, model, threshold


@dataclass(frozen=True)
class _Tables:
    """Counts of N windows (blocks, or draws of blocks) per stratum; K distinct thresholds, in order."""

    calls: Floats
    """(N, n_strata)"""
    escalated: Floats
    """(N, n_strata) below their own threshold."""
    below: Floats
    """(N, n_strata, K) below each threshold."""
    at: Floats
    """(N, n_strata, K) calls that had each threshold."""


def _levels(threshold0: ArrayLike, threshold1: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """The distinct thresholds of both windows, and each window's own, as they are compared."""
    first, second = np.asarray(threshold0, np.float64), np.asarray(threshold1, np.float64)
    levels = np.unique(np.concatenate([first.ravel(), second.ravel()]))
    if len(levels) > MOST_THRESHOLDS:
        first, second, levels = np.round(first, 2), np.round(second, 2), np.unique(np.round(levels, 2))
    return levels, first, second


def _tables(
    strata: ArrayLike,
    confidence: ArrayLike,
    threshold: Floats,
    levels: Floats,
    n_strata: int,
    block: Ints | None,
) -> _Tables:
    x, score = np.asarray(strata, np.int64), np.asarray(confidence, np.float64)
    if x.ndim != 1 or x.shape != score.shape or (block is not None and block.shape != x.shape):
        raise ValueError(
            f"strata, confidences and blocks must be of one length, not {x.shape}, {score.shape}"
        )
    if threshold.ndim and threshold.shape != x.shape:
        raise ValueError(f"thresholds must be one or of one length with strata, not {threshold.shape}")
    if not len(x):
        raise ValueError("both windows need at least one call")
    if x.min() < 0 or x.max() >= n_strata:
        raise ValueError(f"strata must be in 0 to {n_strata - 1}, not {x.min()} to {x.max()}")
    if block is None:
        index, blocks = np.zeros(len(x), np.int64), 1
    else:
        labels, index = np.unique(block, return_inverse=True)
        blocks = len(labels)
    cell = index * n_strata + x
    cells, k = blocks * n_strata, len(levels)

    def count(place: Ints, width: int) -> Floats:
        found = np.bincount(cell * width + place, minlength=cells * width).astype(np.float64)
        return found.reshape(blocks, n_strata, width)

    own = np.broadcast_to(np.searchsorted(levels, threshold), x.shape)
    # How many thresholds a confidence reaches; it lies below those that follow.
    reached = np.searchsorted(levels, score, side="right")
    return _Tables(
        calls=count(np.zeros_like(cell), 1)[:, :, 0],
        escalated=count((reached <= own).astype(np.int64), 2)[:, :, 1],
        below=count(reached, k + 1)[:, :, :k].cumsum(axis=2),
        at=count(own, k),
    )


def _draw_blocks(tables: _Tables, draws: int, generator: np.random.Generator) -> _Tables:
    """Tables of resampled windows from those of the blocks."""
    blocks = len(tables.calls)
    times = generator.multinomial(max(blocks - 1, 1), np.full(blocks, 1 / blocks), size=draws)

    def drawn(counts: Floats) -> Floats:
        sums: Floats = times.astype(np.float64) @ counts.reshape(blocks, -1)
        return sums.reshape(draws, *counts.shape[1:])

    return _Tables(drawn(tables.calls), drawn(tables.escalated), drawn(tables.below), drawn(tables.at))


def _split(*windows: _Tables) -> Floats:
    """Shapley effects (N, 3) of inputs, model and threshold from the tables of both windows."""
    mix = [window.calls / window.calls.sum(1, keepdims=True) for window in windows]
    known = [window.calls > 0 for window in windows]
    share = [np.maximum(window.calls, 1) for window in windows]
    own = [window.escalated / n for window, n in zip(windows, share, strict=True)]
    below = [window.below / n[:, :, None] for window, n in zip(windows, share, strict=True)]
    below = [np.where(known[i][:, :, None], below[i], below[1 - i]) for i in (0, 1)]
    thresholds = [
        np.where(known[i][:, :, None], window.at / share[i][:, :, None], _pooled(window.at))
        for i, window in enumerate(windows)
    ]
    rate = {}
    for inputs, model, threshold in itertools.product((0, 1), repeat=3):
        within = (below[model] * thresholds[threshold]).sum(2)
        if model == threshold:
            within = np.where(known[model], own[model], within)
        rate[inputs, model, threshold] = (mix[inputs] * within).sum(1)
    effects = np.zeros((len(mix[0]), 3))
    for order in itertools.permutations(range(3)):
        state = [0, 0, 0]
        for factor in order:
            before = rate[state[0], state[1], state[2]]
            state[factor] = 1
            effects[:, factor] += (rate[state[0], state[1], state[2]] - before) / 6
    return effects


def _pooled(at: Floats) -> Floats:
    """Of each window the share of its calls that had each threshold, (N, 1, K)."""
    total = at.sum(1, keepdims=True)
    return np.asarray(total / total.sum(2, keepdims=True), np.float64)
