"""Worlds whose truth is known, seen as an operator sees them: all escalated calls and few accepted ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cascade_otel.analysis.value import labels, usage
from cascade_otel.analysis.value import summary as value
from cascade_otel.analysis.value.labels import MARGIN, Quality, Traffic
from cascade_otel.analysis.value.savings import Spending
from cascade_otel.analysis.value.verdict import verdict
from cascade_otel.records import TaskSummary
from cascade_otel.statistics import calibration
from cascade_otel.storage.reading.rollup import open_reader
from tests.analysis import made_up
from tests.analysis.made_up import END
from tests.analysis.made_up import Traffic as MadeUp

TAU = 0.8


@dataclass(frozen=True)
class World:
    """Confidences on a grid; the cheap tier is right with chance ``base`` + ``slope`` * confidence."""

    base: float
    slope: float
    strong: float

    def calls(self, random: np.random.Generator, n: int) -> pd.DataFrame:
        confidence = np.round(random.beta(4, 1.3, n), 2)
        cheap = random.random(n) < np.clip(self.base + self.slope * confidence, 0, 1)
        return pd.DataFrame(
            {
                "task": "t",
                "confidence": confidence,
                "correct": cheap,
                "strong": random.random(n) < self.strong,
                "escalated": confidence < TAU,
            }
        )

    def loss(self) -> float:
        """What is given up at τ, of three hundred thousand calls."""
        calls = self.calls(np.random.default_rng(0), 300_000)
        return float((~calls["escalated"] * (calls["strong"].astype(float) - calls["correct"])).mean())


def seen(calls: pd.DataFrame, audited: float, random: np.random.Generator) -> Quality:
    """Quality by labels of all escalated calls and of a share of the accepted ones."""
    escalated = calls["escalated"].to_numpy()
    known = calls[escalated | (random.random(len(calls)) < audited)]
    whole = Traffic(float((~escalated).sum()), float(escalated.sum()))
    of_each = known["escalated"].map(known["escalated"].value_counts()).to_numpy()
    stands_for = np.where(known["escalated"], whole.escalated, whole.accepted) / of_each
    known = known.assign(stands_for=stands_for)
    return labels.quality(known, known, whole)


def test_estimates_are_right_on_average_though_few_accepted_calls_are_audited() -> None:
    """Each within four standard errors of the truth; without weights half of them would not be."""
    world, random, trials = World(0.2, 0.7, 0.93), np.random.default_rng(2), 150
    big = world.calls(np.random.default_rng(1), 1_000_000)
    whole = seen(big, 1.0, random)
    found = [seen(world.calls(random, 4000), 0.05, random) for _ in range(trials)]
    for name in ("auroc", "brier", "audc", "audc_normalised", "apgr", "pgr", "rescued", "broken", "wasted"):
        drawn = np.array([getattr(one, name) for one in found])
        error = drawn.std() / trials**0.5
        # Brier apart they are ratios, whose bias is of the order of 1/n.
        assert drawn.mean() == pytest.approx(getattr(whole, name), abs=4 * error + 0.004), name
    lost = np.array([one.loss.share for one in found if one.loss])
    assert lost.mean() == pytest.approx(world.loss(), abs=4 * lost.std() / trials**0.5)
    naive = [calibration.auroc(one["confidence"], one["correct"]) for one in [_labelled(big, random)]]
    assert abs(naive[0] - (whole.auroc or 0)) > 0.02


def _labelled(calls: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    return calls[calls["escalated"] | (random.random(len(calls)) < 0.05)]


@pytest.mark.parametrize(
    ("world", "truth"),
    [
        (World(0.2, 0.78, 0.9), "yes"),  # gives up nothing
        (World(0.2, 0.5, 0.95), "no"),  # gives up 16 points, and a high τ would still
        (World(0.55, 0.0, 0.95), "no"),  # a coin
    ],
)
@pytest.mark.parametrize("audited", [0.1, 1.0])
def test_a_verdict_is_seldom_wrong(world: World, truth: str, audited: float) -> None:
    """Wrong at most as often as the level of the intervals allows; more labels leave fewer open."""
    random, trials = np.random.default_rng(6), 60
    rate, money = (0.5, 0.48, 0.52), Spending(1.0, 0.4, 0.35, 0.45, "audits", 0.1, 1.0, 1.0)
    answers = [
        verdict(3000, rate, money, seen(world.calls(random, 3000), audited, random)).pays
        for _ in range(trials)
    ]
    wrong = sum(answer not in (truth, "unknown") for answer in answers)
    # 5 % of 60, and three standard deviations of a binomial count.
    assert wrong <= 3 + 5
    assert answers.count(truth) >= (0.9 if audited == 1 else 0.3) * trials


def test_a_world_that_gives_up_just_the_margin_is_seldom_said_to_pay_or_not() -> None:
    """At the border either answer is wrong: each may come in 5 % of trials."""
    low, high = 0.9, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if World(0.2, 0.75, middle).loss() < MARGIN else (low, middle)
    world, random, trials = World(0.2, 0.75, low), np.random.default_rng(8), 120
    lost = [seen(world.calls(random, 3000), 0.3, random).loss for _ in range(trials)]
    below = sum(one is not None and one.high <= MARGIN for one in lost)
    above = sum(one is not None and one.low > MARGIN for one in lost)
    bound = 0.05 * trials + 3 * (0.05 * 0.95 * trials) ** 0.5
    assert below <= bound
    assert above <= bound


def test_a_store_with_audits_tells_what_all_labels_would(tmp_path: Path) -> None:
    """Through segments and sums: the same calls, once wholly labelled, once with one accepted in ten."""
    traffic = MadeUp(labels=True, audited=1.0)
    frame = made_up.calls("t", np.arange(END - 24 * 14, END), 40, traffic, 3)
    frame["cheap_correct"] = np.random.default_rng(3).random(len(frame)) < frame["cheap_confidence"]
    some = frame.copy()
    kept = frame["escalated"] | (np.random.default_rng(4).random(len(frame)) < 0.1)
    some["audited"] = kept
    some["cheap_correct"] = some["cheap_correct"].astype("boolean").mask(~kept)
    whole, audited = (_summary(tmp_path / name, one) for name, one in (("whole", frame), ("some", some)))
    assert audited.labelled == kept.sum()
    for name, off in (
        ("auroc", 0.02),
        ("ece", 0.02),
        ("brier", 0.02),
        ("audc_normalised", 0.06),
        ("apgr", 0.05),
    ):
        assert getattr(audited, name) == pytest.approx(getattr(whole, name), abs=off), name
    for name in ("savings", "escalation_rate", "wasted_escalation", "rescued", "broken", "wasted_cost"):
        assert getattr(audited, name) == pytest.approx(getattr(whole, name)), name
    assert (audited.given_up_low or 1) <= (whole.given_up or 0) <= (audited.given_up_high or 0)
    assert (whole.auroc_low or 1) - (audited.auroc_low or 0) > 0, "fewer labels, wider interval"


def test_audits_alone_bound_what_is_given_up() -> None:
    """Nobody says which tier is right: where they agree nothing is lost."""
    told = Traffic(accepted=8000, escalated=2000, audited=400, agreed=0.98, compared=2000, confirmed=0.6)
    nothing = pd.DataFrame(columns=["confidence", "correct", "escalated", "stands_for", "strong"])
    found = labels.quality(nothing, nothing, told)
    assert found.basis == "agreement"
    assert found.loss is not None
    assert found.loss.share == pytest.approx(0.8 * 0.02)
    assert 0.8 * 0.02 < found.loss.high < 0.8 * 0.04
    assert found.wasted == 0.6


def test_a_window_is_cut_into_days_or_hours_without_a_gap() -> None:
    for start, end in ((1000, 1000 + 24 * 90), (1005, 1005 + 24 * 14), (1000, 1007), (5, 6), (7, 7)):
        cut = usage.blocks(start, end)
        assert [hour for block in cut for hour in range(*block)] == list(range(start, end))
        assert len(cut) <= usage.MOST_BLOCKS + 1
        assert all(first % 24 == 0 for first, _ in cut[1:]) or end - start < 24 * usage.FEWEST_DAYS


def _summary(folder: Path, frame: pd.DataFrame) -> TaskSummary:
    with open_reader(made_up.write(folder, [frame])) as reader:
        return value.summarise(reader)[0]
