"""Causes of shifts that are made of real models' answers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.statistics.cause_worlds import Answers, Replay, published, replayed, verdict

EXAMPLES = Path(__file__).parents[2] / "examples" / "data" / "answers.parquet"
WINDOWS = 8
CAUSES = ((), ("threshold",), ("mix",), ("model",), ("scale",), ("hidden",), ("silent",), ("mix", "model"))


@pytest.fixture(scope="module")
def answers(published_logs: Path) -> Answers:
    return published(published_logs, "zellinger_mmlu", "llama3.1-70b", "llama3.1-8b")


@pytest.fixture(scope="module")
def stated() -> Answers:
    """The answers that come with the examples: of a model and a weaker one, paired by rank within a set.

    Which question a row belongs to is not known, so rows of both models are paired by their confidence, as
    if they found the same questions hard.
    """
    rows = pd.read_parquet(EXAMPLES)
    kinds, pairs = ["sciq_test", "boolq_valid", "sat_en"], []
    for number, kind in enumerate(kinds):
        base, worse = (
            rows[(rows["model"] == model) & (rows["task"] == kind)].sort_values(["confidence", "correct"])
            for model in ("claude-3-7-sonnet-20250219", "claude-3-haiku-20240307")
        )
        n = min(len(base), len(worse), 1000)
        base, worse = (one.iloc[np.linspace(0, len(one) - 1, n).astype(int)] for one in (base, worse))
        pairs.append(
            pd.DataFrame(
                {
                    "base": base["confidence"].to_numpy(), "worse": worse["confidence"].to_numpy(),
                    "base_right": base["correct"].to_numpy(float),
                    "worse_right": worse["correct"].to_numpy(float), "kind": number,
                }
            )
        )  # fmt: skip
    table = pd.concat(pairs)
    hardness = -table["base"].to_numpy()
    return Answers(
        {name: table[name].clip(0.001, 0.999).to_numpy() for name in ("base", "worse")},
        {name: table[f"{name}_right"].to_numpy() for name in ("base", "worse")},
        (hardness - hardness.mean()) / hardness.std(),
        table["kind"].to_numpy(np.int64),
    )


@pytest.mark.parametrize("causes", CAUSES, ids=lambda causes: "+".join(causes) or "none")
def test_causes_of_a_cascade_on_mmlu_are_named(answers: Answers, causes: tuple[str, ...]) -> None:
    """llama 70b, of which 40 % of calls go to 8b where the model changes: named in 90 % of windows."""
    found = Counter(
        verdict(replayed([5, number], answers, causes, Replay(share=0.4)).diagnosis(), causes)
        for number in range(WINDOWS)
    )
    assert found["exact"] >= stats.binom.ppf(0.001, WINDOWS, 0.9)


@pytest.mark.parametrize("causes", CAUSES[:4], ids=lambda causes: "+".join(causes) or "none")
def test_causes_on_the_examples_answers_are_named(stated: Answers, causes: tuple[str, ...]) -> None:
    """Sonnet 3.7 to haiku 3 with stated confidences: the model is named, or left open as model or scale."""
    how = Replay((0.9, 0.95))
    found = Counter(
        verdict(replayed([6, number], stated, causes, how).diagnosis(), causes) for number in range(WINDOWS)
    )
    right = found["exact"] + (found["open"] if causes == ("model",) else 0)
    assert right >= stats.binom.ppf(0.001, WINDOWS, 0.85)
