"""Since when a stream is another, and from what to what, in units that people use."""

from __future__ import annotations

import numpy as np
import pytest

from cascade_otel.analysis.watching.levels import Change, changed
from cascade_otel.analysis.watching.monitor import Monitor
from cascade_otel.records import Measured, Stream
from cascade_otel.storage.schema import COST_CELLS_PER_OCTAVE, LATENCY_CELLS_PER_OCTAVE, log_cell
from tests.analysis.counted import END, Counted, shares, wanted, weeks

HOURS, AGO, PER_HOUR = 17 * 24, 72, 200


def change(stream: Stream, measure: Measured, cells: np.ndarray) -> Change:
    """Of one task whose cells (T, C) changed ``AGO`` hours before the end."""
    counted = Counted(("t",), END - HOURS, {measure: cells[None]})
    standing = Monitor().look(counted, wanted(weeks(counted), END))[stream]
    assert standing.point.trace.state(0) == "drifting"
    return changed(counted, standing, 0)


def share(before: float, after: float, seed: int = 3) -> np.ndarray:
    rate = np.where(np.arange(HOURS) < HOURS - AGO, before, after)[None]
    return shares(np.full((1, HOURS), PER_HOUR), rate, seed)[0]


def amounts(before: int, after: int, per_octave: int) -> np.ndarray:
    """(T, C) calls of amounts around a median, a tenth of them four times as much."""
    random = np.random.default_rng(4)
    cells = np.zeros((HOURS, 256), np.int64)
    for hour in range(HOURS):
        median = before if hour < HOURS - AGO else after
        amount = median * np.exp(random.normal(0, 0.2, PER_HOUR))
        amount[: PER_HOUR // 10] *= 4
        np.add.at(cells[hour], log_cell(amount.astype(np.int64), per_octave), 1)
    return cells


@pytest.mark.parametrize(
    ("stream", "measure"),
    [
        ("escalation_rate", "escalation"),
        ("error_rate", "errors"),
        ("missing_confidence_rate", "missing"),
        ("audited_disagreement", "disagreement"),
    ],
)
def test_of_a_share_both_levels_are_told(stream: Stream, measure: Measured) -> None:
    found = change(stream, measure, share(0.1, 0.2))
    assert (found.before, found.now) == (pytest.approx(0.1, abs=0.01), pytest.approx(0.2, abs=0.02))
    assert found.low_hour <= END - AGO <= found.high_hour
    assert found.quantile is None


@pytest.mark.parametrize(
    ("stream", "measure", "unit", "per_octave"),
    [
        ("latency_accepted", "latency_accepted", 10**6, LATENCY_CELLS_PER_OCTAVE),
        ("latency_escalated", "latency_escalated", 10**6, LATENCY_CELLS_PER_OCTAVE),
        ("cost_accepted", "cost_accepted", 10**9, COST_CELLS_PER_OCTAVE),
        ("cost_escalated", "cost_escalated", 10**9, COST_CELLS_PER_OCTAVE),
    ],
)
def test_of_latency_and_cost_a_quantile_is_told_in_seconds_and_money(
    stream: Stream, measure: Measured, unit: int, per_octave: int
) -> None:
    found = change(stream, measure, amounts(2 * unit, 3 * unit, per_octave))
    # A cell is a twelfth wide, or an eighth.
    times = {0.5: 1, 0.9: 4, 0.99: 5}[found.quantile or 0]
    assert found.before == pytest.approx(2 * times, rel=0.4)
    assert (found.now or 0) / (found.before or 1) == pytest.approx(1.5, rel=0.15)
    assert found.low_hour <= END - AGO <= found.high_hour


def test_of_the_median_the_amounts_are_within_a_cell() -> None:
    found = change("cost_accepted", "cost_accepted", amounts(2 * 10**6, 3 * 10**6, COST_CELLS_PER_OCTAVE))
    assert found.quantile == 0.5
    assert (found.before, found.now) == (pytest.approx(0.002, rel=0.13), pytest.approx(0.003, rel=0.13))


def test_of_a_calibration_the_bin_that_moved_is_told() -> None:
    """Confidences .6 and .95: wrong in 40 % and 5 %, and the latter then in 25 %."""
    cells = np.zeros((HOURS, 202), np.int64)
    sure = share(0.05, 0.25) // 2
    unsure = share(0.4, 0.4, 5) // 2
    cells[:, [120, 121]], cells[:, [190, 191]] = unsure, sure
    found = change("calibration_gap", "calibration", cells)
    assert (found.before, found.now) == (pytest.approx(0.05, abs=0.01), pytest.approx(0.25, abs=0.03))
    assert found.low_hour <= END - AGO <= found.high_hour


def test_of_a_shape_the_clearest_cut_is_told() -> None:
    """A third of the calls moves from .9 to 1.0."""
    cells = np.zeros((HOURS, 101), np.int64)
    cells[:, [30, 90, 100]] = PER_HOUR // 4, PER_HOUR // 2, PER_HOUR // 4
    cells[-AGO:, [90, 100]] = PER_HOUR // 6, PER_HOUR // 4 + PER_HOUR // 3
    found = change("confidence_shape", "confidence", cells)
    assert found.since_hour == END - AGO
    assert (found.before, found.now) == (pytest.approx(0.75, abs=0.01), pytest.approx(0.42, abs=0.02))
