"""Worlds in which it is known what changed: simulated ones, and published answers drawn again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from cascade_otel.statistics.causes.decomposition import shapley
from cascade_otel.statistics.causes.evidence import measure
from cascade_otel.statistics.causes.measurements import Calls, Canaries
from cascade_otel.statistics.causes.posterior import Diagnosis, diagnose

Floats = NDArray[np.float64]

USUAL = np.array([0.30, 0.22, 0.18, 0.14, 0.10, 0.06])
HARDER = np.array([0.14, 0.13, 0.14, 0.17, 0.21, 0.21])
HARDNESS = np.array([0.0, 0.2, 0.5, 0.8, 1.2, 1.6])
LEVELS = np.array([0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0])
"""Of lumpy confidences."""


@dataclass(frozen=True)
class Change:
    """What a cause does: shares of HARDER in the mix, τ, and losses in log-odds."""

    mix: float = 0.0
    threshold: float = 0.70
    model: float = 0.0
    scale: float = 0.0
    hidden: float = 0.0
    silent: float = 0.0


SINGLE = {
    "threshold": Change(threshold=0.77),
    "mix": Change(mix=1.0),
    "model": Change(model=0.55),
    "scale": Change(scale=0.55),
    "hidden": Change(hidden=0.55),
}
HALF = {
    "threshold": Change(threshold=0.74),
    "mix": Change(mix=0.5),
    "model": Change(model=0.35),
    "scale": Change(scale=0.35),
    "hidden": Change(hidden=0.35),
}
PAIRS = (
    ("mix", "model"), ("threshold", "mix"), ("threshold", "model"), ("mix", "scale"), ("threshold", "scale"),
    ("mix", "hidden"), ("threshold", "hidden"), ("model", "hidden"), ("scale", "hidden"),
)  # fmt: skip


def both(first: str, second: str) -> Change:
    """Two causes of about half the size at once."""
    return replace(HALF[first], **{second: getattr(HALF[second], second)})


@dataclass(frozen=True)
class Setting:
    """What is recorded, and how much the days differ."""

    days: int = 3
    a_day: int = 480
    audited: float = 0.05
    wobble: float = 0.12
    canaries: int = 200
    canaries_answered: bool = True
    strata: bool = True
    lumpy: bool = False
    weekend: float = 0.0
    """Share of what is not HARDER yet that is at weekends, in both windows."""


@dataclass(frozen=True)
class Case:
    """Two windows, canaries, and the thresholds of each."""

    before: Calls
    now: Calls
    canaries: Canaries | None
    thresholds: tuple[float, float]

    def diagnosis(self) -> Diagnosis:
        """What is made of it."""
        effect = 0.0
        if self.thresholds[0] != self.thresholds[1]:
            strata = 1 + int(max(self.before.stratum.max(), self.now.stratum.max()))
            effect = shapley(
                self.before.stratum, self.before.confidence, self.thresholds[0],
                self.now.stratum, self.now.confidence, self.thresholds[1], strata,
            )[2]  # fmt: skip
        return diagnose(measure(self.before, self.now, self.canaries, self.thresholds[0]), effect)


def simulated(seed: object, change: Change = Change(), setting: Setting = Setting()) -> Case:
    """A reference of 14 days, a window after the change, and canaries asked in both.

    A call has an ability, normal around its kind of input's; it is right with that log-odds, and its
    confidence is that with an error of its own.
    """
    random = np.random.default_rng(seed)  # type: ignore[arg-type]  # ints, in lists of any depth
    first = int(random.integers(7))
    before = _calls(random, np.arange(14) + first, Change(), setting)
    now = _calls(random, np.arange(setting.days) + first + 14, change, setting)
    hard = HARDNESS[random.choice(6, setting.canaries, p=USUAL)]
    ability = random.normal(2.3 - hard, 1.0)
    old, new = (_answers(random, ability, setting, one) for one in (Change(), change))
    unknown = np.full(setting.canaries, np.nan)
    rights = (old[1], new[1]) if setting.canaries_answered else (unknown, unknown)
    canaries = Canaries(old[0], new[0], *rights) if setting.canaries else None
    return Case(before, now, canaries, (0.70, change.threshold))


def _calls(random: np.random.Generator, days: NDArray[np.int64], change: Change, setting: Setting) -> Calls:
    day = np.repeat(days, random.poisson(setting.a_day, len(days)))
    effect = dict(zip(days.tolist(), random.normal(0, setting.wobble, len(days)), strict=True))
    share = change.mix + np.where(day % 7 < 2, setting.weekend * (1 - change.mix), 0.0)
    stratum = np.where(
        random.random(len(day)) < share,
        random.choice(6, len(day), p=HARDER),
        random.choice(6, len(day), p=USUAL),
    )
    wobble = np.array([effect[each] for each in day.tolist()])
    ability = 2.3 - HARDNESS[stratum] - change.hidden - wobble + random.normal(0, 1, len(day))
    confidence, right = _answers(random, ability, setting, change)
    escalated = confidence < change.threshold
    known = escalated | (random.random(len(day)) < setting.audited)
    stratum = stratum if setting.strata else np.zeros_like(stratum)
    return Calls(day, stratum, confidence, escalated, np.where(known, right, np.nan))


def _answers(
    random: np.random.Generator, ability: Floats, setting: Setting, change: Change
) -> tuple[Floats, Floats]:
    ability = ability - change.model
    right = random.random(len(ability)) < expit(ability - change.silent)
    confidence = np.round(expit(ability + random.normal(0, 0.5, len(ability)) - change.scale), 2)
    if setting.lumpy:
        confidence = LEVELS[np.abs(confidence[:, None] - LEVELS).argmin(1)]
    return confidence, right.astype(np.float64)


# Published answers


@dataclass(frozen=True)
class Answers:
    """Of n questions: confidence and right answer of two models, hardness by all others, kind."""

    confidence: dict[str, Floats]
    right: dict[str, Floats]
    hardness: Floats
    stratum: NDArray[np.int64]


KINDS = {
    "science": "algebra anatomy astronomy biology chemistry computer mathematics physics electrical machine "
    "statistics conceptual",
    "humanities": "history philosophy law jurisprudence logic moral prehistory religions fallacies disputes",
    "society": "econometrics geography government macro micro psychology sociology politics foreign "
    "sexuality security public_relations",
}  # fmt: skip
STATED_BY = (
    "claude-3-7-sonnet-20250219", "claude-3-haiku-20240307", "gpt-4o", "deepseek-v3", "gemini-2.5-flash",
)  # fmt: skip


def published(folder: Path, dataset: str, base: str, worse: str) -> Answers:
    """Questions that every model answered; kinds are subject (or set of questions) by quarter of length."""
    calls = pd.read_parquet(folder / "calls.parquet")
    calls = calls[calls["dataset"] == dataset]
    if dataset == "lifeeval_calibration":
        calls = calls[(calls["chain"] == "verbalized") & calls["model"].isin(STATED_BY)]
    calls = calls.assign(question=calls["split"] + calls["query_id"].astype(str) + calls["task"])
    confidence, right = (
        calls.pivot_table(index="question", columns="model", values=name, aggfunc="mean")
        for name in ("confidence", "correct")
    )
    complete = (confidence.notna() & right.notna()).all(axis=1)
    confidence, right = confidence[complete].clip(0.001, 0.999), right[complete].astype(float)
    about = calls.drop_duplicates("question").set_index("question").loc[confidence.index]
    if dataset == "lifeeval_calibration":
        subject = np.unique(about["task"], return_inverse=True)[1]
    else:
        subject = np.array([_kind(task) for task in about["task"]])
    length = pd.qcut(about["input_chars"].rank(method="first"), 4, labels=False).to_numpy()
    wrong = 1 - right.drop(columns=[base, worse]).mean(axis=1).to_numpy()
    return Answers(
        {"base": confidence[base].to_numpy(), "worse": confidence[worse].to_numpy()},
        {"base": right[base].to_numpy(), "worse": right[worse].to_numpy()},
        (wrong - wrong.mean()) / wrong.std(),
        subject * 4 + length,
    )


def _kind(task: str) -> int:
    return next((i for i, words in enumerate(KINDS.values()) if any(w in task for w in words.split())), 3)


@dataclass(frozen=True)
class Replay:
    """How answers are drawn: τ before and after, and the share of calls the worse model takes."""

    thresholds: tuple[float, float] = (0.8, 0.9)
    share: float = 1.0
    days: int = 3
    a_day: int = 480
    wobble: float = 0.15
    audited: float = 0.05
    canaries: int = 200
    strata: bool = True


def replayed(seed: object, answers: Answers, causes: Collection[str], how: Replay = Replay()) -> Case:
    """Fourteen days of the base model's answers, then days with these causes."""
    random = np.random.default_rng(seed)  # type: ignore[arg-type]  # ints, in lists of any depth
    before = _drawn(random, answers, (), how, 14, 0)
    now = _drawn(random, answers, causes, how, how.days, 14)
    canaries = None
    if how.canaries:
        asked = random.choice(len(answers.hardness), how.canaries, replace=False)
        old, new = (_answered(random, answers, asked, which, how) for which in ((), causes))
        canaries = Canaries(old[0], new[0], old[1], new[1])
    return Case(before, now, canaries, (how.thresholds[0], how.thresholds["threshold" in causes]))


