"""Evidence of tasks taken together: has a group of them shifted as a whole, and which tasks are affected?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cascade_otel.statistics.detector.persistence import TINY, Standing, Verdict, judge

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEAST_SHARE = 0.05
"""No fewer than this share of a group's tasks, and no fewer than two, can make the group page."""


@dataclass(frozen=True)
class Odds:
    """Of M tasks at one hour."""

    shifted_odds: Floats
    """(M,) odds of a shift that is still there against none, kept bounded; 0 where a task is not watched."""
    ended_odds: Floats
    """(M,) odds of a shift that has ended against none; 0 where a task is not watched."""
    watched: Bools
    """(M,) tasks that are watched at this hour."""


@dataclass(frozen=True)
class GroupStep(Verdict):
    """What G groups look like after one more hour."""

    log_evidence: Floats
    """(G,) log of the mean odds of the group's tasks; 0 where none is watched."""


class Groups:
    """Mean odds over the tasks of each group, under the same persistence rule as a single task's.

    The mean of e-values is one, whatever their dependence (Vovk and Wang 2021, "E-values: calibration,
    combination and applications"). What one task may add is bounded, so that a group never pages for one.
    """

    def __init__(
        self, members: Sequence[Ints], log_needed: float | Floats, memory: Standing | None = None
    ) -> None:
        """Begin, or go on from a memory of the same groups.

        Args:
            members: of each group, indices of its tasks, at least two.
            log_needed: nats a group's page needs, for all or (G,).
            memory: of groups with the same members.

        Raises:
            ValueError: a group of fewer than two, or a memory of another number of groups.
        """
        self._members = [np.asarray(tasks, np.int64) for tasks in members]
        if any(len(tasks) < 2 for tasks in self._members):
            raise ValueError("a group needs at least two tasks")
        self._log_needed = np.broadcast_to(np.asarray(log_needed, np.float64), (len(self._members),))
        self.memory = Standing.fresh(len(self._members)) if memory is None else memory
        if len(self.memory.strong) != len(self._members):
            raise ValueError(f"the memory is of {len(self.memory.strong)} groups, not {len(self._members)}")

    def advance(self, odds: Odds) -> GroupStep:
        """Take in one hour of the tasks."""
        shifted, ended, watched = np.zeros((3, len(self._members)))
        for place, tasks in enumerate(self._members):
            on = tasks[odds.watched[tasks]]
            if len(on) < 2:
                continue
            most = np.exp(self._log_needed[place]) * len(on) / max(2.0, LEAST_SHARE * len(on))
            kept = np.minimum(1, most / np.maximum(odds.shifted_odds[on], TINY))
            shifted[place] = (odds.shifted_odds[on] * kept).mean()
            ended[place] = (odds.ended_odds[on] * kept).mean()
            watched[place] = 1
        verdict, self.memory = judge(self.memory, shifted, ended, watched > 0, self._log_needed)
        evidence = np.where(watched > 0, np.log(np.maximum(shifted, TINY)), 0.0)
        return GroupStep(**vars(verdict), log_evidence=evidence)


def e_bh(log_evidence: ArrayLike, level: float) -> Bools:
    """Which of M hypotheses to list, (M,): e-BH (Wang and Ramdas 2022, "False discovery rate control with
    e-values"), the largest k such that k e-values are at least M / (k level).

    The share of falsely listed ones is at most ``level`` on average if all are e-values. The detector's odds
    are not at a time chosen by the data: their mean grows with the hours watched, and log(hours) is to be
    taken off first.

    Args:
        log_evidence: (M,) log e-values.
        level: between 0 and 1.

    Raises:
        ValueError: ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level}")
    evidence = np.asarray(log_evidence, np.float64)
    order = np.argsort(-evidence, kind="stable")
    needed = np.log(len(evidence) / (level * np.arange(1, len(evidence) + 1)))
    enough = np.nonzero(evidence[order] >= needed)[0]
    listed = np.zeros(len(evidence), bool)
    if len(enough):
        listed[order[: enough[-1] + 1]] = True
    return listed
