"""Made-up counts as a source of the detector, and the tasks that they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cascade_otel.analysis.watching import baselines
from cascade_otel.analysis.watching.drift import Subject, judge
from cascade_otel.analysis.watching.monitor import Monitor, Wanted
from cascade_otel.analysis.watching.streams import KINDS
from cascade_otel.policy import PageBudget
from cascade_otel.records import CELLS, Finding, HourCells, Measured, Stream
from cascade_otel.statistics.detector import log_needed
from cascade_otel.storage.state import Baseline

END = 480_000
"""Midnight, and the end of the history."""
YEARLY = PageBudget(1.0, 8_760.0)


@dataclass
class Counted:
    """Dense counts of M tasks over T hours; a source, and all may be changed in place."""

    tasks: tuple[str, ...]
    start: int
    """First hour."""
    cells: dict[Measured, np.ndarray] = field(default_factory=dict)
    """(M, T, C) of each measure; what is not in it was never recorded."""
    asked: list[tuple[Measured, tuple[str, ...], int, int]] = field(default_factory=list)
    """What was asked for: measure, tasks, first hour and the hour after the last."""

    def __call__(
        self, measure: Measured, tasks: Sequence[str], tiers: Sequence[str], start_hour: int, end_hour: int
    ) -> HourCells:
        """Calls by task, hour and cell."""
        self.asked.append((measure, tuple(tasks), start_hour, end_hour))
        every = self.cells.get(measure, np.zeros((len(self.tasks), 0, 1), np.int64))
        first = max(start_hour, self.start)
        places = [self.tasks.index(task) for task in tasks]
        part = every[places, first - self.start : max(end_hour - self.start, 0)]
        task, hour, cell = np.nonzero(part)
        return HourCells(task, hour + first, cell, part[task, hour, cell])

    @property
    def end(self) -> int:
        """The hour after the last."""
        return self.start + next(iter(self.cells.values())).shape[1]

    def copy(self) -> Counted:
        """The same with arrays of its own."""
        return replace(self, cells={name: cells.copy() for name, cells in self.cells.items()}, asked=[])

    def days(self, place: int, until: int) -> np.ndarray:
        """Whole days before an hour on which a task had calls."""
        calls = self.cells["escalation"][place].sum(1)
        days = np.unique((self.start + np.nonzero(calls)[0]) // 24)
        return days[days * 24 + 24 <= until]


def shares(calls: np.ndarray, rate: np.ndarray, seed: int, wobble: float = 0.05) -> np.ndarray:
    """(M, T, 2) calls outside and inside of a share: rates (M, T) with a day effect."""
    random = np.random.default_rng(seed)
    day = random.normal(0, wobble, (len(rate), rate.shape[1] // 24 + 1))[:, np.arange(rate.shape[1]) // 24]
    odds = np.log(rate / (1 - rate)) + day
    hits = random.binomial(calls, 1 / (1 + np.exp(-odds)))
    return np.stack([calls - hits, hits], axis=2)


def spread(calls: np.ndarray, at: Sequence[int], seed: int, size: int = CELLS) -> np.ndarray:
    """(M, T, C) the calls (M, T) spread evenly over some cells."""
    cells = np.zeros((*calls.shape, size), np.int64)
    cells[:, :, list(at)] = np.random.default_rng(seed).multinomial(calls, [1 / len(at)] * len(at))
    return cells


def of_rates(
    rates: Mapping[str, np.ndarray],
    per_hour: float = 60,
    seed: int = 1,
    piled: Mapping[str, int] | None = None,
) -> Counted:
    """Escalations and confidences at hourly rates up to ``END``; ``piled``: so many hours before the end high
    confidences become 1.0.
    """
    random = np.random.default_rng(seed)
    rate = np.stack(list(rates.values()))
    calls = random.poisson(per_hour, rate.shape)
    escalation = shares(calls, rate, seed + 1)
    low = spread(escalation[:, :, 1], [30, 50, 75], seed + 2)
    high = spread(escalation[:, :, 0], [82, 90, 95, 100], seed + 3)
    for place, task in enumerate(rates):
        since = rate.shape[1] - (piled or {}).get(task, 0)
        high[place, since:] = 0
        high[place, since:, 100] = escalation[place, since:, 0]
    return Counted(tuple(rates), END - rate.shape[1], {"escalation": escalation, "confidence": low + high})


def step(before: float, after: float, ago: int, days: int = 21) -> np.ndarray:
    """Rates (T,): another one so many hours before the end."""
    hours = np.arange(days * 24)
    return np.where(hours < days * 24 - ago, before, after)


def weeks(counted: Counted, days: int = 14) -> dict[str, Baseline]:
    """Of every task the first days, by default fourteen."""
    start = counted.start
    return {task: Baseline(task, start, start + days * 24, "trailing", 0) for task in counted.tasks}


def subjects(
    counted: Counted,
    references: Mapping[str, Baseline],
    now_hour: int = END,
    models: Mapping[str, str] | None = None,
) -> list[Subject]:
    """The tasks as they are to be judged at an hour."""
    return [
        Subject(
            task,
            "small",
            (models or {}).get(task, ""),
            references[task],
            len(baselines.learned(references[task], counted.days(place, now_hour))),
            80,
        )
        for place, task in enumerate(counted.tasks)
        if task in references
    ]


def judged(
    counted: Counted,
    references: Mapping[str, Baseline] | None = None,
    now_hour: int = END,
    budget: PageBudget = YEARLY,
    monitor: Monitor | None = None,
    models: Mapping[str, str] | None = None,
    last: Sequence[Finding] = (),
    loud: Sequence[str] = (),
) -> list[Finding]:
    """What is found at an hour, by default from scratch and by the first fourteen days."""
    known = subjects(counted, references or weeks(counted), now_hour, models)
    return judge(counted, monitor or Monitor(), known, budget, now_hour, loud, last)


def wanted(
    references: Mapping[str, Baseline], now_hour: int, tiers: Mapping[str, str] | None = None
) -> Wanted:
    """What a look of a monitor watches."""
    tiers = dict.fromkeys(references, "small") | dict(tiers or {})
    needed = {stream: log_needed(8, 8_760, 1, kind.weight) for stream, kind in KINDS.items()}
    return Wanted(references, tiers, dict.fromkeys(references, 80), needed, now_hour)


def of(findings: Sequence[Finding], task: str, stream: Stream = "escalation_rate") -> Finding:
    """The one finding of a task on a stream."""
    (found,) = (one for one in findings if one.task == task and one.stream == stream)
    return found
