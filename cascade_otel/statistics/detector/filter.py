"""The hidden-Markov filter: hour by hour, the odds that a stream's level has shifted for good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cascade_otel.statistics.detector.fleet_prior import HOURS
from cascade_otel.statistics.detector.grid import NULLS, SHIFTED, Grid, lay
from cascade_otel.statistics.detector.groups import Odds
from cascade_otel.statistics.detector.memory import NO_HOUR, Memory
from cascade_otel.statistics.detector.null_model import Null, spike_log_likelihood, weekday
from cascade_otel.statistics.detector.persistence import TINY, Standing, Verdict, judge
from cascade_otel.statistics.detector.profile import effective

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

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
SPIKES_APART = 6
"""After a spike so many hours are taken at their word."""
NO_SPIKE = 1e-30
MOST_TURNS = 30
"""After so many days nothing is left of a day effect."""
SLICE = 256
"""Streams worked on at a time: their grids fit the processor's cache."""


@dataclass(frozen=True)
class Step(Verdict, Odds):
    """What M tasks look like after one more hour."""

    log_evidence: Floats
    """(M,) log odds of a shift that is still there against none, in hours watched (Shiryaev-Roberts), with
    what was cut off; 0 where a task is not watched yet."""


class Filter:
    """Exact filter on a grid over (size of the day effect, level, day effect) of B streams of M tasks.

    The levels are those of the null, the shifts, and one for shifts that have ended. Every hour a shift may
    start from the null (with weight 1 per hour: a Shiryaev-Roberts sum) and may end. Any hour may be a
    spike, which says nothing about the level. The streams of a task are averaged.
    """

    def __init__(
        self,
        null: Null,
        groups: Ints,
        use: Bools,
        log_needed: float | Floats,
        memory: Memory | None = None,
    ) -> None:
        """Start all streams in the null, or where a memory of the same streams left them.

        Args:
            null: what was learned from the reference.
            groups: (B,) index of the task each stream belongs to, 0 to M-1.
            use: (B,) streams that count in their task's average.
            log_needed: nats a page needs, for all tasks or (M,).
            memory: of a filter with the same null and groups.

        Raises:
            ValueError: shapes do not fit.
        """
        size = len(null.base)
        self._groups, self._use = np.asarray(groups, np.int64), np.asarray(use, np.float64)
        if self._groups.shape != (size,) or self._use.shape != (size,):
            raise ValueError(f"groups and use must be ({size},), one entry per stream of the null")
        self.tasks = int(self._groups.max()) + 1 if size else 0
        self.log_needed = log_needed
        self._null = null
        self._states = lay(null)
        if memory is None:
            memory = Memory(
                hour=NO_HOUR,
                groups=self._groups,
                state=self._states.start,
                spiked=np.zeros((size, SPIKES_APART)),
                cut=np.zeros(size),
                **vars(Standing.fresh(self.tasks)),
            )
        self.restore(memory)

    @property
    def log_needed(self) -> Floats:
        """(M,) nats a page needs; may be set between hours, to a number or to (M,)."""
        return self._log_needed

    @log_needed.setter
    def log_needed(self, nats: float | Floats) -> None:
        self._log_needed = np.broadcast_to(np.asarray(nats, np.float64), (self.tasks,)).copy()

    @property
    def memory(self) -> Memory:
        """All that the next hour needs: copies, which later hours do not change."""
        return Memory(
            hour=self._hour,
            groups=self._groups,
            state=self._state.copy(),
            spiked=self._spiked.copy(),
            cut=self._cut.copy(),
            **vars(self._standing),
        )

    def restore(self, memory: Memory) -> None:
        """Go on from a memory of a filter with the same null and groups; the memory stays as it is.

        Raises:
            ValueError: it is of other streams.
        """
        if memory.state.shape != self._states.start.shape or not np.array_equal(memory.groups, self._groups):
            raise ValueError(
                f"the memory is of {len(memory.groups)} streams of {len(memory.strong)} tasks, "
                f"not of these {len(self._groups)} of {self.tasks}"
            )
        self._hour = memory.hour
        self._state = memory.state.copy()
        self._spiked, self._cut = memory.spiked, memory.cut
        self._standing = Standing(memory.strong, memory.crossed)

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
        if hour <= self._hour:
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
        ceiling = np.exp(self._log_needed + HEAD_NATS)[self._groups]
        shifted, ended, spiked, cut = np.zeros((4, len(active)))
        for part in _slices(active):
            state = self._state[part]
            shifted[part], ended[part], spiked[part], cut[part] = self._update(
                part, state, calls_worth[part], hits_worth[part], logit[part], spike[part], ceiling[part]
            )
            self._state[part] = state
        self._spiked = np.concatenate([self._spiked[:, 1:], spiked[:, None]], axis=1)
        enough = np.log(np.maximum(shifted, TINY)) >= self._log_needed[self._groups]
        self._cut = np.where(active, np.where(enough, self._cut + cut, 0.0), self._cut)
        return self._judge(shifted, ended, active)

    def _pass_time(self, hour: int) -> None:
        """Let day effects and levels move on between the last hour and this one."""
        last, self._hour = self._hour, hour
        if last == NO_HOUR:
            return
        states, turn = self._states, self._null.turn
        turns = np.minimum((hour - turn) // HOURS - (last - turn) // HOURS, MOST_TURNS)
        for done in range(int(turns.max(initial=0))):
            for chain, streams in states.chains:
                due = streams[turns[streams] > done]
                state = self._state[due] @ chain
                total = state[:, :, NULLS].sum(2, keepdims=True)
                state[:, :, NULLS] += LEVEL_FORGETS * (total * states.level_law - state[:, :, NULLS])
                self._state[due] = state
        if hour % MOVE_HOURS == 0:
            for part in _slices(turns == 0):
                state = self._state[part]
                moved = state.sum(3, keepdims=True) * states.day_law[part] - state
                self._state[part] = state + MOVE_HAZARD * moved

    def _update(
        self,
        part: slice | Ints,
        state: Grid,
        calls: Floats,
        hits: Floats,
        logit: Floats,
        spike: Floats,
        ceiling: Floats,
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Bayes' rule for one hour, in place on ``state`` (b, S, X, Z).

        Returns the odds (b,) of a standing and of an ended shift against the null, the probability that the
        hour was a spike, and the nats of evidence that were cut off.
        """
        states, first = self._states, SHIFTED.start
        state[:, :, -1] += END_HAZARD * state[:, :, SHIFTED].sum(2)
        state[:, :, SHIFTED] += states.shift_law * state[:, :, NULLS].sum(2, keepdims=True)

        log_likelihood = states.odds[part] * _column(np.exp(logit))
        log_likelihood += 1
        np.log(log_likelihood, out=log_likelihood)
        log_likelihood *= _column(-calls)
        log_likelihood += states.logit[part] * _column(hits)
        highest = np.maximum(log_likelihood.max((1, 2, 3)), spike)
        log_likelihood -= _column(highest)
        likelihood = np.exp(log_likelihood, out=log_likelihood)
        spike_share = np.exp(spike - highest)
        likelihood += _column(spike_share)
        spike_mass = spike_share * state.sum((1, 2, 3), dtype=np.float64)
        state *= likelihood

        by_level = state.sum(3).sum(1, dtype=np.float64)
        null = np.maximum(by_level[:, NULLS].sum(1), 1e-25)
        shifted, ended = by_level[:, SHIFTED].sum(1) / null, by_level[:, -1] / null
        kept = np.minimum(1, ceiling / np.maximum(shifted, TINY))
        state[:, :, first:] *= _column(kept)
        state *= _column(1 / null)
        # A null whose weight has underflowed could never come back.
        np.maximum(state[:, :, NULLS], 1e-30, out=state[:, :, NULLS])
        return shifted * kept, ended * kept, spike_mass / np.maximum(by_level.sum(1), TINY), -np.log(kept)

    def _spike(self, calls: Floats, hits: Floats, logit: Floats) -> Floats:
        """Log-likelihood (B,) of a spike on the scale of ``_update``, which leaves out hits x logit."""
        spikes = self._null.settings.spikes
        if spikes <= 0:
            return np.full(len(calls), -np.inf)
        # Were every hour allowed to be one, a shift beyond the grid would pass for endless spikes.
        chance = np.maximum(spikes * (1 - self._spiked.max(1)), NO_SPIKE)
        return spike_log_likelihood(calls, hits, chance) - hits * logit

    def _judge(self, shifted: Floats, ended: Floats, active: Bools) -> Step:
        """Average the streams (B,) of each task and apply the persistence rule."""
        counts = self._use * active
        total = np.maximum(np.bincount(self._groups, counts, self.tasks), 1)

        def average(odds: Floats) -> Floats:
            return np.asarray(np.bincount(self._groups, odds * counts, self.tasks) / total)

        watched = np.bincount(self._groups, active, self.tasks) > 0
        task_shifted, task_ended = average(shifted), average(ended)
        whole = average(shifted * np.exp(np.minimum(self._cut, MOST_NATS)))
        verdict, self._standing = judge(self._standing, task_shifted, task_ended, watched, self._log_needed)
        return Step(
            **vars(verdict),
            log_evidence=np.where(watched, np.log(np.maximum(whole, TINY)), 0.0),
            shifted_odds=task_shifted,
            ended_odds=task_ended,
            watched=watched,
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
