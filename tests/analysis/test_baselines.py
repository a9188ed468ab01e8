import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_otel.analysis.watching.baselines import DAYS_NEEDED, MOST_DAYS, choose, learned
from cascade_otel.policy import Reference
from cascade_otel.records import HOUR_NS
from cascade_otel.storage.state import Baseline

TODAY = 20_000
NOW = TODAY * 24 + 10


def days_back(count: int) -> np.ndarray:
    """So many days up to yesterday, each with calls."""
    return np.arange(TODAY - count, TODAY)


def span(baseline: Baseline) -> tuple[int, int]:
    """First day of the baseline and the day after the last, counted from today."""
    return baseline.start_hour // 24 - TODAY, baseline.end_hour // 24 - TODAY


@pytest.mark.parametrize(
    ("history", "start", "end"),
    [(60, -35, -7), (35, -35, -7), (30, -30, -7), (14, -14, -7), (13, -13, -6), (10, -10, -3), (7, -7, 0)],
)
def test_on_first_sight_the_newest_days_are_left_to_be_watched(history: int, start: int, end: int) -> None:
    found = choose("t", None, days_back(history), NOW, quiet=True)
    assert span(found) == (start, end)
    assert (found.reason, found.at_ns) == ("trailing", NOW * HOUR_NS)
    assert len(learned(found, days_back(history))) >= DAYS_NEEDED


@pytest.mark.parametrize("history", [0, 1, 6])
def test_below_seven_days_a_task_is_learning(history: int) -> None:
    found = choose("t", None, days_back(history), NOW, quiet=True)
    assert len(learned(found, days_back(history))) == history
    assert found.end_hour > NOW


def test_learning_ends_when_seven_days_with_calls_are_complete() -> None:
    calls = np.array([TODAY - 3, TODAY - 1, TODAY, *range(TODAY + 2, TODAY + 8)])
    baseline = None
    lengths = []
    for day in range(TODAY, TODAY + 9):
        baseline = choose("t", baseline, calls[calls < day], day * 24, quiet=True)
        lengths.append(len(learned(baseline, calls[calls < day])))
    assert lengths == [2, 3, 3, 4, 5, 6, 7, 7, 7]
    assert baseline is not None
    assert baseline.end_hour // 24 == TODAY + 6


def test_a_sparse_task_gets_a_longer_reference() -> None:
    weekly = np.arange(TODAY - 91, TODAY, 7)
    found = choose("t", None, weekly, NOW, quiet=True)
    assert len(learned(found, weekly)) == DAYS_NEEDED
    assert span(found)[1] == -7


def test_a_quiet_reference_moves_on_by_a_week_when_its_watch_is_two_weeks_old() -> None:
    before = Baseline("t", (TODAY - 41) * 24, (TODAY - 13) * 24, "trailing", 1)
    assert choose("t", before, days_back(60), NOW, quiet=True) == before
    later = NOW + 24
    found = choose("t", before, days_back(60), later, quiet=True)
    assert span(found) == (-34, -6)
    assert (found.reason, found.at_ns) == ("trailing", later * HOUR_NS)


def test_a_short_reference_grows_before_its_start_moves() -> None:
    before = Baseline("t", (TODAY - 21) * 24, (TODAY - 14) * 24, "trailing", 1)
    assert span(choose("t", before, days_back(21), NOW, quiet=True)) == (-21, -7)


def test_a_reference_is_pinned_as_long_as_the_task_is_not_quiet() -> None:
    before = Baseline("t", (TODAY - 60) * 24, (TODAY - 32) * 24, "trailing", 1)
    pinned = choose("t", before, days_back(60), NOW, quiet=False)
    assert (span(pinned), pinned.reason) == (span(before), "pinned")
    assert choose("t", pinned, days_back(60), NOW, quiet=False) == pinned
    assert span(choose("t", pinned, days_back(60), NOW, quiet=True)) == (-53, -25)


def test_a_reference_does_not_move_onto_days_without_calls() -> None:
    days = np.arange(TODAY - 48, TODAY - 41)
    before = Baseline("t", (TODAY - 48) * 24, (TODAY - 20) * 24, "trailing", 1)
    assert choose("t", before, days, NOW, quiet=True) == before


def test_an_accepted_reference_starts_at_its_hour_and_is_learned_anew() -> None:
    since = (TODAY - 3) * 24 + 13
    accepted = Baseline("t", since, since + 168, "accepted", 1)
    found = choose("t", accepted, days_back(40), NOW, quiet=True)
    assert (found.start_hour, found.reason) == (since, "accepted")
    assert len(learned(found, days_back(40))) == 2
    later = choose("t", found, np.arange(TODAY - 40, TODAY + 5), NOW + 5 * 24, quiet=False)
    assert (later.start_hour, span(later)[1], later.reason) == (since, 5, "accepted")
    assert len(learned(later, np.arange(TODAY - 40, TODAY + 5))) == DAYS_NEEDED


