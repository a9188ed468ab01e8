"""False pages and delays of the drift detector on simulated fleets, and what an hour costs.

Every row is simulated anew from its seeds: daily rhythms of volume and rate, day effects of each task's own
size, and what the row's name says. Pages are false ones per 200 tasks and 30 days, at most one per task and
day, on a budget of one; delays run from the shift to the page.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, gammaincinv, logit

from cascade_otel.statistics.detector import (
    Filter,
    Reference,
    hits_below,
    indicators,
    learn,
    log_needed,
    useful,
)

MIDNIGHT = 20_000 * 24
BUDGET = log_needed(200, 720, 1, 1)
YEAR_OF_EIGHT = log_needed(8, 8760, 1, 0.5)
SEEDS = (1, 2, 3, 4)
THRESHOLD = 80

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """What a fleet is like."""

    tasks: int = 200
    traffic: float = 20.0
    base: float = 0.2
    to: float | None = None
    season: float = 0.4
    """Largest daily swing, logit."""
    wobble: float = 0.094
    """Median size of the day effect, logit."""
    spread: float = 0.8
    """Log standard deviation of that size between tasks."""
    tail: float = 6.0
    """Degrees of freedom of the day effect."""
    memory_hours: float = 0.0
    """Level wanders with this memory (standard deviation .125), instead of day by day."""
    burst: float = 0.0
    """Standard deviation of every hour's own effect, logit."""
    weekend: float = 0.0
    gaps: bool = False
    spikes: float = 0.0
    """One-hour spikes a month, at which the rate doubles."""
    shift_hours: int = 10_000
    reference_days: int = 14
    watch_days: int = 30
    fleet_of: int | None = None


@dataclass(frozen=True)
class World:
    calls: Counts
    rate: Floats
    hits: Counts
    change: Counts
    split: int


