"""Each of the ten streams finds the shift that is its own, and nothing else does."""

from __future__ import annotations

from functools import cache
from typing import cast

import numpy as np
import pytest
from scipy.stats import poisson

from cascade_otel.analysis.watching.drift import MAIN
from cascade_otel.analysis.watching.streams import KINDS
from cascade_otel.policy import PageBudget
from cascade_otel.records import Finding, Measured, Stream
from tests.analysis.counted import END, Counted, judged, shares, weeks

DAYS, AGO = 18, 72
HOURS = DAYS * 24
TASKS = ("moved", "a", "b", "c")
RATES: dict[Measured, tuple[float, float]] = {
    "escalation": (0.3, 0.45),
    "errors": (0.02, 0.08),
    "missing": (0.03, 0.1),
    "disagreement": (0.1, 0.25),
}
BINS = (120, 150, 180, 196)
"""Of calibration, twice the confidence's cell; wrong in 40, 25, 10 and 2 % of the calls."""
WRONG = np.array([0.4, 0.25, 0.1, 0.02])


@cache
def fleet(tasks: int = len(TASKS), seed: int = 1, days: int = DAYS) -> Counted:
    """Tasks of which all is recorded and nothing moves."""
    hours = days * 24
    random = np.random.default_rng(seed)
    calls = random.poisson(80, (tasks, hours))
    cells: dict[Measured, np.ndarray] = {
        measure: shares(calls, np.full(calls.shape, before), seed + place)
        for place, (measure, (before, _)) in enumerate(RATES.items())
    }
    cells["disagreement"] = shares(calls // 5, np.full(calls.shape, RATES["disagreement"][0]), seed + 9)
    cells["confidence"] = np.zeros((tasks, hours, 101), np.int64)
    cells["confidence"][:, :, [30, 60, 82, 90, 95, 100]] = random.multinomial(
        calls, [0.15, 0.15, 0.2, 0.2, 0.2, 0.1]
    )
    cells["calibration"] = calibration(calls, WRONG, random)
    for path, share in (("accepted", 0.7), ("escalated", 0.3)):
        for what in ("latency", "cost"):
            name = cast(Measured, f"{what}_{path}")
            cells[name] = amounts(random.binomial(calls, share), 0, random)
    names = TASKS if tasks == len(TASKS) else tuple(f"task {place}" for place in range(tasks))
    return Counted(names, END - hours, cells)


def calibration(calls: np.ndarray, wrong: np.ndarray, random: np.random.Generator) -> np.ndarray:
    cells = np.zeros((*calls.shape, 202), np.int64)
    of_bins = random.multinomial(calls // 2, [0.25] * 4)
    hits = random.binomial(of_bins, wrong)
    cells[:, :, BINS] = of_bins - hits
    cells[:, :, np.array(BINS) + 1] = hits
    return cells


def amounts(calls: np.ndarray, moved: int, random: np.random.Generator) -> np.ndarray:
    """Spread over twenty cells, all of them moved by some."""
    cells = np.zeros((*calls.shape, 60), np.int64)
    cells[:, :, 20 + moved : 40 + moved] = random.multinomial(calls, [1 / 20] * 20)
    return cells


def shifted(measure: Measured) -> Counted:
    """The same with one measure of the first task another since ``AGO`` hours before the end."""
    counted, random = fleet().copy(), np.random.default_rng(5)
    cells = counted.cells[measure]
    calls = cells[:1, -AGO:].sum(2)
    if measure in RATES:
        cells[0, -AGO:] = shares(calls, np.full(calls.shape, RATES[measure][1]), 6)[0]
    elif measure == "confidence":
        cells[0, -AGO:, 100] += cells[0, -AGO:, 95] + cells[0, -AGO:, 90]
        cells[0, -AGO:, [90, 95]] = 0
    elif measure == "calibration":
        # Wrong as often as before, and at other confidences: the sure are wrong, the unsure are not.
        cells[0, -AGO:] = calibration(2 * calls, np.array([0.22, 0.19, 0.16, 0.2]), random)[0]
    else:
        cells[0, -AGO:] = amounts(calls, 5, random)[0]
    return counted


def assert_from_to(stream: Stream, moved: Finding) -> None:
    assert moved.before is not None
    assert moved.now is not None
    if (rates := RATES.get(KINDS[stream].measure)) is not None:
        assert moved.before == pytest.approx(rates[0], abs=0.01)
        assert moved.now == pytest.approx(rates[1], abs=0.03)
    elif stream == "calibration_gap":
        assert abs(moved.now - moved.before) > 0.1
    else:
        per_octave = 8 if stream.startswith("latency") else 6
        assert moved.now / moved.before == pytest.approx(2 ** (5 / per_octave), rel=0.15)


@pytest.mark.parametrize("stream", KINDS)
def test_a_shift_is_found_on_its_own_stream_alone(stream: Stream) -> None:
    counted = shifted(KINDS[stream].measure)
    found = judged(counted)
    (moved,) = (one for one in found if one.state != "quiet")
    assert (moved.task, moved.stream, moved.state) == ("moved", stream, "drifting")
    assert moved.log_evidence >= moved.log_needed
    assert moved.since_low_hour is not None
    assert moved.since_high_hour is not None
    assert moved.since_low_hour <= END - AGO <= moved.since_high_hour
    if stream in MAIN:
        assert moved.reference is not None
        assert moved.current is not None
        rates = RATES["escalation"] if stream == "escalation_rate" else (0.3, 0.3)
        assert moved.reference.rate == pytest.approx(rates[0], abs=0.01)
        assert moved.current.rate == pytest.approx(rates[1], abs=0.03)
    else:
        assert_from_to(stream, moved)
    assert [(one.task, one.stream) for one in found if one.state == "quiet"] == [
        (task, one) for task in TASKS for one in MAIN if (task, one) != ("moved", stream)
    ]


def test_a_calibration_is_found_at_an_unchanged_error_rate() -> None:
    cells = shifted("calibration").cells["calibration"][0]
    wrong = cells[:, np.array(BINS) + 1].sum(1) / cells.sum(1)
    assert wrong[-AGO:].mean() == pytest.approx(wrong[:-AGO].mean(), abs=0.01)


def test_a_quiet_fleet_with_everything_recorded_pages_no_more_than_its_budget() -> None:
    """Sixteen tasks watched for a week on all streams: a page in four such weeks is allowed."""
    pages = sum(
        one.paged_hour is not None
        for seed in (21, 22)
        for one in judged(
            fleet(16, seed, 21), weeks(fleet(16, seed, 21)), budget=PageBudget(1.0, 28 * 24.0), loud=()
        )
    )
    assert pages <= poisson.ppf(0.999, 0.5)