def _answered(
    random: np.random.Generator,
    answers: Answers,
    asked: NDArray[np.int64],
    causes: Collection[str],
    how: Replay,
) -> tuple[Floats, Floats]:
    by_worse = (random.random(len(asked)) < how.share) & ("model" in causes)
    confidence = np.where(by_worse, answers.confidence["worse"][asked], answers.confidence["base"][asked])
    right = np.where(by_worse, answers.right["worse"][asked], answers.right["base"][asked])
    if "silent" in causes:
        # A third of the right answers turn wrong, whatever the confidence.
        right = right * (random.random(len(asked)) > 0.33)
    if "scale" in causes:
        confidence = expit(logit(confidence) - 0.7)
    return np.round(confidence, 2), right


def _drawn(
    random: np.random.Generator,
    answers: Answers,
    causes: Collection[str],
    how: Replay,
    days: int,
    first_day: int,
) -> Calls:
    of_kind = np.maximum(np.bincount(answers.stratum), 1)
    rate = np.bincount(answers.stratum, answers.confidence["base"] < how.thresholds[0]) / of_kind
    day, asked = [], []
    for number in range(first_day, first_day + days):
        pull = random.normal(0, how.wobble) * answers.hardness
        if "mix" in causes:
            pull = pull + 3.5 * rate[answers.stratum]
        if "hidden" in causes:
            # Harder questions inside every kind, kinds as often as before.
            weight = np.exp(0.8 * answers.hardness)
            pull = pull + 0.8 * answers.hardness
            pull = pull - np.log((np.bincount(answers.stratum, weight) / of_kind)[answers.stratum])
        chance = np.exp(pull)
        asked.append(random.choice(len(pull), random.poisson(how.a_day), p=chance / chance.sum()))
        day.append(np.full(len(asked[-1]), number))
    questions, of_day = np.concatenate(asked), np.concatenate(day)
    confidence, right = _answered(random, answers, questions, causes, how)
    escalated = confidence < how.thresholds["threshold" in causes]
    known = escalated | (random.random(len(questions)) < how.audited)
    stratum = answers.stratum[questions] if how.strata else np.zeros_like(questions)
    return Calls(of_day, stratum, confidence, escalated, np.where(known, right, np.nan))


def verdict(found: Diagnosis, truth: Collection[str]) -> str:
    """``exact``; ``open``: what is missing is among what cannot be told apart; ``missed``; ``wrong``."""
    named, missing = set(found.named), set(truth) - set(found.named)
    if named - set(truth) or (found.unsure and not set(truth) & set(found.unsure)):
        return "wrong"
    if not missing and not found.unsure:
        return "exact"
    return "open" if missing and missing <= set(found.unsure) else "missed"
