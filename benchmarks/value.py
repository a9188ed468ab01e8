"""Does it pay: every published pair of models as a cascade, task by task, with its figures and verdict.

python benchmarks/value.py [--threshold 0.9] [--subjects] [--fleet STORE]

Each pair is judged as if it had run with τ; where a log has no costs the verdict says how cheap the first
tier must be. ``--subjects`` adds the subjects of MMLU one by one. A second table shows how often intervals
and verdicts are right in made-up worlds under audits; ``--fleet`` times the summary of a store. The published
logs lie beside the repository, or in CASCADE_OTEL_PUBLISHED_LOGS; without them their table is left out.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd

from cascade_otel.analysis.value import labels
from cascade_otel.analysis.value import summary as value
from cascade_otel.analysis.value.labels import Quality, Traffic
from cascade_otel.analysis.value.savings import Spending
from cascade_otel.analysis.value.summary import ANSWERS
from cascade_otel.analysis.value.verdict import verdict
from cascade_otel.statistics.calibration import ece
from cascade_otel.statistics.intervals import wilson
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store

LOGS = Path(os.environ.get("CASCADE_OTEL_PUBLISHED_LOGS", Path(__file__).parents[2] / "shared" / "data"))
FEWEST = 100
"""Calls of a subject that is shown alone."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--threshold", type=float, default=0.9)
    options.add_argument("--subjects", action="store_true")
    options.add_argument("--fleet", type=Path)
    options.add_argument("--trials", type=int, default=200)
    chosen = options.parse_args()
    if (LOGS / "pairs.parquet").exists():
        published(chosen.threshold, chosen.subjects)
    else:
        print(f"no pairs.parquet in {LOGS}: the published pairs are left out\n")
    worlds(chosen.trials)
    if chosen.fleet:
        fleet(chosen.fleet)


def published(threshold: float, subjects: bool) -> None:
    """One row per published pair and task."""
    pairs = pd.read_parquet(LOGS / "pairs.parquet")
    pairs = pairs[pairs["cheap_confidence"].notna() & (pairs["split"] == "test")]
    print(
        f"Published pairs at τ = {threshold:g}; intervals are 90 %; right answers given up are in points.\n"
    )
    head = (
        "task", "cheap → strong", "n", "right", "AUROC", "ECE", "AUDC norm", "APGR", "break-even",
        "escalated", "rescued", "broken", "wasted", "given up", "savings", "verdict",
    )  # fmt: skip
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    by = ["dataset", "confidence_kind", "cheap_model", "strong_model"]
    for (dataset, kind, cheap, strong), whole in pairs.groupby(by, sort=False):
        one_by_one = "mmlu" not in str(dataset)
        parts = list(whole.groupby("task")) if one_by_one or subjects else []
        shown = [(str(task), calls) for task, calls in parts if one_by_one or len(calls) >= FEWEST]
        for task, calls in [*([] if one_by_one else [(str(dataset), whole)]), *shown]:
            _row(task, f"{_short(cheap)} → {_short(strong)} ({kind})", calls, threshold)
    print()


def _row(task: str, pair: str, calls: pd.DataFrame, threshold: float) -> None:
    frame = pd.DataFrame(
        {
            "confidence": calls["cheap_confidence"].to_numpy(float),
            "correct": calls["cheap_correct"].to_numpy(bool),
            "strong": calls["strong_correct"].to_numpy(bool),
            "escalated": calls["cheap_confidence"].to_numpy(float) < threshold,
            "stands_for": 1.0,
        }
    )
    up = frame["escalated"].to_numpy()
    quality = labels.quality(frame, frame, Traffic(float((~up).sum()), float(up.sum())))
    money = _money(calls, up)
    low, high = (float(end) for end in wilson(up.sum(), len(up)))
    found = verdict(len(up), (float(up.mean()), low, high), money, quality)
    loss = quality.loss
    cells = (
        task,
        pair,
        f"{len(up):,}",
        f"{frame['correct'].mean():.3f} / {frame['strong'].mean():.3f}",
        f"{_text(quality.auroc, '.3f')} ({quality.low:.2f}–{quality.high:.2f})",
        f"{ece(frame['confidence'], frame['correct']):.4f}",
        _text(quality.audc_normalised, ".2f"),
        _text(quality.apgr, ".2f"),
        _text(money.break_even, ".2f"),
        f"{up.mean():.2f}",
        *(_text(share, ".2f") for share in (quality.rescued, quality.broken, quality.wasted)),
        f"{100 * loss.share:.1f} ({100 * loss.low:.1f}–{100 * loss.high:.1f})" if loss else "–",
        _text(money.savings, ".0%"),
        ANSWERS[found.pays] + (" with another τ" if found.pays == "yes" and not found.as_it_runs else ""),
    )
    print(f"| {' | '.join(cells)} |")


