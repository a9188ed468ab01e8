"""What a seed draws: how many calls each hour has, how the rates wobble, which tasks shift, when, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cascade_otel.demo.answers import Pools
from cascade_otel.demo.tables import QUESTIONS, TASKS, THRESHOLDS, Task

DAYS = 30
AHEAD_HOURS = 48
"""Hours after the start of the demo that are drawn too, for the calls it goes on making."""
QUIETEST, BUSIEST = 20.0, 200.0
"""Calls an hour of any task."""
WOBBLE = 0.05
"""Standard deviation of a day's rate, in logits."""
SPIKES = 3.0
"""One-hour spikes a task has in the history, on average."""
SPIKE = 0.8
"""Height of a spike in logits."""
SMALLEST, LARGEST = 0.09, 0.19
"""Bounds of a drawn shift of the true rate."""
EARLIEST_HOURS, LATEST_HOURS = 72, 36
"""How long before the end a shift may happen."""

ShiftName = Literal["three", "none", "shape"]
Kind = Literal["model", "inputs", "threshold", "shape"]
KINDS: tuple[Kind, ...] = ("model", "inputs", "threshold")


@dataclass(frozen=True)
class Shift:
    """From ``hour`` on a task is another.

    ``to`` is the share of calls that the weaker model answers, the share of hard inputs, or τ; of a shape it
    has no meaning.
    """

    task: int
    kind: Kind
    hour: int
    to: float


@dataclass(frozen=True)
class Plan:
    """All that is drawn before any call is. M tasks, T hours: the history, then those ahead."""

    seed: int
    tasks: tuple[Task, ...]
    first_hour: int
    live_hour: int
    """The hour that runs live; the history ends before it."""
    calls_per_hour: NDArray[np.float64]
    """(M, T)"""
    wobble: NDArray[np.float64]
    """(M, T) added to the logit of the rate."""
    shifts: tuple[Shift, ...]

    def column(self, hours: NDArray[np.int64]) -> NDArray[np.int64]:
        """Columns of hours; the last one stands for all that come later."""
        last = self.wobble.shape[1] - 1
        return np.asarray(np.minimum(hours - self.first_hour, last), np.int64)

    def shift_of(self, task: int) -> Shift | None:
        """The shift of one task, if it has one."""
        return next((shift for shift in self.shifts if shift.task == task), None)


def draw(seed: int, shift: ShiftName, live_hour: int, pools: Pools) -> Plan:
    """The plan of a seed for a demo that goes live in ``live_hour`` (hours since 1970)."""
    traffic_seed, shift_seed = np.random.SeedSequence(seed).spawn(2)
    random = np.random.default_rng(traffic_seed)
    first_hour = live_hour - DAYS * 24
    hours = np.arange(first_hour, live_hour + AHEAD_HOURS)
    return Plan(
        seed=seed,
        tasks=TASKS,
        first_hour=first_hour,
        live_hour=live_hour,
        calls_per_hour=_traffic(hours, random),
        wobble=_wobble(hours, random),
        shifts=_shifts(shift, live_hour, pools, np.random.default_rng(shift_seed)),
    )


def true_rate(task: Task, pools: Pools, hard: float, weaker: float, threshold: float) -> float:
    """Escalation rate without wobble.

    ``hard`` is the share of hard inputs, ``weaker`` that of the calls the weaker model answers.
    """
    return sum(
        inputs * calls * pools[QUESTIONS[segment], model].share_below(threshold)
        for segment, inputs in ((task.main, 1 - hard), (task.hard, hard))
        for model, calls in ((task.cheap, 1 - weaker), (task.weaker, weaker))
    )


def base_rate(task: Task, pools: Pools) -> float:
    """Escalation rate before any shift."""
    return true_rate(task, pools, task.hard_share, 0.0, task.threshold)


def _traffic(hours: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.float64]:
    """Every task has its own level and its own busiest hour; the night has a fifth to a tenth of the day."""
    tasks = len(TASKS)
    busy, peak = random.uniform(140, BUSIEST, (tasks, 1)), random.uniform(11, 17, (tasks, 1))
    height = (1 + np.cos(2 * np.pi * (hours % 24 - peak) / 24)) / 2
    return QUIETEST + (busy - QUIETEST) * height


def _wobble(hours: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.float64]:
    days = hours // 24 - hours[0] // 24
    wobble = random.normal(0, WOBBLE, (len(TASKS), days[-1] + 1))[:, days]
    spikes = random.random(wobble.shape) < SPIKES / (DAYS * 24)
    return wobble + SPIKE * spikes


def _shifts(shift: ShiftName, live_hour: int, pools: Pools, random: np.random.Generator) -> tuple[Shift, ...]:
    if shift == "none":
        return ()
    kinds: Sequence[Kind] = KINDS if shift == "three" else ("shape",)
    hours = live_hour - random.integers(LATEST_HOURS, EARLIEST_HOURS, len(kinds), endpoint=True)
    while True:
        chosen = random.permutation(len(TASKS))[: len(kinds)]
        targets = [
            _target(TASKS[task], kind, pools, random) for task, kind in zip(chosen, kinds, strict=True)
        ]
        drawn = [
            Shift(int(task), kind, int(hour), to)
            for task, kind, hour, to in zip(chosen, kinds, hours, targets, strict=True)
            if to is not None
        ]
        if len(drawn) == len(kinds):
            return tuple(drawn)


def _target(task: Task, kind: Kind, pools: Pools, random: np.random.Generator) -> float | None:
    """What a shift of this kind moves to, so that the true rate moves by a fair amount; None: it cannot."""
    base, size = base_rate(task, pools), random.uniform(SMALLEST + 0.01, LARGEST - 0.01)
    if kind == "model":
        whole = abs(true_rate(task, pools, task.hard_share, 1.0, task.threshold) - base)
        return None if whole < SMALLEST else 1.0 if whole <= LARGEST else size / whole
    if kind == "inputs":
        share = task.hard_share + size / (
            true_rate(task, pools, 1.0, 0.0, task.threshold)
            - true_rate(task, pools, 0.0, 0.0, task.threshold)
        )
        return share if share <= 0.9 else None
    if kind == "threshold":
        fair = [
            threshold
            for threshold in THRESHOLDS
            if SMALLEST <= abs(true_rate(task, pools, task.hard_share, 0.0, threshold) - base) <= LARGEST
        ]
        return float(random.choice(fair)) if fair else None
    pool = pools[QUESTIONS[task.main], task.cheap]
    accepted = pool.confidence[pool.below(task.threshold) :]
    return 1.0 if np.mean(accepted < np.median(accepted)) >= 0.3 else None