def test_days_that_the_policy_names_stay_whatever_happens() -> None:
    said = Reference(start_day=TODAY - 30, end_day=TODAY - 20)
    before = Baseline("t", (TODAY - 60) * 24, (TODAY - 32) * 24, "trailing", 1)
    for previous in (None, before):
        found = choose("t", previous, days_back(60), NOW, quiet=True, said=said)
        assert (span(found), found.reason) == ((-30, -20), "chosen")
    later = choose("t", found, days_back(60), NOW + 60 * 24, quiet=False, said=said)
    assert later == found, "neither moved on nor pinned, and chosen when it was"
    assert span(choose("t", found, days_back(60), NOW, quiet=True)) == (-35, -7), "no longer said"


def test_until_a_version_appears_the_reference_is_as_it_would_be_without() -> None:
    said = Reference(version="8")
    found = choose("t", None, days_back(60), NOW, quiet=True, said=said, version_hour=None)
    assert (span(found), found.reason) == ((-35, -7), "trailing")


def test_with_a_version_the_reference_begins_anew_at_its_first_midnight() -> None:
    said, begun = Reference(version="8"), (TODAY - 3) * 24 + 5
    before = Baseline("t", (TODAY - 35) * 24, (TODAY - 7) * 24, "trailing", 1)
    for previous in (None, before):
        found = choose("t", previous, days_back(60), NOW, quiet=True, said=said, version_hour=begun)
        assert (found.start_hour // 24 - TODAY, found.reason) == (-2, "version")
        assert len(learned(found, days_back(60))) == 2
        assert found.end_hour > NOW


def test_the_reference_of_a_version_is_learned_grows_and_moves_on() -> None:
    said, begun = Reference(version="8"), TODAY * 24
    found, history = None, []
    for day in range(TODAY, TODAY + 60):
        days = np.arange(TODAY - 60, day)
        found = choose("t", found, days, day * 24 + 1, quiet=True, said=said, version_hour=begun)
        history.append((found.reason, *span(found)))
    assert history[0] == ("version", 0, 7)
    assert history[10] == ("version", 0, 7)
    assert ("version", 0, 28) in history, "it keeps its reason as long as it begins with the version"
    assert history[-1][0] == "trailing"
    assert history[-1][1] > 0
    assert all(start >= 0 for _, start, _ in history)


def test_an_accepted_reference_keeps_its_reason_until_its_start_moves() -> None:
    accepted = Baseline("t", (TODAY - 21) * 24, (TODAY - 14) * 24, "accepted", 5)
    grown = choose("t", accepted, days_back(40), NOW, quiet=True)
    assert (span(grown), grown.reason, grown.at_ns) == ((-21, -7), "accepted", 5)
    assert choose("t", grown, days_back(40), NOW, quiet=False) == grown
    old = Baseline("t", (TODAY - 42) * 24, (TODAY - 14) * 24, "accepted", 5)
    moved = choose("t", old, days_back(60), NOW, quiet=True)
    assert (span(moved), moved.reason) == ((-35, -7), "trailing")


def test_older_calls_that_arrive_while_learning_are_learned_from() -> None:
    learning = choose("t", None, days_back(2), NOW, quiet=True)
    assert span(choose("t", learning, days_back(30), NOW, quiet=True)) == (-30, -7)


@settings(max_examples=200, deadline=None)
@given(
    days=st.lists(st.integers(TODAY - 90, TODAY - 1), unique=True),
    looks=st.lists(st.tuples(st.integers(1, 400), st.booleans()), max_size=12),
)
def test_no_reference_reaches_into_what_is_watched(days: list[int], looks: list[tuple[int, bool]]) -> None:
    """Whenever it is complete it lies in the past and holds enough days; the same arguments give the same."""
    calls = np.array(sorted(days), np.int64)
    now, baseline = NOW, None
    for pause, quiet in looks:
        before, baseline = baseline, choose("t", baseline, calls, now, quiet)
        assert baseline == choose("t", before, calls, now, quiet)
        if len(learned(baseline, calls)) >= DAYS_NEEDED:
            assert baseline.end_hour <= now // 24 * 24
            assert baseline.start_hour < baseline.end_hour
            full = len(calls) == calls[-1] - calls[0] + 1 and calls[-1] == TODAY - 1
            assert not full or baseline.end_hour - baseline.start_hour <= MOST_DAYS * 24
        else:
            assert baseline.end_hour > now // 24 * 24
        now += pause