def _money(calls: pd.DataFrame, up: np.ndarray) -> Spending:
    """Savings against strong-only: the strong cost of every call is known, so only calls differ."""
    cheap, strong = (calls[f"{tier}_cost_usd"].to_numpy(float) for tier in ("cheap", "strong"))
    if np.isnan(cheap).any() or np.isnan(strong).any():
        return Spending()
    spent = cheap + np.where(up, strong, 0)
    share = spent.sum() / strong.sum()
    half = 1.645 * np.std(spent - share * strong) / strong.mean() / len(up) ** 0.5
    return Spending(
        cost=float(spent.sum()),
        savings=1 - share,
        low=1 - share - half,
        high=1 - share + half,
        source="audits",
        cheap_per_call=float(cheap.mean()),
        strong_per_call=float(strong.mean()),
        wasted=float(cheap[up].sum()),
    )


def worlds(trials: int) -> None:
    """How often intervals hold and verdicts err where the truth is known."""
    print("Made-up worlds, 4,000 calls; all escalated and a share of accepted calls labelled.\n")
    print("| world | truth | audited | AUROC held | given up held | pays | does not | cannot tell |")
    print("|---|---|---|---|---|---|---|---|")
    random = np.random.default_rng(17)
    kinds = {
        "sure and right": (0.2, 0.78, 0.9, "pays"),
        "small loss, sharp": (0.2, 0.75, 0.95, "pays with another τ"),
        "overconfident": (0.2, 0.5, 0.95, "does not"),
        "a coin": (0.55, 0.0, 0.95, "does not"),
    }
    for name, (base, slope, strong, truth) in kinds.items():
        big = _seen(random, 1_000_000, base, slope, strong, 1.0)
        for audited in (0.02, 0.1, 1.0):
            found = [_seen(random, 4000, base, slope, strong, audited) for _ in range(trials)]
            area = np.mean([one.low <= (big.auroc or 0) <= one.high for one in found])
            lost = [one.loss.low <= big.loss.share <= one.loss.high for one in found if one.loss and big.loss]
            money = Spending(1.0, 0.4, 0.35, 0.45, "audits", 0.1, 1.0, 1.0)
            answers = [verdict(4000, (0.5, 0.48, 0.52), money, one).pays for one in found]
            shares = " | ".join(f"{answers.count(one) / trials:.2f}" for one in ("yes", "no", "unknown"))
            held = f"{np.mean(lost):.2f}" if lost else "–"
            print(f"| {name} | {truth} | {audited:.0%} | {area:.2f} | {held} | {shares} |")
    print()


def _seen(
    random: np.random.Generator, n: int, base: float, slope: float, strong: float, audited: float
) -> Quality:
    confidence = np.round(random.beta(4, 1.3, n), 2)
    up = confidence < 0.8
    cheap = random.random(n) < np.clip(base + slope * confidence, 0, 1)
    known = up | (random.random(n) < audited)
    kept = max(int((known & ~up).sum()), 1)
    frame = pd.DataFrame(
        {
            "confidence": confidence,
            "correct": cheap,
            "strong": random.random(n) < strong,
            "escalated": up,
            "stands_for": np.where(up, 1.0, (~up).sum() / kept),
        }
    )[known]
    return labels.quality(frame, frame, Traffic(float((~up).sum()), float(up.sum())))


def fleet(store: Path) -> None:
    """How long the summary of a whole store takes."""
    start = time.perf_counter()
    with open_reader(Store(store, create=False)) as reader:
        found = value.summarise(reader)
    took = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    calls = found[-1].calls
    print(f"{store.name}: {len(found) - 1:,} tasks, {calls:,} calls in {took:.1f} s, {memory:.0f} MB")


def _short(model: object) -> str:
    return str(model).removeprefix("Meta-").split("/")[-1][:24]


def _text(number: float | None, style: str) -> str:
    return "–" if number is None else format(number, style)


if __name__ == "__main__":
    main()
