"""Worlds in which a threshold is chosen: made-up calls, published logs, and what operators see of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Draw = Callable[[np.random.Generator, int], tuple[Floats, Bools]]

SAID = np.array([0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0])
"""What models say when asked for a confidence."""
PEOPLE = 4_000_000
"""Calls from which true risks are computed."""
PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "data" / "pairs.parquet"


@dataclass(frozen=True)
class Population:
    """True joint risk and escalation of every threshold."""

    confidence: Floats
    """(N,) descending."""
    wrong: Floats
    """(N,) wrong answers down to here, as a share of all."""

    @classmethod
    def of(cls, confidence: Floats, wrong: Bools) -> Population:
        order = np.argsort(-confidence, kind="stable")
        return cls(confidence[order], wrong[order].cumsum() / len(wrong))

    def at(self, threshold: float) -> tuple[float, float]:
        """Risk and escalation when confidence >= threshold is accepted."""
        calls = len(self.confidence)
        accepted = calls - int(np.searchsorted(self.confidence[::-1], threshold, side="left"))
        return (self.wrong[accepted - 1] if accepted else 0.0), 1 - accepted / calls

    def oracle(self, alpha: float, selective: bool = False) -> float:
        """The lowest escalation whose true risk is within ``alpha``."""
        ends = np.append(np.flatnonzero(np.diff(self.confidence)), len(self.confidence) - 1)
        share = (ends + 1) / len(self.confidence)
        risk = self.wrong[ends] / share if selective else self.wrong[ends]
        return float(1 - share[risk <= alpha].max(initial=0.0))


@dataclass(frozen=True)
class World:
    """Calls come from ``draw``; those at or above ``threshold`` are accepted and audited at ``rate``."""

    name: str
    draw: Draw
    calls: int
    rate: float
    threshold: float = 0.7
    alpha: float = 0.05
    delta: float = 0.1
    population: Population | None = None

    def truth(self) -> Population:
        return self.population or _truth(self.draw)

    def log(self, random: np.random.Generator) -> tuple[Floats, Floats, Floats]:
        """Confidence, wrong (nan: unknown) and the label rate of each call."""
        confidence, wrong = self.draw(random, self.calls)
        rate = np.where(confidence >= self.threshold, self.rate, 1.0)
        known = random.random(self.calls) < rate
        return confidence, np.where(known, wrong.astype(float), np.nan), rate


@cache
def _truth(draw: Draw) -> Population:
    return Population.of(*draw(np.random.default_rng(1), PEOPLE))


def smooth(random: np.random.Generator, n: int) -> tuple[Floats, Bools]:
    """Probability right and confidence share an ability, with noise between them."""
    ability = random.normal(1.6, 1.3, n)
    return expit(ability + random.normal(0, 0.7, n)), random.random(n) > expit(ability)


def rounded(random: np.random.Generator, n: int) -> tuple[Floats, Bools]:
    """The same, confidences in hundredths."""
    confidence, wrong = smooth(random, n)
    return np.round(confidence, 2), wrong


def lumpy(random: np.random.Generator, n: int) -> tuple[Floats, Bools]:
    """The same, as a model says it: eleven numbers."""
    confidence, wrong = smooth(random, n)
    middle = (SAID[1:] + SAID[:-1]) / 2
    return SAID[np.searchsorted(middle, confidence)], wrong


def spike(random: np.random.Generator, n: int) -> tuple[Floats, Bools]:
    """15 % of the calls say 1.0 whatever comes, and are wrong in 8 % of cases."""
    confidence, wrong = rounded(random, n)
    sure = random.random(n) < 0.15
    return np.where(sure, 1.0, confidence), np.where(sure, random.random(n) < 0.08, wrong)


def flat(random: np.random.Generator, n: int) -> tuple[Floats, Bools]:
    """The confidence says nothing."""
    return random.random(n), random.random(n) < 0.12


def inverted(random: np.random.Generator, n: int) -> tuple[Floats, Bools]:
    """The surest answers are the worst: wrong in 14 % at 1, in 4 % at 0."""
    confidence = random.random(n)
    return confidence, random.random(n) < 0.04 + 0.1 * confidence


def cliff(random: np.random.Generator, n: int) -> tuple[Floats, Bools]:
    """Right above .6, nearly always wrong below, with the limit just behind the edge."""
    confidence = random.random(n)
    return confidence, random.random(n) < np.where(confidence >= 0.6, 0.01, 0.9)


def wobbling(random: np.random.Generator, n: int) -> tuple[Floats, Bools]:
    """14 days, each with its own ability (standard deviation .3, logit)."""
    day = random.integers(0, 14, n) if n < PEOPLE else np.arange(n) // 20
    shift = random.normal(0, 0.3, int(day.max()) + 1)[day]
    ability = random.normal(1.6, 1.3, n) + shift
    return np.round(expit(ability + random.normal(0, 0.7, n)), 2), random.random(n) > expit(ability)


def made_up() -> list[World]:
    """Every world of the generator, the hard cases at the end."""
    return [
        World("smooth", rounded, 5_000, 0.05),
        World("smooth", rounded, 20_000, 0.05),
        World("smooth", rounded, 20_000, 0.1),
        World("smooth", rounded, 100_000, 0.05),
        World("smooth, few audits", rounded, 20_000, 0.01),
        World("smooth, τ now .92", rounded, 5_000, 0.05, 0.92),
        World("smooth, τ now .92", rounded, 20_000, 0.05, 0.92),
        World("eleven numbers", lumpy, 5_000, 0.05),
        World("eleven numbers", lumpy, 20_000, 0.05),
        World("overconfident at 1.0", spike, 5_000, 0.05),
        World("overconfident at 1.0", spike, 20_000, 0.05),
        World("days wobble", wobbling, 20_000, 0.05),
        World("continuous", smooth, 3_000, 0.05),
        World("continuous, τ now .9", smooth, 3_000, 0.05, 0.9),
        World("continuous, δ .05", smooth, 3_000, 0.1, delta=0.05),
        World("says nothing", flat, 3_000, 0.05, 0.5),
        World("says nothing, τ now .8", flat, 3_000, 0.05, 0.8),
        World("says nothing, δ .2", flat, 3_000, 0.02, 0.2, alpha=0.08, delta=0.2),
        World("upside down", inverted, 3_000, 0.05, 0.3),
        World("cliff", cliff, 3_000, 0.05, 0.5),
        World("everything escalated so far", smooth, 3_000, 0.05, 2.0),
    ]


def published(calls: int = 5_000, rate: float = 0.05) -> list[World]:
    """Published logs, drawn with replacement, the whole log being the truth; none where they are absent."""
    if not PUBLISHED.exists():
        return []
    pairs = pd.read_parquet(PUBLISHED).dropna(subset=["cheap_confidence"])
    llama, boolq, sciq, token = "Meta-Llama-3.1-8B-Instruct", "boolq_valid", "sciq_test", "token_prob_chosen"
    wanted = [
        ("MMLU 4o-mini", "zellinger_mmlu", None, None, "gpt-4o-mini", "gpt-4o", (0.1, 0.05)),
        ("MMLU llama-8b", "zellinger_mmlu", None, None, "llama3.1-8b", "llama3.1-405b", (0.1, 0.05)),
        ("BoolQ 4o, said", "lifeeval_calibration", boolq, "verbalized", "gpt-4o", "o3-2025-04-16", (0.1,)),
        ("BoolQ llama-8b, said", "lifeeval_calibration", boolq, "verbalized", llama, "gpt-4o", (0.1,)),
        ("BoolQ llama-8b, token", "lifeeval_calibration", boolq, token, llama, "gpt-4o", (0.1,)),
        ("SciQ llama-8b, said", "lifeeval_calibration", sciq, "verbalized", llama, "o3-2025-04-16", (0.05,)),
    ]
    worlds = []
    for name, dataset, task, chain, cheap, strong, alphas in wanted:
        rows = pairs[(pairs["dataset"] == dataset) & (pairs["cheap_model"] == cheap)]
        rows = rows[rows["strong_model"] == strong]
        rows = rows if task is None else rows[(rows["task"] == task) & (rows["chain"] == chain)]
        rows = rows.drop_duplicates(["task", "query_id", "split"])
        if len(rows) < 200:
            continue
        confidence = rows["cheap_confidence"].clip(0, 1).to_numpy(float)
        wrong = ~rows["cheap_correct"].to_numpy(bool)
        truth, now = Population.of(confidence, wrong), float(np.quantile(confidence, 0.25))
        worlds += [World(name, _again(confidence, wrong), calls, rate, now, a, 0.1, truth) for a in alphas]
    return worlds


def _again(confidence: Floats, wrong: Bools) -> Draw:
    def draw(random: np.random.Generator, n: int) -> tuple[Floats, Bools]:
        rows = random.integers(0, len(confidence), n)
        return confidence[rows], wrong[rows]

    return draw
