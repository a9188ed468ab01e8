from __future__ import annotations

import pytest

from cascade_otel.presentation.periods import RANGES, period


@pytest.mark.parametrize("name", list(RANGES))
def test_a_range_is_cut_into_whole_buckets_up_to_the_finished_hour(name: str) -> None:
    found = period(name, 1000, 1000)
    hours, step = RANGES[name]
    assert (found.start_hour, found.complete_hour, found.end_hour) == (1000 - hours, 1000, 1001)
    assert found.buckets * step == hours
    assert not found.past


def test_data_that_ended_long_ago_are_shown_up_to_their_end() -> None:
    found = period("24h", 10_000, 500)
    assert (found.start_hour, found.end_hour, found.past) == (477, 501, True)
    assert found.name == "24 hours to the last call"


def test_an_unknown_range_is_the_default() -> None:
    assert period("<script>", 1000, None) == period("7d", 1000, None)
