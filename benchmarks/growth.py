"""How costs grow with the spans in the store, and with the number of tasks.

python benchmarks/growth.py [--spans 10000000] [--at 1000000] [--folder DIR] [--plot PATH]

From 10^5 spans to ``--spans`` at 1,000 tasks, and from 10 to 10,000 tasks at ``--at`` spans. Every figure is
CPU: of taking an hour in (46,000 spans decoded, written, synced), of the compaction after it, of what the
first screen computes (a day, all tasks), and of one task's page (a week). DIR, by default
a temporary folder, keeps the stores for another time: 10^8 spans take 5 GB and some minutes to make.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _bodies
import _fleet
import _history
import _measure as measure
import _plot
import _screens

from cascade_otel.records import DAY_NS, HOUR_NS
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.otlp.decode import decode
from cascade_otel.storage.reading.rollup import Reader
from cascade_otel.storage.segments import Store

TASKS = (10, 100, 1_000, 10_000)
AN_HOUR, BODIES_A_COMMIT = 46_080, 4
COSTS = {
    "ingest": "an hour taken in",
    "tick": "its compaction",
    "screen": "first screen",
    "page": "one task's page",
}


class Point(NamedTuple):
    """What one store costs: CPU seconds, and bytes in all."""

    tasks: int
    spans: int
    ingest: float
    tick: float
    screen: float
    page: float
    size: int


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--spans", type=float, default=1e7)
    options.add_argument("--at", type=float, default=1e6)
    options.add_argument("--folder", type=Path)
    options.add_argument("--plot", type=Path)
    chosen = options.parse_args()
    print(measure.machine())
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        sizes = [10**power for power in range(5, 9) if 10**power <= chosen.spans * 1.2]
        by_spans = [point(folder, spans, 1_000) for spans in sizes]
        by_tasks = [point(folder, round(chosen.at), tasks) for tasks in TASKS]
    show("1,000 tasks, ever more spans", by_spans)
    show("Ever more tasks", by_tasks)
    if chosen.plot:
        chosen.plot.write_text(drawn(by_spans, by_tasks), encoding="utf-8")
        print(f"drawn: {chosen.plot}")


def point(folder: Path, spans: int, tasks: int) -> Point:
    """Measures a store of about so many spans, which is made unless it is there."""
    days = round(spans / _history.SPANS_A_DAY)
    if days:
        whole = _history.history(folder / f"fleet-{tasks}", days, tasks)
    else:
        whole = _history.history(folder / f"fleet-{tasks}-{spans}", 1, tasks, spans)
    last = whole.days()[-1]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        part = _history.linked(whole, Path(scratch), range(last - max(days, 1) + 1, last + 1))
        with Reader(part) as reader:
            end, task = (last + 1) * 24, f"attribute-{round(tasks * 0.42):05d}"
            screen = measure.took(partial(_screens.first_screen, reader, "24h", end), 3)[0].cpu
            page = measure.took(partial(_screens.task_screen, reader, task, "7d", end), 3)[0].cpu
        count, size = _history.count(part), sum(_history.size(part).values())
        ingest = min(took_in(Path(scratch) / "new", tasks, hour) for hour in range(3))
        tick = ticked(part, last + 1, tasks)
    print(f"{tasks:,} tasks, {count:,} spans measured", flush=True)
    return Point(tasks, count, ingest, tick, screen, page, size)


def took_in(folder: Path, tasks: int, seed: int) -> float:
    """CPU seconds of an hour's requests, decoded and written."""
    bodies = _bodies.bodies(AN_HOUR // _bodies.SPANS, tasks, seed)
    store = Store(folder)

    def stored() -> None:
        for first in range(0, len(bodies), BODIES_A_COMMIT):
            store.append(decode(bodies[first : first + BODIES_A_COMMIT]).table)

    return measure.took(stored)[0].cpu


def ticked(store: Store, day: int, tasks: int) -> float:
    """CPU seconds of compacting the first hour of a new day; of three tries the least."""
    took = []
    with Compactor(store, grace_s=0) as compactor:
        for number in range(3):
            new = day + number * 2  # nothing of a day before it is to be joined with
            compactor.run(new * DAY_NS)
            _history.append(store, _fleet.table(AN_HOUR, new, tasks, (0, 1), number))
            spent, done = measure.took(partial(compactor.run, new * DAY_NS + HOUR_NS))
            if done.failed or not done.rows:
                raise RuntimeError(f"{done}")
            took.append(spent.cpu)
    return min(took)


def show(title: str, points: list[Point]) -> None:
    head = ("tasks", "spans", *COSTS.values(), "bytes", "a span")
    lines = [
        (
            f"{each.tasks:,}",
            f"{each.spans:,}",
            *(f"{getattr(each, name) * 1e3:,.0f} ms" for name in COSTS),
            f"{each.size / 1e6:,.0f} MB",
            f"{each.size / each.spans:.1f}",
        )
        for each in points
    ]
    measure.table(f"{title}: CPU, and bytes", head, lines)


def drawn(by_spans: list[Point], by_tasks: list[Point]) -> str:
    """The same as a picture: above CPU, below bytes, over spans and over tasks."""
    at = f"tasks, {_plot.power_of_ten(round(math.log10(by_tasks[-1].spans)))} spans in the store"
    axes = {"spans": (by_spans, "spans in the store, 1,000 tasks"), "tasks": (by_tasks, at)}
    costs, sizes = [], []
    for name, (points, label) in axes.items():
        xs = [getattr(each, name) for each in points]
        lines = {
            text: [(x, getattr(each, cost)) for x, each in zip(xs, points, strict=True)]
            for cost, text in COSTS.items()
        }
        costs.append(_plot.Panel(label, "CPU seconds", lines))
        stored = [(x, each.size / 1e6) for x, each in zip(xs, points, strict=True)]
        sizes.append(_plot.Panel(label, "megabytes stored", {"stored": stored}))
    return _plot.grid([costs, sizes], "CPU and bytes as spans and tasks grow, on logarithmic axes")


if __name__ == "__main__":
    main()
