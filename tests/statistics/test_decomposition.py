from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_otel.statistics.causes.decomposition import shapley, shapley_interval

WINDOW = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 10).map(lambda cell: cell / 10)), min_size=1, max_size=40
)
THRESHOLD = st.integers(0, 10).map(lambda cell: cell / 10)


@given(WINDOW, WINDOW, THRESHOLD, THRESHOLD)
def test_effects_add_up_to_the_change(
    window0: list[tuple[int, float]], window1: list[tuple[int, float]], threshold0: float, threshold1: float
) -> None:
    (x0, c0), (x1, c1) = (map(np.array, zip(*window, strict=True)) for window in (window0, window1))
    effects = shapley(x0, c0, threshold0, x1, c1, threshold1, 4)
    change = np.mean(c1 < threshold1) - np.mean(c0 < threshold0)
    assert sum(effects) == pytest.approx(change, abs=1e-12)


def test_each_cause_alone_is_named_alone() -> None:
    easy, hard = [0, 0, 0, 1], [0, 1, 1, 1]
    confidence = {0: 0.9, 1: 0.3}
    before = [confidence[x] for x in easy]
    harder = [confidence[x] for x in hard]
    assert shapley(easy, before, 0.5, hard, harder, 0.5, 2) == pytest.approx((0.5, 0, 0))
    assert shapley(easy, before, 0.5, easy, [0.4, 0.9, 0.9, 0.3], 0.5, 2) == pytest.approx((0, 0.25, 0))
    assert shapley(easy, before, 0.5, easy, before, 0.95, 2) == pytest.approx((0, 0, 0.75))


def test_a_stratum_that_only_one_window_has_counts_as_inputs() -> None:
    effects = shapley([0, 0], [0.9, 0.9], 0.5, [0, 1], [0.9, 0.2], 0.5, 2)
    assert effects == pytest.approx((0.5, 0, 0))


def test_intervals_cover_the_true_effects() -> None:
    """200 pairs of windows with day effects: each true effect lies in its 90 % interval in at least 80 %."""
    random = np.random.default_rng(5)

    def window(days: int, hard: float, shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        day = np.repeat(np.arange(days), 60)
        share = np.clip(hard + random.normal(0, 0.05, days), 0, 1)[day]
        x = (random.random(len(day)) < share).astype(int)
        below = 0.1 + 0.4 * x + shift + random.normal(0, 0.03, days)[day]
        return x, np.where(random.random(len(day)) < below, 0.2, 0.9), day

    covered = np.zeros(2)
    for seed in range(200):
        x0, c0, day0 = window(14, 0.3, 0.0)
        x1, c1, day1 = window(10, 0.5, 0.1)
        intervals = shapley_interval(x0, c0, 0.5, x1, c1, 0.5, 2, day0, day1, seed=seed)
        covered += [low <= truth <= high for (low, high), truth in zip(intervals, (0.08, 0.1), strict=False)]
        assert intervals[2] == (0, 0)
    assert np.all(covered / 200 > 0.8)
    assert np.all(covered / 200 < 0.97)


def test_intervals_of_many_rows_are_quick_and_repeat() -> None:
    random = np.random.default_rng(2)
    x, day = random.integers(0, 8, (2, 50_000))
    confidence = np.round(random.beta(5, 2, 50_000), 2)
    start = time.process_time()
    first = shapley_interval(x, confidence, 0.7, x, confidence, 0.8, 8, day, day)
    assert time.process_time() - start < 0.3
    assert first == shapley_interval(x, confidence, 0.7, x, confidence, 0.8, 8, day, day)


@pytest.mark.parametrize(
    ("strata", "confidence", "message"),
    [
        ([], [], "at least one call"),
        ([0, 1], [0.5], "of one length"),
        ([2], [0.5], "strata must be in 0 to 1"),
    ],
)
def test_windows_that_cannot_be_split_are_refused(
    strata: list[int], confidence: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        shapley([0], [0.5], 0.5, strata, confidence, 0.5, 2)


def test_every_call_counts_under_its_own_threshold() -> None:
    """A rollout of another τ to half of the calls is all threshold, whatever the median says."""
    random = np.random.default_rng(8)
    x, confidence = random.integers(0, 3, 4000), np.round(random.random(4000), 2)
    after = np.where(random.random(4000) < 0.45, 0.8, 0.5)
    inputs, model, threshold = shapley(x, confidence, 0.5, x, confidence, after, 3)
    change = np.mean(confidence < after) - np.mean(confidence < 0.5)
    assert inputs + model + threshold == pytest.approx(change, abs=1e-12)
    assert threshold == pytest.approx(change, abs=0.01)
    day = np.arange(4000) // 400
    low, high = shapley_interval(x, confidence, 0.5, x, confidence, after, 3, day, day)[2]
    assert low < threshold < high


def test_thresholds_of_strata_are_no_threshold_effect_when_the_mix_changes() -> None:
    random = np.random.default_rng(10)
    confidence = random.random(8000)
    before, after = (random.random(8000) < share for share in (0.25, 0.5))
    effects = shapley(
        before, confidence, np.where(before, 0.9, 0.2), after, confidence, np.where(after, 0.9, 0.2), 2
    )
    assert effects[0] == pytest.approx(sum(effects), abs=0.02)
    assert effects[2] == pytest.approx(0, abs=0.02)


def test_adaptive_thresholds_are_rounded() -> None:
    random = np.random.default_rng(9)
    confidence, x = random.random(3000), np.zeros(3000, int)
    before, after = random.normal(0.5, 0.05, 3000), random.normal(0.6, 0.05, 3000)
    effects = shapley(x, confidence, before, x, confidence, after, 1)
    assert effects[2] == pytest.approx(0.1, abs=0.02)


def test_thresholds_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="thresholds must be one or of one length"):
        shapley([0, 0], [0.1, 0.2], [0.5, 0.5, 0.5], [0], [0.5], 0.5, 1)
