"""The hidden-Markov filter: hour by hour, the odds that a stream's level has shifted for good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cascade_otel.statistics.null_model import Null, spike_log_likelihood, weekday
from cascade_otel.statistics.persistence import TINY, Persistence
from cascade_otel.statistics.profile import HOURS, effective
from cascade_otel.statistics.wobble import MEMORIES, day_transition

Floats = NDArray[np.float64]
Grid = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

DAY_NODES = np.array([-4.2, -2.4, -1.4, -0.65, 0, 0.65, 1.4, 2.4, 4.2])
"""(Z,) grid of the standardised day effect."""
LEVEL_NODES = np.array([-1.8, 0.0, 1.8])
"""(U,) grid of the error of the reference level, in standard errors."""
SHIFTS = np.array([0.25, 0.35, 0.48, 0.7, 1.0, 1.5])
"""Sizes of a shift worth a page, logit, either way."""
SHIFT_WEIGHTS = np.array([1.2, 1.4, 1.4, 1.2, 0.8, 0.4])
END_HAZARD = 0.1
"""Chance per hour that a shift ends."""
LEVEL_FORGETS = 0.02
"""Share of the level's posterior that returns to its prior each day."""
MOVE_HOURS = 6
MOVE_HAZARD = 0.02
"""Chance per ``MOVE_HOURS`` hours that the day effect is another within the day."""
HEAD_NATS = 3.0
"""Evidence is kept at most this far above what a page needs, so that it can fall again; what was cut off is
remembered while it suffices, and told."""
MOST_NATS = 500.0
"""More of it is not told: it would not fit a double."""
ENDED_ODDS = 20.0
"""A shift counts as ended when *ended* is this many times as likely as *still there*."""
SPIKES_APART = 6
"""After a spike so many hours are taken at their word."""
NO_SPIKE = 1e-30
SLICE = 256
"""Streams worked on at a time: their grids fit the processor's cache."""


@dataclass(frozen=True)
class Step:
    """What M tasks look like after one more hour."""

    log_evidence: Floats
    """(M,) log odds of a shift that is still there against none, in hours watched (Shiryaev-Roberts), with
    what was cut off; 0 where a task is not watched yet."""
    score: Floats
    """(M,) the evidence after the persistence rule: what is compared with ``log_needed``."""
    suspect: Bools
    """(M,) the evidence suffices, but the shift has not stood long enough for a page."""
    page: Bools
    """(M,)"""
    ended: Bools
    """(M,) the evidence has sufficed at some hour, and by the odds of 20 to 1 the shift is over."""


