"""Why did a rate change: an exact split into inputs, model and threshold.

The escalation rate is R = sum over strata x of mix(x) F_x(threshold), with F_x the confidence distribution
within stratum x. Each of the three is replaced by its later version in all six orders; the average effect of
each (its Shapley value) is its share, and the shares add up to the change exactly.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cascade_otel.statistics.intervals import central

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Interval = tuple[float, float]


def shapley(
    strata0: ArrayLike,
    confidence0: ArrayLike,
    threshold0: float,
    strata1: ArrayLike,
    confidence1: ArrayLike,
    threshold1: float,
    n_strata: int,
) -> tuple[float, float, float]:
    """Split the change of P(confidence < threshold) between window 0 and window 1.

    A stratum that one window lacks is taken to have the other window's confidence distribution: all of its
    change is then one of the inputs.

    Args:
        strata0: (n0,) stratum of each call, 0 to n_strata-1.
        confidence0: (n0,)
        threshold0: calls below it escalate.
        strata1: (n1,)
        confidence1: (n1,)
        threshold1: the later threshold.
        n_strata: number of strata.

    Returns:
        Effects of inputs (mix), model (confidence within strata) and threshold, as fractions; their sum is
        the change.

    Raises:
        ValueError: a window is empty, lengths differ, or a stratum is out of range.
    """
    thresholds = (threshold0, threshold1)
    window0 = _tables(strata0, confidence0, thresholds, n_strata, None)
    window1 = _tables(strata1, confidence1, thresholds, n_strata, None)
    inputs, model, threshold = _split(window0, window1)[0]
    return float(inputs), float(model), float(threshold)


def shapley_interval(
    strata0: ArrayLike,
    confidence0: ArrayLike,
    threshold0: float,
    strata1: ArrayLike,
    confidence1: ArrayLike,
    threshold1: float,
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
    thresholds = (threshold0, threshold1)
    windows = (
        _tables(strata0, confidence0, thresholds, n_strata, np.asarray(day0)),
        _tables(strata1, confidence1, thresholds, n_strata, np.asarray(day1)),
    )
    drawn = [_draw_blocks(tables, draws, generator) for tables in windows]
    low, high = central(_split(*drawn), level)
    inputs, model, threshold = zip(low.tolist(), high.tolist(), strict=True)
    return inputs, model, threshold


def _tables(
    strata: ArrayLike,
    confidence: ArrayLike,
    thresholds: tuple[float, float],
    n_strata: int,
    block: Ints | None,
) -> Floats:
    """Per block and stratum: calls, and calls below each threshold; (blocks, 3, n_strata)."""
    x, score = np.asarray(strata, np.int64), np.asarray(confidence, np.float64)
    if x.ndim != 1 or x.shape != score.shape or (block is not None and block.shape != x.shape):
        raise ValueError(
            f"strata, confidences and blocks must be of one length, not {x.shape}, {score.shape}"
        )
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
    weights = [None, *(score < threshold for threshold in thresholds)]
    tables = [np.bincount(cell, weight, blocks * n_strata).astype(np.float64) for weight in weights]
    return np.stack([table.reshape(blocks, n_strata) for table in tables], axis=1)


def _draw_blocks(tables: Floats, draws: int, generator: np.random.Generator) -> Floats:
    """Tables (draws, 3, n_strata) of resampled windows from those of the blocks."""
    blocks = len(tables)
    times = generator.multinomial(max(blocks - 1, 1), np.full(blocks, 1 / blocks), size=draws)
    return (times @ tables.reshape(blocks, -1)).reshape(draws, *tables.shape[1:])


def _split(window0: Floats, window1: Floats) -> Floats:
    """Shapley effects (N, 3) of inputs, model and threshold from the windows' tables (N, 3, n_strata)."""
    calls = window0[:, 0], window1[:, 0]
    mix = [count / count.sum(1, keepdims=True) for count in calls]
    below = [window[:, 1:] / np.maximum(window[:, :1], 1) for window in (window0, window1)]
    lacking = [(count == 0)[:, None] for count in calls]
    within = [np.where(lacking[i], below[1 - i], below[i]) for i in (0, 1)]
    rate = {
        state: (mix[state[0]] * within[state[1]][:, state[2]]).sum(1)
        for state in itertools.product((0, 1), repeat=3)
    }
    effects = np.zeros((len(window0), 3))
    for order in itertools.permutations(range(3)):
        state = [0, 0, 0]
        for factor in order:
            before = rate[tuple(state)]
            state[factor] = 1
            effects[:, factor] += (rate[tuple(state)] - before) / 6
    return effects
