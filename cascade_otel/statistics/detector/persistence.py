"""From evidence to a page: a shift must have stood for a while before somebody is woken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

STRONG_NATS = 5.5
"""Evidence of so much speaks of a shift, though not yet loudly enough for a page."""
STAND_HOURS = 7
"""It must have done so for this many hours in a row: what lasts six hours is left alone."""
STAND_ODDS = 0.25
"""... and the odds of *ended* against *still there* must be at most this at the hour of the page."""
ENDED_ODDS = 20.0
"""A shift counts as ended when *ended* is this many times as likely as *still there*."""
NO_SCORE = -30.0
TINY = 1e-30


@dataclass(frozen=True)
class Standing:
    """What the rule remembers of M tasks, or of M groups of them."""

    strong: Ints
    """(M,) for how many hours in a row the evidence has been strong."""
    crossed: Bools
    """(M,) the evidence has sufficed for a page at some hour."""

    @classmethod
    def fresh(cls, tasks: int) -> Standing:
        """Nothing seen yet."""
        return Standing(np.zeros(tasks, np.int64), np.zeros(tasks, bool))


@dataclass(frozen=True)
class Verdict:
    """What the rule says of M tasks after one more hour."""

    score: Floats
    """(M,) the evidence the rule lets through, nats; ``NO_SCORE`` where a task is not watched."""
    suspect: Bools
    """(M,) the evidence suffices, but the shift has not stood long enough for a page."""
    page: Bools
    """(M,)"""
    ended: Bools
    """(M,) the evidence has sufficed at some hour, and by the odds of 20 to 1 the shift is over."""


def judge(
    known: Standing, shifted: Floats, ended: Floats, watched: Bools, log_needed: Floats
) -> tuple[Verdict, Standing]:
    """Apply the rule to one more hour. It only ever lowers the evidence.

    Args:
        known: what is remembered of the hours before.
        shifted: (M,) odds of a shift that is still there against no shift.
        ended: (M,) odds of a shift that has ended against no shift.
        watched: (M,) tasks that are watched; the others keep what they had.
        log_needed: (M,) evidence that a page needs, nats.
    """
    evidence = np.log(np.maximum(shifted, TINY))
    strong = np.where(evidence >= np.minimum(STRONG_NATS, log_needed), known.strong + 1, 0)
    new = Standing(
        strong=np.where(watched, strong, known.strong),
        crossed=known.crossed | (watched & (evidence >= log_needed)),
    )
    stands = (new.strong >= STAND_HOURS) & (ended <= STAND_ODDS * shifted)
    score = np.where(stands, evidence, np.minimum(evidence, 0))
    page = watched & (score >= log_needed)
    verdict = Verdict(
        score=np.where(watched, score, NO_SCORE),
        suspect=watched & (evidence >= log_needed) & ~page,
        page=page,
        ended=watched & new.crossed & (ended > ENDED_ODDS * shifted),
    )
    return verdict, new
