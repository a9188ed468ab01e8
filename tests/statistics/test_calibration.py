from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_otel.statistics.calibration import auroc, brier, ece, reliability

CALLS = st.lists(
    st.tuples(st.integers(0, 20).map(lambda cell: cell / 20), st.booleans()), min_size=1, max_size=60
)


@given(CALLS)
def test_auroc_is_the_share_of_pairs_in_order(calls: list[tuple[float, bool]]) -> None:
    right = [score for score, correct in calls if correct]
    wrong = [score for score, correct in calls if not correct]
    if not right or not wrong:
        assert math.isnan(auroc(*zip(*calls, strict=True)))
        return
    pairs = [(a > b) + 0.5 * (a == b) for a in right for b in wrong]
    assert auroc(*zip(*calls, strict=True)) == pytest.approx(np.mean(pairs))


@given(CALLS)
def test_auroc_does_not_depend_on_the_scale(calls: list[tuple[float, bool]]) -> None:
    score, correct = (np.array(column) for column in zip(*calls, strict=True))
    assert auroc(score, correct) == pytest.approx(auroc(np.exp(3 * score), correct), nan_ok=True)


def test_ece_of_a_worked_example() -> None:
    """Two bins: (.8, .9] with gap .2 of two calls, (.9, 1] with gap 0 of two calls."""
    assert ece([0.9, 0.82, 1.0, 1.0], [1, 1, 1, 1]) == pytest.approx((0.1 + 0.18) / 4)
    assert ece([0.7, 0.7], [1, 0]) == pytest.approx(0.2)


def test_bins_are_closed_on_the_right() -> None:
    """A confidence of .3 lies in (.2, .3]; 0 lies in the first bin, 1 in the last."""
    table = reliability([0.0, 0.1, 0.3, 0.30000001, 0.7, 1.0], [1, 0, 1, 1, 0, 1])
    assert table.calls.tolist() == [2, 0, 1, 1, 0, 0, 1, 0, 0, 1]
    assert table.accuracy[0] == 0.5
    assert math.isnan(table.accuracy[1])


@given(CALLS, st.integers(1, 20))
def test_reliability_keeps_every_call_and_its_intervals_hold_the_accuracy(
    calls: list[tuple[float, bool]], bins: int
) -> None:
    table = reliability(*zip(*calls, strict=True), bins=bins)
    filled = table.calls > 0
    assert table.calls.sum() == len(calls)
    assert np.all((table.low <= table.accuracy)[filled] & (table.accuracy <= table.high)[filled])
    assert np.all((table.edges[:-1] - 1e-9 <= table.confidence)[filled])
    assert np.all((table.confidence <= table.edges[1:] + 1e-9)[filled])
    assert 0 <= ece(*zip(*calls, strict=True), bins=bins) <= 1


def test_brier_is_the_mean_squared_gap() -> None:
    assert brier([1.0, 0.5], [True, False]) == pytest.approx(0.125)


def test_no_calls_have_no_figures() -> None:
    assert all(math.isnan(figure([], [])) for figure in (auroc, ece, brier))


@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [
        ([0.5], [1, 0], "one length"),
        ([float("nan")], [1], "leave out"),
        ([1.5], [1], r"\[0, 1\]"),
    ],
)
def test_what_cannot_be_judged_is_refused(confidence: list[float], correct: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ece(confidence, correct)


def test_figures_of_published_logs_are_reproduced(published_logs: Path) -> None:
    """ECE is compared where confidences are continuous: lumpy ones are binned otherwise there."""
    pairs = pd.read_parquet(published_logs / "pairs.parquet")
    summary = pd.read_csv(published_logs / "summary.csv")
    summary = summary[(summary.dataset == "zellinger_mmlu") & (summary.split == "test")]
    pairs = pairs[(pairs.dataset == "zellinger_mmlu") & (pairs.split == "test")]
    compared = 0
    for row in summary.itertuples():
        calls = pairs[(pairs.cheap_model == row.cheap) & (pairs.strong_model == row.strong)]
        calls = calls if row.task == "ALL" else calls[calls.task == row.task]
        figures = [f(calls.cheap_confidence, calls.cheap_correct) for f in (auroc, ece, brier)]
        assert figures == pytest.approx([row.auroc, row.ece10, row.brier], abs=1e-4, nan_ok=True)
        compared += 1
    assert compared > 90
