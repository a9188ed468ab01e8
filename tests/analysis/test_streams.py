"""What each stream counts, against plain loops over the single entries."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_otel.analysis.watching.streams import (
    CONFIDENCE_BINS,
    HIGH_QUANTILES,
    KINDS,
    count,
    cuts,
    histogram,
)
from cascade_otel.records import HourCells, Stream

TASKS, START, END = 3, 100, 105
CELLS: dict[Stream, int] = {"confidence_shape": 101, "calibration_gap": 404}
Entry = tuple[int, int, int, int]

entries = st.lists(
    st.tuples(
        st.integers(0, TASKS - 1), st.integers(START - 2, END + 1), st.integers(0, 10**6), st.integers(1, 50)
    ),
    min_size=1,
    max_size=40,
)
streams = st.sampled_from(list(KINDS))


def cells_of(stream: Stream, drawn: list[Entry]) -> tuple[HourCells, list[Entry]]:
    """Entries with cells that the stream knows, twice: as arrays, and one by one."""
    size = CELLS.get(stream, 256 if stream.startswith(("latency", "cost")) else 2)
    listed = [(task, hour, cell % size, calls) for task, hour, cell, calls in drawn]
    return HourCells(*(np.array(part, np.int64) for part in zip(*listed, strict=True))), listed


def quantile_cell(calls: Counter[int], quantile: float) -> int:
    """First cell with so much at or below; calls in whole numbers, so that nothing is rounded."""
    total, so_far = sum(calls.values()), 0
    for cell in sorted(calls):
        so_far += calls[cell]
        if so_far >= quantile * total - 1e-9:
            return cell
    raise AssertionError


def bin_of(cell: int, cut: list[int]) -> int:
    return sum(cell > one for one in cut)


@settings(max_examples=150, deadline=None)
@given(streams, entries)
def test_counts_are_those_of_the_single_entries(stream: Stream, drawn: list[Entry]) -> None:
    cells, listed = cells_of(stream, drawn)
    cut = cuts(stream, cells, np.array([80, -1, 1]))
    found = count(stream, cells, cut, START, END)
    expected = np.zeros((2, *found.calls.shape), np.int64)
    for task, hour, cell, calls in listed:
        if not START <= hour < END:
            continue
        if stream == "calibration_gap":
            labelled, own = divmod(cell // 2, 101)
            of_source = cut[task, 3 * labelled : 3 * labelled + 3].tolist()
            place = CONFIDENCE_BINS * labelled + bin_of(own, of_source)
            expected[0, task, place, hour - START] += calls
            expected[1, task, place, hour - START] += calls * (cell % 2)
            continue
        for place, at in enumerate(cut[task]):
            hit = cell <= at if stream == "confidence_shape" else cell > at
            expected[0, task, place, hour - START] += calls
            expected[1, task, place, hour - START] += calls * hit
    np.testing.assert_array_equal(found.calls, expected[0])
    np.testing.assert_array_equal(found.hits, expected[1])


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["latency_accepted", "cost_escalated", "calibration_gap"]), entries)
def test_cuts_are_quantiles_of_the_reference(stream: Stream, drawn: list[Entry]) -> None:
    cells, listed = cells_of(stream, drawn)
    cut = cuts(stream, cells, np.full(TASKS, 80))
    quantiles = np.arange(1, CONFIDENCE_BINS) / CONFIDENCE_BINS
    for task in {one[0] for one in listed}:
        own: Counter[int] = Counter()
        for one, _, cell, calls in listed:
            if one == task:
                own[cell // 2 if stream == "calibration_gap" else cell] += calls
        if stream != "calibration_gap":
            assert cut[task].tolist() == [quantile_cell(own, one) for one in HIGH_QUANTILES]
            continue
        for labelled in (0, 1):
            part = Counter({cell - 101 * labelled: n for cell, n in own.items() if cell // 101 == labelled})
            if part:
                found = cut[task, 3 * labelled : 3 * labelled + 3].tolist()
                assert found == [quantile_cell(part, one) for one in quantiles]


@settings(max_examples=50, deadline=None)
@given(entries)
def test_a_histogram_adds_up_all_hours(drawn: list[Entry]) -> None:
    cells, listed = cells_of("cost_accepted", drawn)
    found = histogram(cells, TASKS, 256)
    assert found.sum() == sum(calls for *_, calls in listed)
    assert histogram(cells, TASKS).tolist() == found[:, : max(cell for _, _, cell, _ in listed) + 1].tolist()


def test_a_threshold_is_a_cut_of_the_shape() -> None:
    cells = HourCells(*(np.array(part) for part in ([0, 0], [START, START], [30, 90], [5, 5])))
    assert 79 in cuts("confidence_shape", cells, np.array([80]))[0]


def test_shares_of_the_page_budget_add_up_to_the_whole() -> None:
    assert sum(kind.weight + kind.group_weight for kind in KINDS.values()) == pytest.approx(1, abs=1e-12)
    assert KINDS["escalation_rate"].weight == 0.5
    assert all(kind.weight > 0 for kind in KINDS.values())


def test_each_stream_counts_something_of_its_own() -> None:
    assert len({kind.measure for kind in KINDS.values()}) == len(KINDS)