class Filter:
    """Exact filter on a grid over (size of the day effect, level, day effect) of B streams of M tasks.

    The levels are the U nodes of the null, the shifts, and one for shifts that have ended. Every hour a shift
    may start from the null (with weight 1 per hour: a Shiryaev-Roberts sum) and may end. Any hour may be a
    spike, which says nothing about the level. The streams of a task are averaged.
    """

    def __init__(self, null: Null, groups: Ints, use: Bools, log_needed: float | Floats) -> None:
        """Start all streams in the null.

        Args:
            null: what was learned from the reference.
            groups: (B,) index of the task each stream belongs to, 0 to M-1.
            use: (B,) streams that count in their task's average.
            log_needed: nats a page needs, for all tasks or (M,).

        Raises:
            ValueError: shapes do not fit.
        """
        size = len(null.base)
        self._groups, self._use = np.asarray(groups, np.int64), np.asarray(use, np.float64)
        if self._groups.shape != (size,) or self._use.shape != (size,):
            raise ValueError(f"groups and use must be ({size},), one entry per stream of the null")
        self.tasks = int(self._groups.max()) + 1 if size else 0
        self.log_needed = np.broadcast_to(np.asarray(log_needed, np.float64), (self.tasks,))
        self._null = null
        self._ceiling = np.exp(self.log_needed + HEAD_NATS)[self._groups]
        self._persistence = Persistence(self.tasks)
        self._crossed = np.zeros(self.tasks, bool)
        self._spiked = np.zeros((SPIKES_APART, size))
        self._cut = np.zeros(size)
        self._hour: int | None = None
        self._lay_grid()

    def advance(self, hour: int, calls: ArrayLike, hits: ArrayLike, active: Bools | None = None) -> Step:
        """Take in the counts of one hour.

        Args:
            hour: hours since 1970-01-01 UTC, later than the last one taken in.
            calls: (B,)
            hits: (B,)
            active: (B,) streams that are watched at this hour (all by default). The others keep their state:
                no shift may start in them, and their counts are not looked at.

        Raises:
            ValueError: the hour is not later than the last one.
        """
        if self._hour is not None and hour <= self._hour:
            raise ValueError(f"hours must ascend: {hour} after {self._hour}")
        active = np.ones(len(self._groups), bool) if active is None else np.asarray(active, bool)
        self._pass_time(hour)
        calls_worth, hits_worth = effective(
            np.asarray(calls, np.float64),
            np.asarray(hits, np.float64),
            self._null.dispersion,
            self._null.settings.most_calls,
        )
        day = weekday(np.asarray(hour // HOURS))
        logit = self._null.base[:, hour % HOURS] + self._null.week[:, day]
        spike = self._spike(calls_worth, hits_worth, logit)
        shifted, ended, spiked, cut = np.zeros((4, len(active)))
        for part in _slices(active):
            state = self._state[part]
            shifted[part], ended[part], spiked[part], cut[part] = self._update(
                part, state, calls_worth[part], hits_worth[part], logit[part], spike[part]
            )
            self._state[part] = state
        self._spiked = np.vstack([self._spiked[1:], spiked])
        enough = np.log(np.maximum(shifted, TINY)) >= self.log_needed[self._groups]
        self._cut = np.where(active, np.where(enough, self._cut + cut, 0.0), self._cut)
        return self._judge(shifted, ended, active)

    def _lay_grid(self) -> None:
        """Lay out the states: logit shifts, their exponentials, and the weights before the first hour."""
        null, size = self._null, len(self._null.base)
        self._first_shift = len(LEVEL_NODES)
        nearest = np.abs(null.phi[:, None] - MEMORIES).argmin(1)
        chains = [day_transition(DAY_NODES, memory, null.settings.day_freedom) for memory in MEMORIES]
        self._chains = [
            (chains[i][0].astype(np.float32), np.nonzero(nearest == i)[0]) for i in np.unique(nearest)
        ]
        stationary = np.stack([law for _, law in chains])[nearest]
        self._day_law: Grid = stationary[:, None, None].astype(np.float32)
        level_law = np.exp(-(LEVEL_NODES**2) / 2)
        self._level_law: Grid = (level_law / level_law.sum()).astype(np.float32)
        shifts = np.concatenate([-SHIFTS[::-1], SHIFTS])
        shift_law = np.concatenate([SHIFT_WEIGHTS[::-1], SHIFT_WEIGHTS])
        self._shift_law: Grid = (shift_law / shift_law.sum()).astype(np.float32)[:, None]
        # Rare events and thin references have a wide null, and a shift must lie outside it.
        outside = np.maximum(LEVEL_NODES[-1] * null.level_se - 0.4, 0)[:, None]
        levels = np.concatenate(
            [null.level_se[:, None] * LEVEL_NODES, shifts + np.sign(shifts) * outside, np.zeros((size, 1))],
            axis=1,
        )
        self._logit: Grid = (levels[:, None, :, None] + null.sigma[:, :, None, None] * DAY_NODES).astype(
            np.float32
        )
        self._odds: Grid = np.exp(self._logit)
        self._state: Grid = np.zeros_like(self._logit)
        self._state[:, :, : self._first_shift] = (
            null.weights[:, :, None, None] * self._level_law[:, None] * stationary[:, None, None]
        )

    def _pass_time(self, hour: int) -> None:
        """Let day effects and levels move on between the last hour and this one."""
        last, self._hour = self._hour, hour
        if last is None:
            return
        state, nulls = self._state, slice(0, self._first_shift)
        midnights = hour // HOURS - last // HOURS
        for _ in range(min(midnights, 30)):
            for chain, streams in self._chains:
                state[streams] = state[streams] @ chain
            kept = (1 - LEVEL_FORGETS) * state[:, :, nulls]
            total = state[:, :, nulls].sum(2, keepdims=True)
            state[:, :, nulls] = kept + LEVEL_FORGETS * total * self._level_law[:, None]
        if not midnights and hour % MOVE_HOURS == 0:
            state += MOVE_HAZARD * (state.sum(3, keepdims=True) * self._day_law - state)

    def _update(
        self, part: slice | Ints, state: Grid, calls: Floats, hits: Floats, logit: Floats, spike: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Bayes' rule for one hour, in place on ``state`` (b, S, X, Z).

        Returns the odds (b,) of a standing and of an ended shift against the null, the probability that the
        hour was a spike, and the nats of evidence that were cut off.
        """
        first = self._first_shift
        state[:, :, -1] += END_HAZARD * state[:, :, first:-1].sum(2)
        state[:, :, first:-1] += self._shift_law * state[:, :, :first].sum(2, keepdims=True)

        log_likelihood = self._odds[part] * _column(np.exp(logit))
        log_likelihood += 1
        np.log(log_likelihood, out=log_likelihood)
        log_likelihood *= _column(-calls)
        log_likelihood += self._logit[part] * _column(hits)
        highest = np.maximum(log_likelihood.max((1, 2, 3)), spike)
        log_likelihood -= _column(highest)
        likelihood = np.exp(log_likelihood, out=log_likelihood)
        spike_share = np.exp(spike - highest)
        likelihood += _column(spike_share)
        spike_mass = spike_share * state.sum((1, 2, 3), dtype=np.float64)
        state *= likelihood

        by_level = state.sum(3).sum(1, dtype=np.float64)
        null = np.maximum(by_level[:, :first].sum(1), 1e-25)
        shifted, ended = by_level[:, first:-1].sum(1) / null, by_level[:, -1] / null
        ceiling = np.minimum(1, self._ceiling[part] / np.maximum(shifted, TINY))
        state[:, :, first:] *= _column(ceiling)
        state *= _column(1 / null)
        # A null whose weight has underflowed could never come back.
        np.maximum(state[:, :, :first], 1e-30, out=state[:, :, :first])
        return (
            shifted * ceiling,
            ended * ceiling,
            spike_mass / np.maximum(by_level.sum(1), TINY),
            -np.log(ceiling),
        )

    def _spike(self, calls: Floats, hits: Floats, logit: Floats) -> Floats:
        """Log-likelihood (B,) of a spike on the scale of ``_update``, which leaves out hits x logit."""
        spikes = self._null.settings.spikes
        if spikes <= 0:
            return np.full(len(calls), -np.inf)
        # Were every hour allowed to be one, a shift beyond the grid would pass for endless spikes.
        chance = np.maximum(spikes * (1 - self._spiked.max(0)), NO_SPIKE)
        return spike_log_likelihood(calls, hits, chance) - hits * logit

    def _judge(self, shifted: Floats, ended: Floats, active: Bools) -> Step:
        """Average the streams (B,) of each task and apply the persistence rule."""
        counts = self._use * active

        def average(odds: Floats) -> Floats:
            total = np.bincount(self._groups, counts, self.tasks)
            return np.bincount(self._groups, odds * counts, self.tasks) / np.maximum(total, 1)

        watched = np.bincount(self._groups, active, self.tasks) > 0
        task_shifted, task_ended = average(shifted), average(ended)
        evidence = np.where(watched, np.log(np.maximum(task_shifted, TINY)), 0.0)
        whole = average(shifted * np.exp(np.minimum(self._cut, MOST_NATS)))
        score = self._persistence.advance(task_shifted, task_ended, watched)
        page = score >= self.log_needed
        self._crossed |= evidence >= self.log_needed
        return Step(
            log_evidence=np.where(watched, np.log(np.maximum(whole, TINY)), 0.0),
            score=score,
            suspect=(evidence >= self.log_needed) & ~page,
            page=page,
            ended=watched & self._crossed & (task_ended > ENDED_ODDS * task_shifted),
        )


def _column(values: Floats) -> Grid:
    """(b,) to (b, 1, 1, 1) in the grid's precision."""
    return values.astype(np.float32)[:, None, None, None]


def _slices(active: Bools) -> list[slice | Ints]:
    """Parts of the active streams that fit the cache: views where all are active, else index arrays."""
    if active.all():
        return [slice(start, start + SLICE) for start in range(0, len(active), SLICE)]
    chosen = np.nonzero(active)[0]
    return [chosen[start : start + SLICE] for start in range(0, len(chosen), SLICE)]
