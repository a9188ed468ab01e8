"""Where the advised threshold ends up, and how often its true risk exceeds the limit.

python benchmarks/threshold.py [--trials 200] [--parts worlds,logs,selective,weekly,audits,placed,tried]

Every trial makes a new log of a world, chooses a threshold from what an operator would see of it, and looks
up the true risk and escalation of the choice. ``--trials 1000`` is the full count. *floor*: escalation where
the true risk lies below alpha by delta's quantile of the best estimator's error: no method that assumes
nothing about the shape of errors can be lower on average. Only where confidences are many.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from _threshold_rivals import NOTHING, plug_in, ucci
from _threshold_worlds import Population, World, inverted, lumpy, made_up, published, rounded, smooth, spike
from scipy.special import betaincinv, ndtri

from cascade_otel.statistics.risk.audit_plan import RATES, audit_plan
from cascade_otel.statistics.risk.repeated_looks import pocock
from cascade_otel.statistics.risk.risk_control import certified, count, risk_curve, selective_start

Log = tuple[np.ndarray, np.ndarray, np.ndarray]
Choice = Callable[[np.random.Generator, Log, World], float]


def ours(random: np.random.Generator, log: Log, world: World) -> float:
    curve = risk_curve(count(*log), world.delta)
    place = certified(curve, world.alpha)
    return float(curve.threshold[place]) if place >= 0 else NOTHING


CHOICES: dict[str, Choice] = {
    "ours": ours,
    "plug-in": lambda _, log, world: plug_in(*log, world.alpha),
    "UCCI": lambda random, log, world: ucci(random, *log, world.alpha),
}


def main() -> None:
    parts = {
        "worlds": lambda trials: contest(made_up(), trials),
        "logs": lambda trials: contest(published(), trials),
        "selective": selective,
        "weekly": weekly,
        "audits": audits,
        "placed": placed,
        "tried": tried,
    }
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--trials", type=int, default=200)
    options.add_argument("--parts", default=",".join(parts))
    chosen = options.parse_args()
    for part in chosen.parts.split(","):
        parts[part](chosen.trials)


def contest(worlds: Iterable[World], trials: int) -> None:
    titles = [f"{name}: P(risk > α) / escalated" for name in CHOICES]
    table("world", "calls", "audits", "α", "δ", "oracle", "floor", *titles)
    for world in worlds:
        truth = world.truth()
        results = defaultdict(list)
        for trial in range(trials):
            log = world.log(np.random.default_rng([4711, trial]))
            for name, choose in CHOICES.items():
                results[name].append(truth.at(choose(np.random.default_rng([17, trial]), log, world)))
        cells = [_cell(np.array(results[name]), world.alpha) for name in CHOICES]
        oracle, floor = truth.oracle(world.alpha), _floor(world, truth)
        bars = f"{oracle:.3f}", f"{floor:.3f}" if floor > oracle else "–"
        row(world.name, f"{world.calls:,}", f"{world.rate:.0%}", world.alpha, world.delta, *bars, *cells)


def _cell(found: np.ndarray, alpha: float) -> str:
    return f"{np.mean(found[:, 0] > alpha):.3f} / {found[:, 1].mean():.3f}"


def _floor(world: World, truth: Population) -> float:
    """With error e and label rate p at each call above τ: n sd² = E[e(1-e)/p + e²] - α²."""
    ends = np.append(np.flatnonzero(np.diff(truth.confidence)), len(truth.confidence) - 1)
    # An error rate needs more than one call: steps of 1/400 where confidences are continuous.
    ends = ends[np.append(np.diff(ends * 400 // len(truth.confidence)) > 0, True)]
    share = np.diff(np.append(0, ends + 1)) / len(truth.confidence)
    missed = truth.wrong[ends]
    above = missed <= world.alpha
    error = np.diff(np.append(0.0, missed))[above] / share[above]
    rate = np.where(truth.confidence[ends][above] >= world.threshold, world.rate, 1.0)
    variance = (share[above] * (error * (1 - error) / rate + error**2)).sum() - world.alpha**2
    limit = world.alpha + ndtri(world.delta) * np.sqrt(max(variance, 0) / world.calls)
    return float(1 - np.interp(limit, np.append(0.0, missed), np.append(0.0, share.cumsum())))


def selective(trials: int) -> None:
    """The risk among accepted calls: its strictest part is the top, where labels are few."""
    table("selective risk ≤ .10", "calls", "oracle", "P(risk > α)", "escalated", "nothing certified")
    for name, draw, calls in (
        ("smooth", rounded, 5_000), ("smooth", rounded, 20_000),
        ("eleven numbers", lumpy, 20_000), ("overconfident at 1.0", spike, 20_000),
    ):  # fmt: skip
        world = World(name, draw, calls, 0.05, alpha=0.1)
        truth = world.truth()
        found = []
        for trial in range(trials):
            counts = count(*world.log(np.random.default_rng([4712, trial])))
            curve = risk_curve(counts, world.delta, selective=True)
            place = certified(curve, world.alpha, selective_start(counts, world.alpha, world.delta))
            risk, escalated = truth.at(float(curve.threshold[place]) if place >= 0 else NOTHING)
            found.append((risk / max(1 - escalated, 1e-12), escalated, place < 0))
        bad, escalated, nothing = np.array(found, float).T
        row(
            name, f"{calls:,}", f"{truth.oracle(world.alpha, True):.3f}", f"{np.mean(bad > world.alpha):.3f}",
            f"{escalated.mean():.3f}", f"{nothing.mean():.3f}",
        )  # fmt: skip


def weekly(trials: int, weeks: int = 8) -> None:
    """Advice taken every week of the same growing log."""
    world = World("smooth", rounded, 5_000, 0.05)
    truth = world.truth()
    plans = {
        "each look at δ": world.delta,
        "Pocock": pocock(world.delta, weeks),
        "δ / 8": world.delta / weeks,
    }
    found = {name: np.zeros((trials, weeks, 2)) for name in plans}
    for trial in range(trials):
        random = np.random.default_rng([4713, trial])
        logs = [world.log(random) for _ in range(weeks)]
        for week in range(weeks):
            log = tuple(np.concatenate(parts) for parts in zip(*logs[: week + 1], strict=True))
            for name, level in plans.items():
                found[name][trial, week] = truth.at(ours(random, log, replace(world, delta=level)))
    table(
        "8 weeks of 5,000 calls", "level of a look", "bad in any week", "escalated in week 1", "2", "4", "8"
    )
    for name, level in plans.items():
        bad = (found[name][:, :, 0] > world.alpha).any(axis=1).mean()
        means = [f"{found[name][:, week, 1].mean():.3f}" for week in (0, 1, 3, 7)]
        row(name, f"{level:.4f}", f"{bad:.3f}", *means)


def audits(trials: int) -> None:
    """Strong calls per 100 calls, escalated and audited: as planned, and as it came."""
    rates = [rate for rate in RATES if 0.01 <= rate <= 0.3]
    table("calls", "audited:", *(f"{rate:.1%}" for rate in rates))
    truth = World("smooth", rounded, 1, 0.1).truth()
    ends = np.append(np.flatnonzero(np.diff(truth.confidence)), len(truth.confidence) - 1)
    shares = (ends + 1) / len(truth.confidence), truth.wrong[ends]
    for calls in (5_000, 20_000, 100_000):
        plan = audit_plan(calls, 0.05, 0.1, *shares)
        planned = dict(zip(plan.rate, plan.strong_calls, strict=True))
        measured = []
        for rate in rates:
            world = World("smooth", rounded, calls, rate)
            escalated = np.mean(
                [
                    truth.at(ours(random, world.log(random), world))[1]
                    for random in (np.random.default_rng([4714, trial]) for trial in range(trials // 4))
                ]
            )
            measured.append(escalated + rate * (1 - escalated))
        row(f"{calls:,}", "planned", *(f"{100 * planned[rate]:.1f}" for rate in rates))
        row("", f"measured, advised {plan.rate[plan.best]:.1%}", *(f"{100 * one:.1f}" for one in measured))


def placed(trials: int) -> None:
    """The same number of audits, all of them at or above one confidence."""
    table("audits only from", "calls", "P(risk > α)", "escalated")
    truth = World("smooth", rounded, 1, 0.1).truth()
    for calls in (5_000, 20_000):
        for lowest in (0.7, 0.76, 0.8, 0.84):
            found = []
            for trial in range(trials):
                random = np.random.default_rng([4715, trial])
                confidence, wrong = rounded(random, calls)
                rate = 0.05 * np.mean(confidence >= 0.7) / np.mean(confidence >= lowest)
                chance = np.where(confidence < 0.7, 1.0, np.where(confidence >= lowest, rate, 0.0))
                known = np.where(random.random(calls) < chance, wrong.astype(float), np.nan)
                log = confidence, known, chance
                found.append(truth.at(ours(random, log, World("", rounded, calls, rate))))
            bad, escalated = np.array(found).T
            row(lowest, f"{calls:,}", f"{np.mean(bad > 0.05):.3f}", f"{escalated.mean():.3f}")


def tried(trials: int) -> None:
    """Bounds that were not taken: mid-P, and a sequence that begins at the 20th label. Everything is audited
    at one rate here.
    """
    names = ("ours", "mid-P", "from the 20th label")
    table(
        "every call audited alike", "calls", "audits", *(f"{one}: P(risk > α) / escalated" for one in names)
    )
    for name, draw, calls, rate in (
        ("smooth", rounded, 5_000, 0.05), ("smooth", rounded, 5_000, 0.01), ("smooth", rounded, 20_000, 0.05),
        ("continuous", smooth, 3_000, 0.05), ("upside down", inverted, 3_000, 0.05),
    ):  # fmt: skip
        world = World(name, draw, calls, rate, 0.0)
        truth = world.truth()
        found = np.zeros((trials, 3, 2))
        for trial in range(trials):
            counts = count(*world.log(np.random.default_rng([4716, trial])))
            curve = risk_curve(counts, world.delta)
            labelled, wrong = (one.sum(axis=1).cumsum() for one in (counts.labelled, counts.wrong))
            rates = betaincinv(wrong + 0.5, labelled - wrong + 0.5, 1 - world.delta)
            middle = replace(curve, upper=curve.accepted * np.where(labelled > 0, rates, 1.0))
            for column, (bounds, first) in enumerate(
                ((curve, 0), (middle, 0), (curve, int((labelled < 20).sum())))
            ):
                place = certified(bounds, world.alpha, first)
                found[trial, column] = truth.at(float(curve.threshold[place]) if place >= 0 else NOTHING)
        cells = [_cell(found[:, column], world.alpha) for column in range(3)]
        row(name, f"{calls:,}", f"{rate:.0%}", *cells)


def table(*titles: object) -> None:
    print("\n| " + " | ".join(map(str, titles)) + " |\n|" + "---|" * len(titles), flush=True)


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
