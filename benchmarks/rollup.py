"""What is kept of spans, what adding them up costs, and what a look at them costs.

python benchmarks/rollup.py [--spans 10000000] [--folder DIR] [--parts size,rollup,tick,pages,job]

Stores of a fleet (1,000 tasks, about 48 spans per task and hour) and of a few busy tasks (20 tasks, about
5,000), all in DIR, by default a temporary folder; 10^8 spans take 5 GB and some minutes to make, and a DIR
that is there is used again. On a machine that does other things as well, trust CPU times and ratios.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _fleet
import _history
import _measure as measure
import _screens
import duckdb
import numpy as np

from cascade_otel.analysis.watching.look import Watcher, judged_at
from cascade_otel.policy import Policy
from cascade_otel.records import HOUR_NS
from cascade_otel.storage import parts
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.files import relation
from cascade_otel.storage.reading.rollup import Reader
from cascade_otel.storage.segments import Store
from cascade_otel.storage.state import Baseline

ROLLED_UP, ROUNDS = 10_000_000, 5
BUSY_TASKS, BUSY_A_DAY = 20, 2_500_000
AN_HOUR = 46_296
BYTES_BAR, DENSE_BAR, FLEET_BAR, TICK_BAR = 55, 12, 30, 0.6
SCREEN_BAR_MS, MEMORY_BAR = 300, 1000
LOOK_BAR, NEW_HOURS = 1.0, 14
TASK = "attribute-00420"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--spans", type=float, default=ROLLED_UP)
    options.add_argument("--folder", type=Path)
    options.add_argument("--parts", default="size,rollup,tick,pages,job")
    chosen = options.parse_args()
    days = round(chosen.spans / _history.SPANS_A_DAY)
    print(measure.machine())
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        fleet = _history.history(folder / "fleet-1000", days)
        wanted = chosen.parts.split(",")
        if "size" in wanted:
            sizes(fleet)
        if "rollup" in wanted:
            busy_days = round(ROLLED_UP / BUSY_A_DAY)
            busy = _history.history(folder / "busy-20", busy_days, BUSY_TASKS, BUSY_A_DAY)
            rollups(fleet, busy)
        for name, part in (("tick", ticks), ("pages", pages), ("job", job)):
            if name in wanted:  # in a process of its own, for the sake of its memory
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
                    fresh.submit(part, fleet.root).result()


def sizes(fleet: Store) -> None:
    """Bytes a span after compaction."""
    spans, bytes_of = _history.count(fleet), _history.size(fleet)
    lines = [(kind, f"{size / spans:.1f}") for kind, size in bytes_of.items()]
    lines.append(("in all", measure.at_most(sum(bytes_of.values()) / spans, BYTES_BAR)))
    measure.table(f"{spans:,} spans after compaction", ("files", "bytes a span"), lines)


def rollups(fleet: Store, busy: Store) -> None:
    """Parts made of raw rows, every row of them taken out, against scanning two columns."""
    lines = []
    for name, store, bar in (("busy tasks", busy, DENSE_BAR), ("fleet", fleet, FLEET_BAR)):
        entries = [entry for day in store.days() for entry in store.live(day).merged]
        chosen, spans = [], 0
        while entries and spans < ROLLED_UP:
            chosen.append(entries.pop())
            spans += chosen[-1].n
        scanned = relation([entry.rows for entry in chosen])
        questions = {
            "scan": f"SELECT sum(confidence_cell), sum(cost_nano) FROM {scanned}",
            "sites": parts.sites(scanned),
            "sums": parts.sums(scanned),
            "cells": parts.cells(scanned),
        }
        spent = dict.fromkeys(questions, float("inf"))
        rows: dict[str, int] = {}
        with _history.connection(store) as opened:
            for _ in range(ROUNDS):  # in turn, so that what else the machine does meets them all
                for kind, sql in questions.items():
                    took, rows[kind] = measure.took(partial(taken_out, opened, sql))
                    spent[kind] = min(spent[kind], took.cpu)
        scan = spent.pop("scan")
        lines.append(
            (
                f"{name}, {spans:,} spans",
                f"{scan / spans * 1e9:.1f} ns",
                " + ".join(f"{rows[kind]:,}" for kind in spent),
                *(f"{cpu / scan:.1f}" for cpu in spent.values()),
                measure.at_most(sum(spent.values()) / scan, bar),
                f"{sum(spent.values()):.2f} s",
            )
        )
    head = (
        "store",
        "two columns, a span",
        "rows out",
        "sites, ×",
        "sums, ×",
        "cells, ×",
        "in all, ×",
        "in all",
    )
    measure.table(
        "Full rollup against scanning two columns of the same files, CPU of one thread", head, lines
    )


def taken_out(opened: duckdb.DuckDBPyConnection, sql: str) -> int:
    rows: int = opened.sql(sql).to_arrow_table().num_rows
    return rows


def ticks(root: Path) -> None:
    """Compaction of what is new, in a store that shares its files with the fleet's."""
    fleet = Store(root)
    last = fleet.days()[-1]
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        store = _history.linked(fleet, Path(scratch), fleet.days())
        lines: list[tuple[str, ...]] = []
        day = last + 1
        with Compactor(store) as compactor:
            compactor.run(day * 24 * HOUR_NS)

            def tick(name: str, spans: int, at_day: int, hour: int, bar: float | None = None) -> float:
                if spans:
                    table = _fleet.table(spans, at_day, hours=(hour, hour + 1), seed=len(lines) + 1)
                    _history.append(store, table)
                now = (day * 24 + max(hour, 0) + 1) * HOUR_NS
                spent, done = measure.took(lambda: compactor.run(now))
                if done.failed or (spans and not done.rows):
                    raise RuntimeError(f"{name}: {done}")
                said = f"{spent.cpu:.2f} s" if bar is None else measure.at_most(spent.cpu, bar, ".2f", " s")
                lines.append((name, f"{done.rows:,}", said, f"{spent.wall:.2f} s"))
                return spent.cpu

            hours = [tick("an hour into a new day", AN_HOUR, day, 0, TICK_BAR)]
            hours.append(tick("a second hour", AN_HOUR, day, 1, TICK_BAR))
            tick("500 late spans into an old day", 500, last - 2, 5)
            tick("nothing new", 0, day, 1)
            tick("what arrives in 10 s", AN_HOUR // 360, day, 1)
            shown = len(lines)
            hours += [tick("", AN_HOUR, day, hour) for hour in range(2, 24)]
            del lines[shown:]
            said = f"{sum(hours) / len(hours):.2f} s, at most {max(hours):.2f} s"
            lines.append(("each of 24 hours, on average", f"{AN_HOUR:,}", said, ""))
            tick("nothing, the day over: one file, its checks sought in 35 days", 0, day, 25)
        spans = _history.count(fleet)
    measure.table(
        f"Compaction, with its parts, in a store of {spans:,} spans; peak {measure.peak_mb():.0f} MB",
        ("what is new", "rows", "CPU", "wall"),
        lines,
    )


def pages(root: Path) -> None:
    """The dashboard's pages and single questions, in a process that does nothing else."""
    end = (Store(root).days()[-1] + 1) * 24
    screen, page = _screens.first_screen, _screens.task_screen
    asked(
        root,
        "What people look at",
        {
            "first screen, 24 hours": lambda reader: screen(reader, "24h", end),
            "first screen, 7 days": lambda reader: screen(reader, "7d", end),
            "one task's page, 7 days": lambda reader: page(reader, TASK, "7d", end),
            "one task's page, 30 days": lambda reader: page(reader, TASK, "30d", end),
            "its rows of 7 days": lambda reader: reader.rows(TASK, end - 168, end),
            "all labels of 30 days": lambda reader: reader.labels(end - 720, end),
        },
        SCREEN_BAR_MS,
        MEMORY_BAR,
    )


def job(root: Path) -> None:
    """What the detector takes: its first look, and one for each hour that becomes complete."""
    store = Store(root)
    end = (store.days()[-1] + 1) * 24
    lines: list[tuple[str, ...]] = []
    watcher, hours = Watcher(), []
    references: dict[str, Baseline] = {}
    with Reader(store) as reader:
        for hour in range(end - NEW_HOURS, end):
            look = partial(judged_at, reader, watcher, Policy(), references, (), (), hour)
            spent, (findings, references) = measure.took(look)
            if not lines:
                lines.append(("first look", f"{spent.cpu:.1f} s", f"{measure.peak_mb():.0f} MB"))
            else:
                hours.append(spent.cpu)
    median = measure.at_most(float(np.median(hours)), LOOK_BAR, ".2f", " s")
    lines.append(("a new hour, median", median, f"{measure.peak_mb():.0f} MB"))
    lines.append(("a new hour, greatest", f"{max(hours):.2f} s", ""))
    tasks = len({finding.task for finding in findings})
    title = f"The detector, {tasks:,} tasks, every stream, in a store of {_history.count(store):,} spans"
    measure.table(title, ("look", "CPU", "peak memory"), lines)


def asked(
    root: Path,
    title: str,
    questions: dict[str, Callable[[Reader], object]],
    bar_ms: float | None = None,
    bar_mb: float | None = None,
) -> None:
    """Prints what each question costs the first time and again; the bars are the first question's."""
    store = Store(root)
    lines: list[tuple[str, ...]] = []
    with Reader(store) as reader:
        for name, ask in questions.items():
            first, _ = measure.took(partial(ask, reader))
            again, _ = measure.took(partial(ask, reader), 3)
            cpu, memory = again.cpu * 1e3, measure.peak_mb()
            with_bar = bar_ms is not None and bar_mb is not None and not lines
            lines.append(
                (
                    name,
                    f"{first.wall * 1e3:,.0f} ms",
                    f"{again.wall * 1e3:,.0f} ms",
                    measure.at_most(cpu, bar_ms, ",.0f", " ms") if with_bar and bar_ms else f"{cpu:,.0f} ms",
                    measure.at_most(memory, bar_mb, ",.0f", " MB")
                    if with_bar and bar_mb
                    else f"{memory:,.0f} MB",
                )
            )
    head = ("question", "first", "again", "CPU", "peak memory by then")
    measure.table(f"{title}, in a store of {_history.count(store):,} spans", head, lines)


if __name__ == "__main__":
    main()