def simulate(kind: Kind, seed: int) -> World:
    random = np.random.default_rng(seed)
    tasks, split = kind.tasks, kind.reference_days * 24
    hours = np.arange(split + kind.watch_days * 24)
    days = len(hours) // 24
    calls = random.poisson(kind.traffic * (1 + 0.8 * np.sin(2 * np.pi * hours / 24)), (tasks, len(hours)))
    swing = random.uniform(0, kind.season, (tasks, 1))
    level = logit(kind.base) + swing * np.sin(2 * np.pi * (hours + random.uniform(0, 24, (tasks, 1))) / 24)
    if kind.memory_hours:
        keep = math.exp(-1 / kind.memory_hours)
        wander = random.normal(0, 1, tasks)
        for place in range(len(hours)):
            level[:, place] += 0.125 * wander
            wander = keep * wander + math.sqrt(1 - keep**2) * random.normal(0, 1, tasks)
    else:
        size = np.clip(kind.wobble * np.exp(kind.spread * random.normal(0, 1, (tasks, 1))), 0, 0.375)
        effect = random.standard_t(kind.tail, (tasks, days)) * math.sqrt((kind.tail - 2) / kind.tail)
        level += (size * effect)[:, hours // 24]
    level += kind.burst * random.normal(0, 1, level.shape)
    level -= kind.weekend * ((hours // 24 + 2) % 7 >= 5)
    change = kind.watch_days * 12 + random.integers(0, 24, tasks)
    if kind.to is not None:
        since = hours - split - change[:, None]
        level += ((since >= 0) & (since < kind.shift_hours)) * (logit(kind.to) - logit(kind.base))
    rate = expit(level)
    spiked = random.random(rate.shape) < kind.spikes / 720
    rate = np.where(spiked, np.minimum(2 * rate, 0.95), rate)
    if kind.gaps:
        for task in range(tasks):
            for start in random.integers(0, len(hours) - 12, 12):
                calls[task, start : start + random.integers(1, 12)] = 0
    return World(calls, rate, random.binomial(calls, rate), change, split)


def watch(world: World, kind: Kind, needed: float) -> NDArray[np.bool_]:
    """Pages (hours, M) of the escalation rate."""
    tasks = len(world.calls)
    every = np.arange(tasks)
    size = kind.fleet_of or tasks
    fleet = np.split(every, range(size, tasks, size))
    return np.stack(list(_steps(world.calls, world.hits, every, fleet, world.split, needed)))


def watch_shape(world: World, seed: int, change: str | None, needed: float) -> NDArray[np.bool_]:
    """Pages (hours, M) of the confidence shape: lumpy confidences with the world's rate below .8."""
    random = np.random.default_rng([seed, 9])
    histogram = confidences(world, random, change)
    tasks = len(histogram)
    cuts = indicators(histogram[:, : world.split], np.full(tasks, THRESHOLD))
    hits = hits_below(histogram, cuts).transpose(0, 2, 1).reshape(-1, histogram.shape[1])
    each = cuts.shape[1]
    groups = np.repeat(np.arange(tasks), each)
    fleet = [np.arange(cut, len(groups), each) for cut in range(each)]
    return np.stack(list(_steps(np.repeat(world.calls, each, 0), hits, groups, fleet, world.split, needed)))


def confidences(world: World, random: np.random.Generator, change: str | None) -> Counts:
    """Histograms (M, T, 101). ``change``: accepted mass piles up at 1.0, or slides towards the threshold."""
    cell = np.arange(101)
    lumps = np.exp(-0.5 * ((cell - 86) / 13) ** 2) * np.where(cell % 5 == 0, 6.0, 1.0)
    low = np.where(cell < THRESHOLD, lumps, 0)
    high = np.where(cell >= THRESHOLD, lumps, 0)
    high = 0.85 * high / high.sum() + 0.15 * (cell == 100)
    moved = {
        None: high,
        "overconfident": high * 2 / 3 + (cell == 100) / 3,
        "sliding": high * np.exp(-0.03 * cell) / (high * np.exp(-0.03 * cell)).sum(),
    }[change]
    accepted = world.calls - world.hits
    after = np.arange(world.calls.shape[1]) - world.split >= world.change[:, None]
    histogram = random.multinomial(world.hits, low / low.sum())
    histogram += random.multinomial(np.where(after, 0, accepted), high / high.sum())
    histogram += random.multinomial(np.where(after, accepted, 0), moved / moved.sum())
    return histogram


def _steps(
    calls: Counts, hits: Counts, groups: Counts, fleet: list[Counts], split: int, needed: float
) -> Iterator[NDArray[np.bool_]]:
    hours = MIDNIGHT + np.arange(calls.shape[1])
    valid = np.ones((len(calls), split), bool)
    null = learn(Reference(hours[:split], calls[:, :split], hits[:, :split], fleet, valid))
    detector = Filter(null, groups, useful(null.rate, groups), needed)
    for place in range(split, len(hours)):
        yield detector.advance(int(hours[place]), calls[:, place], hits[:, place]).page


def count_pages(paged: NDArray[np.bool_]) -> int:
    """Pages with at most one per task in 24 hours."""
    last, total = np.full(paged.shape[1], -24), 0
    for hour, now in enumerate(paged):
        fresh = now & (hour - last >= 24)
        last[fresh] = hour
        total += int(fresh.sum())
    return total


def upper(count: int) -> float:
    """Upper end of the two-sided 95 % Poisson interval."""
    return float(gammaincinv(count + 1, 0.975))


def false_pages(name: str, kind: Kind, shape: bool = False) -> None:
    total, tasks = 0, 0
    for seed in SEEDS:
        world = simulate(kind, seed)
        paged = watch_shape(world, seed, None, BUDGET) if shape else watch(world, kind, BUDGET)
        total += count_pages(paged)
        tasks += kind.tasks
    scale = 200 / tasks * 30 / kind.watch_days
    print(f"| {name} | {tasks} | {total * scale:.1f} (≤ {upper(total) * scale:.1f}) |", flush=True)


def delays(name: str, kind: Kind, change: str | None = None) -> None:
    found = []
    for seed in SEEDS:
        world = simulate(kind, 100 + seed)
        paged = watch_shape(world, seed, change, BUDGET) if change else watch(world, kind, BUDGET)
        first = np.where(paged.any(0), paged.argmax(0), 10_000)
        on_time = first >= world.change
        found.append(np.where(first < 10_000, first - world.change + 1.0, np.inf)[on_time])
    every = np.concatenate(found)
    ranks = (_median_ranks(len(every)) * (len(every) - 1)).astype(int)
    low, middle, high = (f"{hours:.0f}" for hours in np.sort(every)[ranks])
    share = np.isfinite(every).mean()
    print(f"| {name} | {len(every)} | {middle} ({low} to {high}) | {share:.0%} |", flush=True)


def _median_ranks(count: int) -> Floats:
    """Ranks, as fractions, of the median's 95 % interval and of the median itself."""
    half = 0.98 / math.sqrt(count)
    return np.array([0.5 - half, 0.5, 0.5 + half])


def small_fleets(fleets: int) -> None:
    """Fleets of eight on one false page a year, with spikes: nine quiet days, and shifts of late."""
    random = np.random.default_rng(5)
    quiet = Kind(
        tasks=8 * fleets, traffic=110, wobble=0.05, spread=0.0, tail=1e6, season=0.15, spikes=3, fleet_of=8,
        reference_days=21, watch_days=9, base=0.3,
    )  # fmt: skip
    paged = watch(simulate(quiet, 6), quiet, YEAR_OF_EIGHT).any(0).reshape(-1, 8).any(1)
    print(f"| quiet fleets that page in nine days | {fleets} | {paged.mean():.1%} |")
    for points in (8, 10, 12, 15, 20):
        world = simulate(quiet, 7 + points)
        ago = random.integers(36, 73, quiet.tasks)
        change = quiet.watch_days * 24 - ago
        after = np.arange(world.calls.shape[1]) - world.split >= change[:, None]
        moved = expit(logit(world.rate) + after * (logit(0.3 + points / 100) - logit(0.3)))
        world = replace(world, hits=random.binomial(world.calls, moved), change=change)
        first = watch(world, quiet, YEAR_OF_EIGHT)
        hit = first.any(0) & (first.argmax(0) >= change)
        print(f"| .30 + {points} points, 36 to 72 h ago: paged by now | {quiet.tasks} | {hit.mean():.1%} |")


def cost() -> None:
    world = simulate(Kind(tasks=1000, watch_days=2), 1)
    histogram = confidences(world, np.random.default_rng(1), None)
    cuts = indicators(histogram[:, : world.split], np.full(1000, THRESHOLD))
    shape = hits_below(histogram, cuts).transpose(0, 2, 1).reshape(9000, -1)
    groups = np.repeat(np.arange(1000), 9)
    fleets = [np.arange(cut, 9000, 9) for cut in range(9)]
    for name, calls, hits, group, fleet in (
        ("escalation rate", world.calls, world.hits, np.arange(1000), [np.arange(1000)]),
        ("confidence shape", np.repeat(world.calls, 9, 0), shape, groups, fleets),
    ):
        steps = _steps(calls, hits, group, fleet, world.split, BUDGET)
        start = time.process_time()
        next(steps)
        learned = time.process_time() - start
        hours = []
        for _ in range(30):
            start = time.process_time()
            next(steps)
            hours.append(time.process_time() - start)
        print(f"| {name} | {1000 * float(np.median(hours)):.1f} ms | {learned:.2f} s |")


def table(*titles: str) -> None:
    print("\n| " + " | ".join(titles) + " |\n|" + "---|" * len(titles))


def main() -> None:
    mixed = Kind()
    table("world without drift", "tasks", "pages per 200 tasks and 30 days (95 % bound)")
    false_pages("mixed fleet, 20 calls/h", mixed)
    false_pages("mixed fleet, all confidences watched", replace(mixed, tasks=50), shape=True)
    false_pages("level wanders, memory 36 h", replace(mixed, memory_hours=36, season=0.0))
    false_pages("bursts", replace(mixed, burst=0.3))
    false_pages("gaps", replace(mixed, gaps=True))
    false_pages("weekends", replace(mixed, weekend=0.4))
    false_pages("base 2 %, 50 calls/h", replace(mixed, base=0.02, traffic=50, wobble=0.0))
    false_pages("base 95 %, 50 calls/h", replace(mixed, base=0.95, traffic=50, wobble=0.0))
    false_pages("three spikes a month", replace(mixed, spikes=3))
    false_pages("mixed fleet, 2000 calls/h", replace(mixed, tasks=100, traffic=2000))
    false_pages("level wanders, 2000 calls/h", replace(mixed, tasks=100, traffic=2000, memory_hours=36))
    table("shift in the mixed fleet, 20 calls/h", "tasks", "median hours (95 %)", "found in 15 days")
    for to in (0.25, 0.3, 0.4, 0.1):
        delays(f".20 to {to:.2f}", replace(mixed, tasks=100, to=to))
    for change in ("overconfident", "sliding"):
        delays(f"confidences {change} at the same rate", replace(mixed, tasks=15), change)
    delays("six hours at .40 (found: share that pages)", replace(mixed, tasks=100, to=0.4, shift_hours=6))
    table("fleets of eight, 110 calls/h", "cases", "share")
    small_fleets(60)
    table("one hour of 1,000 tasks", "CPU", "learning")
    cost()


if __name__ == "__main__":
    main()
