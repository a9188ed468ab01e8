"""From an old log to the verdict, by the two commands a user types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cascade_otel import cli

ANSWERS = Path(__file__).parents[1] / "examples" / "data" / "answers.parquet"
CHEAP, STRONG = "gpt-4o", "o3-2025-04-16"


@pytest.fixture
def judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Replays a log and returns what the summary says of one task, as objects and as text."""

    def run(log: Path, threshold: float, *more: str) -> tuple[dict[str, Any], str]:
        store = str(tmp_path / f"store-{threshold}")
        options = ["--cheap", CHEAP, "--strong", STRONG, "--threshold", str(threshold), *more]
        assert cli.main(["replay", str(log), "--store", store, *options]) == 0
        capsys.readouterr()
        assert cli.main(["summary", "--store", store, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert cli.main(["summary", "--store", store]) == 0
        return found[0], capsys.readouterr().out

    return run


@pytest.mark.parametrize("threshold", [0.7, 0.9])
def test_a_published_cascade_of_science_questions_pays(
    published_logs: Path, judged: Any, threshold: float
) -> None:
    where = ("--where", "dataset=lifeeval_calibration,task=sciq_test")
    found, text = judged(published_logs / "pairs.parquet", threshold, *where)
    assert (found["pays"], found["pays_as_it_runs"]) == ("yes", True)
    # A store keeps billionths: confidences that differ by less become ties.
    assert found["auroc"] == pytest.approx(0.87584, abs=5e-4)
    assert found["ece"] == pytest.approx(0.0534, abs=5e-5)
    assert found["audc_normalised"] == pytest.approx(0.44414, abs=4e-3)
    assert found["given_up"] < 0.02
    assert "sciq_test, all: pays: no costs are recorded" in text


@pytest.mark.parametrize("threshold", [0.7, 0.9])
def test_a_published_cascade_of_logic_puzzles_does_not_pay(
    published_logs: Path, judged: Any, threshold: float
) -> None:
    where = ("--where", "dataset=lifeeval_calibration,task=lsat_ar_test")
    found, text = judged(published_logs / "pairs.parquet", threshold, *where)
    assert (found["pays"], found["pays_as_it_runs"]) == ("no", False)
    assert found["auroc"] == pytest.approx(0.51844, abs=5e-4)
    assert found["ece"] == pytest.approx(0.5477, abs=5e-5)
    assert found["given_up_low"] > 0.25
    assert "lsat_ar_test, all: does not pay: it gives up" in text


@pytest.mark.parametrize(
    ("task", "pays", "word"),
    [("sciq_test", "yes", "AUROC 0.88"), ("lsat_ar_test", "no", "a coin would do")],
)
def test_the_same_verdicts_come_from_the_data_of_the_examples(
    tmp_path: Path, judged: Any, task: str, pays: str, word: str
) -> None:
    """They do not say which rows of two models are of one question, so the strong tier's are drawn."""
    answers = pd.read_parquet(ANSWERS)
    answers = answers[answers["task"] == task]
    cheap = answers[answers["model"] == CHEAP].sample(frac=1, random_state=4)
    strong = answers[answers["model"] == STRONG]["correct"].mean()
    log = pd.DataFrame(
        {
            "task": task,
            "cheap_model": CHEAP,
            "strong_model": STRONG,
            "cheap_confidence": cheap["confidence"],
            "cheap_correct": cheap["correct"],
            "strong_correct": np.random.default_rng(4).random(len(cheap)) < strong,
            "cheap_cost_usd": 0.001,
            "strong_cost_usd": 0.01,
        }
    )
    log.to_csv(tmp_path / "log.csv", index=False)
    found, text = judged(tmp_path / "log.csv", 0.95)
    assert found["pays"] == pays
    assert word in found["pays_reason"]
    assert found["savings"] == pytest.approx(0.9 - found["escalation_rate"])
    assert found["savings_low"] < found["savings"] < found["savings_high"]
    assert found["break_even"] == pytest.approx(0.9)
    assert found["wasted_cost"] == pytest.approx(0.001 * found["escalation_rate"] * found["calls"])
    assert text.splitlines()[3].endswith({"yes": "pays", "no": "does not pay"}[pays])
