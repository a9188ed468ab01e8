"""False pages and delays of the drift detector on simulated fleets, beside what people use today.

Pages are false ones per 200 tasks and 30 days, at most one per task and day, on a budget of one page a month
for all streams together (the escalation rate may use half of it, the confidence shape a fifth), with the
upper end of a two-sided 95 % Poisson interval. Delays run from the shift to the first page, tasks that paged
before left out, with a 95 % interval of the median. Short by default; ``--full`` takes a quarter of an hour;
``--seed N`` begins elsewhere.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from _rivals import RIVALS, Counts, Cusum, OfDistributions, Static, Watcher, wasserstein
from _worlds import DAY_SIZE, Floats, Kind, World, simulate
from drift_adapter import Detector, Stream
from numpy.typing import NDArray
from scipy.special import gammaincinv

Scores = NDArray[np.float32]
MIXED = Kind()
PLAIN = Kind(season=0.0, tide=0.0, wobble=0.0)
REAL = Kind(season=0.3, wobble=0.125, spread=0.0, weekend=0.15)
WANDERING = replace(PLAIN, memory_hours=36)
BURSTY = replace(PLAIN, burst=0.31)
FOUND_WITHIN = 336


class Fleets:
    """The detector where only so many tasks learn from each other, all of them on one budget."""

    def __init__(self, stream: Stream, size: int) -> None:
        self.stream, self.size = stream, size

    def start(self, ref: Mapping[str, NDArray[Any]]) -> None:
        tasks = len(ref["n"])
        self._parts = [slice(start, start + self.size) for start in range(0, tasks, self.size)]
        self._detectors = [Detector(self.stream, tasks) for _ in self._parts]
        for part, detector in zip(self._parts, self._detectors, strict=True):
            detector.start(
                {name: counts if name == "hours" else counts[part] for name, counts in ref.items()}
            )
        self.threshold = self._detectors[0].threshold

    def __call__(self, t: int, n: Counts, k: Counts, hist: Counts) -> Floats:
        pairs = zip(self._parts, self._detectors, strict=True)
        return np.concatenate([detector(t, n[part], k[part], hist[part]) for part, detector in pairs])


def scores(world: World, watcher: Watcher) -> Scores:
    """Scores (M, T) over the watch."""
    watcher.start(world.reference)
    found = []
    nothing = np.zeros((len(world.calls), 0), np.int64)
    for place in range(world.split, world.calls.shape[1]):
        cells = nothing if world.histogram is None else world.histogram[:, place]
        found.append(watcher(place, world.calls[:, place], world.hits[:, place], cells))
    return np.stack(found, axis=1).astype(np.float32)


def count_pages(score: Scores, threshold: float) -> int:
    """Pages with at most one per task in 24 hours."""
    last, total = np.full(len(score), -24), 0
    for hour in range(score.shape[1]):
        fresh = (score[:, hour] >= threshold) & (hour - last >= 24)
        last[fresh] = hour
        total += int(fresh.sum())
    return total


def delays_of(score: Scores, threshold: float, change: NDArray[np.int64]) -> Floats:
    """Hours from the shift to the page; infinite where none came in time."""
    paged = score >= threshold
    first = np.where(paged.any(1), paged.argmax(1), 10**6)
    hours = np.where(first - change < FOUND_WITHIN, first - change + 1.0, np.inf)
    return np.asarray(hours[first >= change])


class Bench:
    """One run: its seeds, and what is printed."""

    def __init__(self, seed: int, seeds: int) -> None:
        self.seeds = range(seed, seed + seeds)

    def worlds(self, kind: Kind, confidences: bool) -> Iterator[World]:
        for seed in self.seeds:
            yield simulate(kind, seed, confidences)

    def pages(self, name: str, kind: Kind, streams: tuple[Stream, ...] = ("rate",)) -> None:
        """False pages of each stream, and of all of them together."""
        total = dict.fromkeys(streams, 0)
        for world in self.worlds(kind, "shape" in streams):
            for stream in streams:
                watcher = _ours(stream, kind)
                total[stream] += count_pages(scores(world, watcher), watcher.threshold)
        tasks = kind.tasks * len(self.seeds)
        scale = 200 / tasks * 30 / kind.watch_days
        cells = [_rate(total[stream], scale) if stream in total else "" for stream in ("rate", "shape")]
        _row(name, str(tasks), *cells, _rate(sum(total.values()), scale))

    def delays(self, name: str, kind: Kind, stream: Stream = "rate") -> None:
        found = []
        for world in self.worlds(kind, stream == "shape"):
            watcher = _ours(stream, kind)
            found.append(delays_of(scores(world, watcher), watcher.threshold, world.change))
        every = np.concatenate(found)
        _row(name, str(len(every)), *_median(every), f"{np.isfinite(every).mean():.0%}")

    def rivals(self) -> None:
        """Each with its usual threshold: pages in three quiet worlds, and what it finds."""
        quiet = [replace(kind, tasks=50) for kind in (PLAIN, REAL, replace(REAL, traffic=2000))]
        shifted = replace(REAL, tasks=50, to=0.3)
        ours: dict[str, Callable[[], Watcher]] = {
            "**this detector, rate**": lambda: Detector("rate"),
            "**this detector, shape**": lambda: Detector("shape"),
        }
        makers: dict[str, Callable[[], Watcher]] = {**RIVALS, **ours}
        cells: dict[str, list[str]] = {name: [] for name in makers}
        for kind in quiet:
            world = simulate(kind, self.seeds[0], confidences=True)
            for name, make in makers.items():
                watcher = make()
                total = count_pages(scores(world, watcher), watcher.threshold)
                cells[name].append(f"{total * 200 / kind.tasks:.0f}")
        world = simulate(shifted, self.seeds[0], confidences=True)
        for name, make in makers.items():
            watcher = make()
            late = delays_of(scores(world, watcher), watcher.threshold, world.change)
            share = len(late) / shifted.tasks
            cells[name] += [f"{np.isfinite(late).sum() / shifted.tasks:.0%}", f"{1 - share:.0%}"]
        for name, row in cells.items():
            _row(name, *row)

    def contest(self) -> None:
        """Thresholds chosen with hindsight, so that each rival too sends one page in the same quiet world."""
        tasks = 200
        shifts = {to: replace(MIXED, to=to, tasks=100) for to in (0.25, 0.3, 0.4, 0.1)}
        rivals: dict[str, Callable[[], Watcher]] = {
            "CUSUM": Cusum,
            "rate over 24 hours": Static,
            "Wasserstein, daily": lambda: OfDistributions(wasserstein, 0.1, 24),
        }
        quiet = simulate(replace(MIXED, tasks=tasks), self.seeds[0], confidences=True)
        worlds = {to: simulate(kind, self.seeds[0], confidences=True) for to, kind in shifts.items()}
        for name, make in rivals.items():
            score = scores(quiet, make())
            threshold = _hindsight(score)
            row = [
                _found(delays_of(scores(world, make()), threshold, world.change)) for world in worlds.values()
            ]
            _row(f"{name}, with hindsight", str(count_pages(score, threshold)), *row)
        ours: dict[str, Stream] = {"**this detector, rate**": "rate", "**this detector, shape**": "shape"}
        for name, stream in ours.items():
            watcher = _ours(stream, MIXED)
            count = count_pages(scores(quiet, watcher), watcher.threshold)
            row = []
            for world in worlds.values():
                watcher = _ours(stream, MIXED)
                row.append(_found(delays_of(scores(world, watcher), watcher.threshold, world.change)))
            _row(name, str(count), *row)


def cost() -> None:
    """CPU of one hour of 1,000 tasks."""
    world = simulate(Kind(tasks=1000, watch_days=2), 1, confidences=True)
    assert world.histogram is not None
    streams: tuple[Stream, ...] = ("rate", "shape")
    for stream in streams:
        detector = _ours(stream, MIXED)
        start = time.process_time()
        detector.start(world.reference)
        learned = time.process_time() - start
        spent = []
        for place in range(world.split, world.split + 30):
            counts = world.calls[:, place], world.hits[:, place], world.histogram[:, place]
            start = time.process_time()
            detector(place, *counts)
            spent.append(1000 * (time.process_time() - start))
        _row(stream, f"{np.median(spent):.1f} ms", f"{max(spent):.1f} ms", f"{learned:.2f} s")


def _ours(stream: Stream, kind: Kind) -> Watcher:
    return Detector(stream) if kind.fleet_of is None else Fleets(stream, kind.fleet_of)


def _hindsight(score: Scores) -> float:
    """Lowest threshold at which this many scores make one page at most."""
    candidates = np.unique(np.concatenate([score.max(1), np.quantile(score[np.isfinite(score)], [0.5, 0.9])]))
    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        if count_pages(score, candidates[middle]) <= 1:
            high = middle
        else:
            low = middle + 1
    return float(candidates[low])


def _rate(count: int, scale: float) -> str:
    return f"{count * scale:.1f} (≤ {gammaincinv(count + 1, 0.975) * scale:.1f})"


def _median(hours: Floats) -> tuple[str, str]:
    half = 0.98 / math.sqrt(len(hours))
    ranks = (np.clip([0.5, 0.5 - half, 0.5 + half, 0.9], 0, 1) * (len(hours) - 1)).astype(int)
    middle, low, high, late = (f"{value:.0f}" for value in np.sort(hours)[ranks])
    return f"{middle} ({low} to {high})", late


def _found(hours: Floats) -> str:
    return f"{np.median(hours):.0f} h, {np.isfinite(hours).mean():.0%}"


def _row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def table(*titles: str) -> None:
    print()
    _row(*titles)
    print("|" + "---|" * len(titles))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--full", action="store_true", help="all worlds, four seeds of each")
    options.add_argument("--seed", type=int, default=1, help="the first seed")
    chosen = options.parse_args()
    bench = Bench(chosen.seed, 4 if chosen.full else 1)

    table(
        "usual thresholds",
        "i.i.d., 20/h",
        "real, 20/h",
        "real, 2000/h",
        "finds .20 → .30",
        "paged before",
    )
    bench.rivals()
    table("mixed fleet, equal pages", "pages", ".20 → .25", "→ .30", "→ .40", "→ .10")
    bench.contest()
    table("world without drift", "tasks", "rate", "shape", "pages together")
    quiet(bench, chosen.full)
    table(
        "shift, mixed fleet at 20/h",
        "tasks",
        "median hours",
        "of nine tenths",
        "found in 14 days",
    )
    shifts(bench, chosen.full)
    table("an hour of 1,000 tasks", "CPU, median", "most", "learning")
    cost()


def quiet(bench: Bench, full: bool) -> None:
    """Worlds in which every page is a false one."""
    bench.pages("mixed fleet, 20/h", MIXED, ("rate", "shape") if full else ("rate",))
    bench.pages("i.i.d.", replace(PLAIN, tasks=50), ("rate", "shape"))
    bench.pages("season, day effects, weekends", replace(REAL, tasks=50), ("rate", "shape"))
    half = replace(MIXED, tasks=100)
    busy = replace(half, traffic=2000)
    wandering, anywhere = (
        replace(WANDERING, tasks=100),
        replace(half, wobble=0.125, spread=0, turns_anywhere=True),
    )
    rows = {
        "level wanders, memory 36 h, 20/h": replace(wandering, tasks=200),
        "level wanders, memory 36 h, 2000/h": replace(wandering, traffic=2000),
        "bursts, 2000/h": replace(BURSTY, traffic=2000, tasks=100),
        "gaps and batches": replace(half, gaps=True, spread=0.0),
        "weekends lower by .4": replace(half, weekend=0.4),
        "base 2 %, 50/h": replace(half, base=0.02, traffic=50, wobble=0.0),
        "base 95 %, 50/h": replace(half, base=0.95, traffic=50, wobble=0.0),
        "reference of 7 days": replace(MIXED, reference_days=7),
        "reference of 3 days": replace(MIXED, reference_days=3),
    }
    if full:
        rows |= {
            "reference of 1 day": replace(MIXED, reference_days=1),
            "mixed fleet, 2000/h": busy,
            "level wanders, memory 72 h, 20/h": replace(wandering, memory_hours=72),
            "level wanders, memory 72 h, 2000/h": replace(wandering, memory_hours=72, traffic=2000),
            "day effects turn at another hour, 20/h": anywhere,
            "day effects turn at another hour, 2000/h": replace(anywhere, traffic=2000),
            "heavy tails (t3)": replace(half, tail=3.0, spread=0.0, wobble=0.125),
            "three incidents of 3 h a month": replace(half, incidents=3),
            "a shock of .1 a day to the whole fleet": replace(half, shock=0.1),
            "two holidays": replace(half, holidays=2),
            "fleets of five": replace(half, fleet_of=5),
            "tasks learned alone": replace(half, fleet_of=1),
            "tasks learned alone, reference of 3 days": replace(half, fleet_of=1, reference_days=3),
        }
    for name, kind in rows.items():
        bench.pages(name, kind)


def shifts(bench: Bench, full: bool) -> None:
    """Worlds in which something happens."""
    some = replace(MIXED, tasks=100)
    few = replace(MIXED, tasks=20)
    for to in (0.25, 0.3, 0.4, 0.1):
        bench.delays(f".20 → {to:.2f}", replace(MIXED, to=to))
    bench.delays("seven-day ramp to .30", replace(some, to=0.3, ramp_hours=168))
    bench.delays("six hours at .40 (found: share that pages)", replace(PLAIN, to=0.4, shift_hours=6))
    bench.delays("the same, mixed fleet", replace(MIXED, to=0.4, shift_hours=6))
    bench.delays("overconfident at the same rate, shape", replace(few, change="overconfident"), "shape")
    bench.delays("sliding at the same rate, shape", replace(few, change="sliding"), "shape")
    bench.delays("→ .30, level wanders, 20/h", replace(WANDERING, tasks=100, to=0.3))
    bench.delays("→ .30, reference of 7 days", replace(some, reference_days=7, to=0.3))
    bench.delays("→ .30, reference of 3 days", replace(some, reference_days=3, to=0.3))
    if full:
        bench.delays("→ .30, i.i.d.", replace(PLAIN, tasks=100, to=0.3))
        bench.delays("→ .40, i.i.d.", replace(PLAIN, tasks=100, to=0.4))
        bench.delays("→ .30, shape", replace(few, to=0.3), "shape")
        bench.delays("→ .30, 2000/h", replace(some, tasks=50, traffic=2000, to=0.3))
        bench.delays("→ .30, level wanders, 2000/h", replace(WANDERING, tasks=50, traffic=2000, to=0.3))
        bench.delays("→ .30, fleets of five", replace(some, fleet_of=5, to=0.3))
        bench.delays("→ .30, tasks learned alone", replace(some, fleet_of=1, to=0.3))
        bench.delays("2 % → 5 %, 50/h", replace(some, base=0.02, to=0.05, traffic=50, wobble=0.0))
        bench.delays("95 % → 90 %, 50/h", replace(some, base=0.95, to=0.9, traffic=50, wobble=DAY_SIZE / 3))


if __name__ == "__main__":
    main()
