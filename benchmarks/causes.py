"""How often the causes of a shift are named, and rightly: simulated worlds, and published answers redrawn.

python benchmarks/causes.py [--windows 40] [--full] [--logs ../shared/data]

Every window is made anew from its seed and has a reference of 14 days. *Exact*: every cause that is there is
named and no other. *Open*: what is not named is among what is said not to be told apart. *Missed*: something
is not named. *Wrong*: something is named, or left open, that is not there. --full takes 100 windows a row,
and 1,000 without a change.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _measure as measure
import numpy as np

from tests.statistics.cause_worlds import (
    PAIRS,
    SINGLE,
    Answers,
    Case,
    Change,
    Replay,
    Setting,
    both,
    published,
    replayed,
    simulated,
    verdict,
)

ROOT = Path(__file__).resolve().parents[1]
GRADES = ("exact", "open", "missed", "wrong")
SILENT = Change(silent=0.55)
ROWS: dict[str, tuple[Collection[str], Change]] = {
    "none": ((), Change()),
    **{name: ((name,), change) for name, change in SINGLE.items()},
    "silent": (("silent",), SILENT),
    **{" + ".join(pair): (pair, both(*pair)) for pair in PAIRS},
}
BARS = {"none": "≥ 98.7 (3 days)", "single": "99 (3 days), 94 (1 day)", "two": "82 (3 days), 63 (1 day)"}
RECORDED = {
    "everything": Setting(),
    "no canaries": Setting(canaries=0),
    "50 canaries": Setting(canaries=50),
    "canaries, confidence only": Setting(canaries_answered=False),
    "no audits": Setting(audited=0.0),
    "no segments": Setting(strata=False),
    "100 calls a day": Setting(a_day=100),
    "lumpy confidences": Setting(lumpy=True),
    "days differ twice as much": Setting(wobble=0.25),
    "harder at weekends": Setting(weekend=0.5),
}
UNCHANGED = {
    "3 days": Setting(),
    "1 day": Setting(days=1),
    "days differ twice as much": Setting(wobble=0.25),
    "harder at weekends": Setting(weekend=0.5),
    "lumpy confidences": Setting(lumpy=True),
    "100 calls a day": Setting(a_day=100),
    "no canaries": Setting(canaries=0),
}
LOGS = (
    ("zellinger_mmlu", "llama3.1-8b", "llama3.2-1b", Replay(share=0.5)),
    ("zellinger_mmlu", "llama3.1-8b", "llama3.2-3b", Replay()),
    ("zellinger_mmlu", "llama3.1-70b", "llama3.1-8b", Replay(share=0.4)),
    ("lifeeval_calibration", "claude-3-7-sonnet-20250219", "claude-3-haiku-20240307", Replay((0.9, 0.95))),
)
REPLAYED = (
    (), ("threshold",), ("mix",), ("model",), ("scale",), ("hidden",), ("silent",), ("mix", "model"),
    ("threshold", "mix"), ("threshold", "model"), ("mix", "scale"), ("threshold", "hidden"),
    ("model", "hidden"),
)  # fmt: skip


def main() -> None:
    """Prints the tables."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--windows", type=int, default=40, help="a row (40)")
    options.add_argument("--full", action="store_true", help="100 windows a row, 1,000 without a change")
    options.add_argument("--logs", type=Path, default=ROOT.parent / "shared" / "data", help="published logs")
    chosen = options.parse_args()
    windows = 100 if chosen.full else chosen.windows
    began = time.monotonic()
    _by_cause(windows)
    _by_setting(windows // 2)
    _without_change(1000 if chosen.full else 5 * windows)
    _probabilities(10 * windows)
    if (chosen.logs / "calls.parquet").exists():
        _from_logs(chosen.logs, windows // 2)
    else:
        print(f"\nPublished answers: not measured, no calls.parquet in {chosen.logs}")
    print(f"\n{time.monotonic() - began:.0f} s")


def _by_cause(windows: int) -> None:
    lines = []
    totals: dict[tuple[str, int], Counter[str]] = {}
    for name, (truth, change) in ROWS.items():
        cells = []
        for days in (3, 1):
            found = _grades(
                (
                    simulated([11, days, seed, *map(ord, name)], change, Setting(days=days))
                    for seed in range(windows)
                ),
                truth,
            )
            totals.setdefault((_kind(truth), days), Counter()).update(found)
            cells += _shares(found)
        lines.append([name, *cells, ""])
    for kind in ("none", "single", "silent", "two"):
        cells = [cell for days in (3, 1) for cell in _shares(totals[kind, days])]
        lines.append([f"**all: {kind}**", *cells, BARS.get(kind, "")])
    head = ["cause", *(f"{grade}, {days} d" for days in (3, 1) for grade in GRADES), "bar, exact"]
    title = f"Simulated, 480 calls a day, 5 % audited, 200 canaries; % of {windows} windows a row"
    measure.table(title, head, lines)


def _by_setting(windows: int) -> None:
    lines = []
    for label, setting in RECORDED.items():
        totals: dict[str, Counter[str]] = {}
        for name, (truth, change) in ROWS.items():
            cases = (simulated([12, seed, *map(ord, name)], change, setting) for seed in range(windows))
            totals.setdefault(_kind(truth), Counter()).update(_grades(cases, truth))
        cells = [
            f"{_percent(totals[kind], grade)}" for kind in ("single", "silent", "two") for grade in GRADES
        ]
        lines.append([label, *cells])
    head = ["3 days", *(f"{kind}: {grade}" for kind in ("single", "silent", "two") for grade in GRADES)]
    measure.table(f"The same by what is recorded; % of {windows} windows a cause", head, lines)


def _without_change(windows: int) -> None:
    """How often something is named where nothing has changed, also where the rate looks most as if."""
    lines = []
    for label, setting in UNCHANGED.items():
        moved, named = np.zeros(windows), np.zeros(windows, bool)
        for seed in range(windows):
            case = simulated([13, seed], Change(), setting)
            found = case.diagnosis()
            named[seed] = bool(found.named or found.unsure)
            moved[seed] = abs(case.now.escalated.mean() - case.before.escalated.mean())
        extreme = np.argsort(moved)[-max(windows // 20, 1) :]
        bar = "≤ 1.3" if label == "3 days" else ""
        lines.append([label, f"{100 * named.mean():.1f}", f"{100 * named[extreme].mean():.0f}", bar])
    head = ["nothing changed", "% named or left open", "% of the most extreme twentieth", "bar"]
    measure.table(f"{windows} windows without a change; the most extreme as after a false alarm", head, lines)


def _probabilities(windows: int) -> None:
    """Whether causes are there as often as is said: each drawn with a quarter, sizes from small to large."""
    said, there = [], []
    for seed in range(windows):
        random = np.random.default_rng([15, seed])
        present, size = random.random(4) < 0.25, random.uniform(0.1, 0.8, 4) * random.choice([-1, 1, 1, 1])
        model = "model" if random.random() < 0.5 else "scale"
        change = Change(mix=present[0] * random.uniform(0.2, 1), hidden=present[1] * size[1])
        change = replace(change, **{model: present[2] * size[2]})
        found = simulated([16, seed], change).diagnosis().probability
        for name in ("mix", "hidden", "model", "scale"):
            said.append(found[name])
            there.append(getattr(change, name) != 0)
    edges = np.array([0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0])
    place = np.clip(np.searchsorted(edges, said, side="right") - 1, 0, len(edges) - 2)
    lines = []
    for number in range(len(edges) - 1):
        part = place == number
        mean, share = np.array(said)[part].mean(), np.array(there)[part].mean()
        lines.append(
            [f"{edges[number]:g} to {edges[number + 1]:g}", str(part.sum()), f"{mean:.2f}", f"{share:.2f}"]
        )
    measure.table(f"Stated probabilities, {windows} windows", ["said", "n", "mean", "are there"], lines)


def _from_logs(folder: Path, windows: int) -> None:
    lines = []
    for dataset, base, worse, how in LOGS:
        answers = published(folder, dataset, base, worse)
        for label, used in (("all", how), ("no canaries", Replay(how.thresholds, how.share, canaries=0))):
            totals: dict[str, Counter[str]] = {}
            for causes in REPLAYED:
                found = _grades(_cases(answers, causes, used, windows), causes)
                totals.setdefault(_kind(causes), Counter()).update(found)
            of_none = f"{100 - float(_percent(totals['none'], 'exact')):.0f}"
            cells = [_percent(totals[kind], grade) for kind in ("single", "two") for grade in GRADES]
            silent = _percent(totals["silent"], "exact")
            lines.append([f"{base} → {worse}, {how.share:.0%}", label, of_none, *cells, silent])
    head = ["model change", "recorded", "none: named"]
    head += [f"{kind}: {grade}" for kind in ("single", "two") for grade in GRADES] + ["silent: exact"]
    title = f"Published answers; % of {windows} windows a cause. Bars: single 86 to 98, two 61 to 97 exact"
    measure.table(title, head, lines)


def _cases(answers: Answers, causes: Collection[str], how: Replay, windows: int) -> Iterable[Case]:
    return (replayed([14, seed, len(causes)], answers, causes, how) for seed in range(windows))


def _grades(cases: Iterable[Case], truth: Collection[str]) -> Counter[str]:
    return Counter(verdict(case.diagnosis(), truth) for case in cases)


def _kind(truth: Collection[str]) -> str:
    return "silent" if tuple(truth) == ("silent",) else ("none", "single", "two")[len(truth)]


def _shares(found: Counter[str]) -> list[str]:
    return [_percent(found, grade) for grade in GRADES]


def _percent(found: Counter[str], grade: str) -> str:
    return f"{100 * found[grade] / max(found.total(), 1):.1f}"


if __name__ == "__main__":
    main()
