"""The drift detector: learn what is usual, then weigh each hour's evidence for a shift that stays.

A hidden-Markov e-detector. Its score is the logarithm of a Shiryaev-Roberts sum in hours, so the mean time
between false pages is at least exp(log_needed) hours if the null model is right, averaged over its priors
(Shin, Ramdas and Rinaldo 2023, "E-detectors"). Fitted parameters, effective counts and the grid are outside
that bound: they are checked by simulation only.
"""

from __future__ import annotations

import math

from cascade_otel.statistics.detector.filter import Filter, Step
from cascade_otel.statistics.detector.fleet_prior import FleetPrior
from cascade_otel.statistics.detector.groups import Groups, GroupStep, Odds, e_bh
from cascade_otel.statistics.detector.indicators import hits_below, indicators, useful
from cascade_otel.statistics.detector.memory import Memory
from cascade_otel.statistics.detector.null_model import Null, Reference, Settings, learn
from cascade_otel.statistics.detector.persistence import Standing

__all__ = [
    "Filter",
    "FleetPrior",
    "GroupStep",
    "Groups",
    "Memory",
    "Null",
    "Odds",
    "Reference",
    "Settings",
    "Standing",
    "Step",
    "e_bh",
    "hits_below",
    "indicators",
    "learn",
    "log_needed",
    "useful",
]


def log_needed(tasks: int, hours: float, pages: float, weight: float) -> float:
    """Evidence, in nats, that a page needs to stay within the budget.

    Args:
        tasks: how many tasks share the budget.
        hours: the budget's period.
        pages: false pages allowed in that period over all tasks and streams.
        weight: share of the budget that this stream may use (the weights of all streams add up to 1).

    Raises:
        ValueError: one of them is not positive, or the weight is above 1.
    """
    if min(tasks, hours, pages, weight) <= 0 or weight > 1:
        raise ValueError(
            "tasks, hours and pages must be positive and weight in (0, 1], "
            f"not {tasks}, {hours}, {pages}, {weight}"
        )
    return math.log(tasks * hours / (pages * weight))
