"""The examples run as a user runs them; what they print is what the store holds."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cascade_otel.storage import schema
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store

ROOT = Path(__file__).parents[2]
EXAMPLES = (
    "two_tiers", "three_tiers", "modality", "human_review", "frugal_scorer", "mixture_of_thought",
    "per_attribute",
)  # fmt: skip


@dataclass(frozen=True)
class Done:
    """One run of an example."""

    printed: str
    errors: str
    tiers: pd.DataFrame
    """The recorded tier calls."""
    calls: pd.DataFrame
    """The recorded cascade calls."""
    labels: pd.DataFrame

    def count(self, **wanted: Any) -> int:
        """How many tier calls of production have these values."""
        found = self.tiers[self.tiers["purpose"].fillna("") == ""]
        for column, value in wanted.items():
            found = found[found[column] == value]
        return len(found)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Done]:
    """Runs an example, once for all tests, into a store of its own."""

    @cache
    def run(example: str) -> Done:
        folder = tmp_path_factory.mktemp(example) / "store"
        program = ROOT / "examples" / f"{example}.py"
        ran = subprocess.run(
            [sys.executable, "-W", "error", program, folder],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=folder.parent,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        with open_reader(Store(folder)) as reader:
            first, last = reader.span_hours() or (0, 0)
            tiers, calls = (
                reader.rows(None, first, last + 1, kind=kind) for kind in (schema.TIER, schema.CASCADE)
            )
            return Done(ran.stdout, ran.stderr, tiers, calls, reader.labels(first, last + 1))

    return run


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_short_prints_no_complaint_and_says_when_nothing_was_sent(
    done: Callable[[str], Done], example: str
) -> None:
    text = (ROOT / "examples" / f"{example}.py").read_text()
    assert len(text.splitlines()) <= 90
    assert "if not telemetry.flush(5.0):\n        sys.exit(" in text
    assert done(example).errors == ""


def test_every_example_is_run_here() -> None:
    assert sorted(EXAMPLES) == sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


ESCALATED = r"(\d+) of \d+ calls were escalated"


@pytest.mark.parametrize(
    ("example", "task", "tier", "outcome", "printed"),
    [
        ("two_tiers", "organic", "small", "escalated", f"organic: {ESCALATED}"),
        ("two_tiers", "low_sugar", "small", "escalated", f"low_sugar: {ESCALATED}"),
        ("three_tiers", "intent", "device", "accepted", r"(\d+) were answered on the device"),
        ("three_tiers", "intent", "hosted", "accepted", r"(\d+) hosted"),
        ("three_tiers", "intent", "hosted", "escalated", r"(\d+) by the frontier"),
        ("three_tiers", "intent", "frontier", "accepted", r"(\d+) by the frontier"),
        ("modality", "colour of shirts", "text", "escalated", f"shirts: {ESCALATED}"),
        ("modality", "colour of scarves", "text and picture", "accepted", f"scarves: {ESCALATED}"),
        ("human_review", "organic", "model", "escalated", r"(\d+) of \d+ answers went to a human"),
        ("human_review", "organic", "human", "accepted", r"(\d+) of \d+ answers went to a human"),
        ("frugal_scorer", "headlines", "gpt-j", "accepted", r"headlines.* (\d+) were gpt-j's"),
        ("frugal_scorer", "headlines", "j1-large", "accepted", r"headlines.* (\d+) j1-large's"),
        ("frugal_scorer", "headlines", "j1-large", "escalated", r"headlines.* (\d+) gpt-4's"),
        ("frugal_scorer", "overruling", "gpt-4", "accepted", r"overruling.* (\d+) gpt-4's"),
        ("mixture_of_thought", "date", "small", "escalated", f"date: {ESCALATED}"),
        ("mixture_of_thought", "gsm8k", "large", "accepted", f"gsm8k: {ESCALATED}"),
        ("per_attribute", "organic", "small", "escalated", f"organic: {ESCALATED}"),
        ("per_attribute", "low_sugar", "small", "escalated", f"low_sugar: {ESCALATED}"),
        ("per_attribute", "vegan", "large", "accepted", f"vegan: {ESCALATED}"),
    ],
)
def test_what_an_example_prints_is_what_was_recorded(
    done: Callable[[str], Done], example: str, task: str, tier: str, outcome: str, printed: str
) -> None:
    ran = done(example)
    said = re.search(printed, ran.printed)
    assert said, ran.printed
    assert ran.count(task=task, tier=tier, outcome=outcome) == int(said[1]) > 0


@pytest.mark.parametrize(
    ("reason", "printed"),
    [
        ("missing_confidence", r"shirts.* (\d+) because the text names no colour"),
        ("low_confidence", r"shirts.* (\d+) because it names two"),
    ],
)
def test_why_a_text_was_not_enough_is_recorded(
    done: Callable[[str], Done], reason: str, printed: str
) -> None:
    said = re.search(printed, done("modality").printed)
    assert said
    assert done("modality").count(task="colour of shirts", reason=reason) == int(said[1]) > 0


@pytest.mark.parametrize("example", EXAMPLES)
def test_cheap_tiers_escalate_for_the_reason_the_example_shows(
    done: Callable[[str], Done], example: str
) -> None:
    """Nothing fails and nothing contradicts its threshold in the examples."""
    tiers = done(example).tiers
    reasons = set(tiers.loc[tiers["escalated"].fillna(False).astype(bool), "reason"])
    assert reasons == {"low_confidence"} | ({"missing_confidence"} if example == "modality" else set())
    assert set(tiers["outcome"]) <= {"accepted", "escalated", "repeated"}
    assert tiers["error_type"].isna().all()
    below = tiers["confidence_nano"] < tiers["threshold"] * 1e9
    decided = tiers["escalated"].notna() & tiers["confidence_nano"].notna() & tiers["threshold"].notna()
    assert (tiers["escalated"][decided].astype(bool) == below[decided]).all()


@pytest.mark.parametrize(
    ("example", "tasks"),
    [
        ("two_tiers", {"organic": 50, "low_sugar": 50}),
        ("three_tiers", {"intent": 60}),
        ("modality", {"colour of shirts": 50, "colour of scarves": 50}),
        ("human_review", {"organic": 80}),
        ("frugal_scorer", {"headlines": 60, "overruling": 60}),
        ("mixture_of_thought", {"date": 30, "gsm8k": 30}),
        ("per_attribute", {"organic": 60, "low_sugar": 60, "vegan": 60}),
    ],
)
def test_every_call_is_recorded_under_its_task(
    done: Callable[[str], Done], example: str, tasks: dict[str, int]
) -> None:
    calls = done(example).calls
    production = calls[calls["purpose"].fillna("") == ""]
    assert production.groupby("task", observed=True).size().to_dict() == tasks
    assert set(production["outcome"]) == {"accepted"}


@pytest.mark.parametrize(
    ("example", "kinds"),
    [
        ("three_tiers", [("device", 0, "model"), ("hosted", 1, "model"), ("frontier", 2, "model")]),
        ("modality", [("text", 0, "model"), ("text and picture", 1, "multimodal")]),
        ("human_review", [("model", 0, "model"), ("human", 1, "human")]),
        ("frugal_scorer", [("gpt-j", 0, "model"), ("j1-large", 1, "model"), ("gpt-4", 2, "model")]),
        ("mixture_of_thought", [("small", 0, "model"), ("large", 1, "model")]),
        ("per_attribute", [("small", 0, "model"), ("large", 1, "model")]),
    ],
)
def test_tiers_have_their_place_and_kind(
    done: Callable[[str], Done], example: str, kinds: list[tuple[str, int, str]]
) -> None:
    """Audits, which ask the last tier alone, included."""
    tiers = done(example).tiers
    found = set(zip(tiers["tier"], tiers["tier_index"], tiers["tier_kind"], strict=True))
    assert found == set(kinds)


def test_stronger_tiers_are_slower_and_some_calls_pass_the_device_by(done: Callable[[str], Done]) -> None:
    ran = done("three_tiers")
    median = ran.tiers.groupby("tier", observed=True)["duration_ns"].median()
    assert median["device"] < median["hosted"] < median["frontier"]
    (unseen,) = re.findall(r"(\d+) never saw the device", ran.printed)
    assert len(ran.calls) - ran.count(tier="device") == int(unseen)


def test_the_reviewers_verdicts_are_joined_to_the_models_answers(done: Callable[[str], Done]) -> None:
    ran = done("human_review")
    ((right, reviewed),) = re.findall(r"(\d+) of (\d+) reviewed answers were right", ran.printed)
    assert len(ran.labels) == int(reviewed) > ran.count(tier="human")
    assert ran.labels["correct"].sum() == int(right)
    assert set(ran.labels["tier"]) == {"model"}
    escalated = ran.labels["escalated"].astype(bool)
    assert escalated.sum() == ran.count(tier="human"), "every escalated answer has got its verdict"
    assert (ran.labels["weight"] == escalated.map({True: 1.0, False: 10.0})).all()


def test_a_humans_tier_has_no_model(done: Callable[[str], Done]) -> None:
    tiers = done("human_review").tiers
    assert tiers[tiers["tier"] == "human"][["model", "operation", "confidence_nano"]].isna().all(axis=None)


def test_twenty_samples_are_one_visit_and_their_agreement_is_its_confidence(
    done: Callable[[str], Done],
) -> None:
    ran = done("mixture_of_thought")
    small = ran.tiers[ran.tiers["tier"] == "small"]
    assert (small.groupby("parent_id").size() == 20).all()
    assert (small.groupby("parent_id")["escalated"].count() == 1).all(), "one call stands for the visit"
    scored = small[small["escalated"].notna()]
    assert set(scored["confidence_source"]) == {"scorer"}
    assert ((scored["confidence_nano"] * 20 / 1e9) % 1 == 0).all(), "a share of 20 votes"


def test_the_scorer_says_the_confidence_of_every_tier(done: Callable[[str], Done]) -> None:
    tiers = done("frugal_scorer").tiers
    assert set(tiers["confidence_source"]) == {"scorer"}
    models = tiers.groupby("tier", observed=True)["model"].agg(set).to_dict()
    assert models == {"gpt-j": {"gpt-j"}, "j1-large": {"j1-large"}, "gpt-4": {"gpt-4"}}


def test_every_attribute_has_its_own_threshold_and_version(done: Callable[[str], Done]) -> None:
    """vegan has no table: the defaults hold."""
    tiers = done("per_attribute").tiers
    small = tiers[tiers["tier"] == "small"]
    assert small.groupby("task", observed=True)["threshold"].agg(set).to_dict() == {
        "organic": {0.8},
        "low_sugar": {0.95},
        "vegan": {0.9},
    }
    assert set(tiers[tiers["task"] == "low_sugar"]["version"]) == {"prompt 3"}
    assert tiers[tiers["task"] != "low_sugar"]["version"].isna().all()


def test_a_share_of_the_accepted_answers_of_one_attribute_is_audited(done: Callable[[str], Done]) -> None:
    ran = done("per_attribute")
    audits = ran.tiers[ran.tiers["purpose"] == "audit"]
    assert 0 < len(audits) < 57
    assert set(zip(audits["task"], audits["tier"], strict=True)) == {("organic", "large")}
    assert audits["agreed"].notna().all()
    assert (audits["weight_ppm"] == 5_000_000).all(), "each stands for 1 / 0.2 accepted calls"
    accepted = ran.calls[(ran.calls["task"] == "organic") & ~ran.calls["escalated"].astype(bool)]
    assert set(audits["trace_lo"]) <= set(accepted["trace_lo"])
    escalated = ran.tiers[ran.tiers["escalated"].fillna(False).astype(bool)]
    assert set(escalated["agreed"]) == {True, False}
