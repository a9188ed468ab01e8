"""What the detector remembers between looks changes nothing of what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from cascade_otel.analysis.watching import kept
from cascade_otel.analysis.watching.monitor import (
    LATE_HOURS,
    USUALLY_LATE_HOURS,
    WHOLE_EVERY_HOURS,
    Monitor,
    Standing,
)
from cascade_otel.records import Stream
from cascade_otel.storage.state import Baseline
from tests.analysis.counted import END, Counted, of_rates, shares, spread, step, wanted, weeks

HOSTILE = ('it\'s "quoted"', "two\nlines", "‮right to left", "\x00", "a/0/null/base.npy")
DAYS = 11


def few(names: tuple[str, ...] = ("up", "steady", "rare"), seed: int = 1) -> Counted:
    """Escalations, confidences and errors; the first task shifts forty hours before the end."""
    rates = {name: step(0.2, 0.4 if place == 0 else 0.2, 40, DAYS) for place, name in enumerate(names)}
    counted = of_rates(rates, 40, seed)
    calls = counted.cells["escalation"].sum(2)
    calls[-1] = calls[-1] // 20
    counted.cells["escalation"][-1] = shares(calls[-1:], np.full((1, DAYS * 24), 0.2), seed)[0]
    counted.cells["errors"] = shares(calls, np.full(calls.shape, 0.05), seed + 7)
    counted.cells["confidence"] = spread(calls, [30, 60, 90], seed + 8)
    return counted


def references(counted: Counted) -> dict[str, Baseline]:
    return weeks(counted, 7)


def at(
    counted: Counted, now: int, monitor: Monitor | None = None, **more: Baseline
) -> dict[Stream, Standing]:
    return (monitor or Monitor()).look(counted, wanted(references(counted) | more, now))


def assert_same(one: Mapping[Stream, Standing], other: Mapping[Stream, Standing]) -> None:
    """Both stand at the same hour and have been through the same, whatever the order of their tasks."""
    assert one.keys() == other.keys()
    for stream in one:
        left, right = one[stream], other[stream]
        places = np.array([right.learned.tasks.index(task) for task in left.learned.tasks])
        assert len(places) == len(right.learned.tasks)
        right = Standing(right.learned.take(places), right.point.take(places))
        assert left.point.hour == right.point.hour
        for name, value in vars(left.point.trace).items():
            np.testing.assert_allclose(
                value, vars(right.point.trace)[name], rtol=1e-4, atol=1e-3, err_msg=f"{stream} {name}"
            )
        np.testing.assert_allclose(left.point.shifted, right.point.shifted, rtol=1e-3, atol=1e-9)
        np.testing.assert_array_equal(left.learned.calls, right.learned.calls)


@pytest.mark.parametrize("pauses", [[1] * 30, [30], [1, 5, 26, 1, 27]], ids=["hourly", "a day", "uneven"])
def test_looks_one_after_the_other_find_what_one_look_finds(pauses: list[int]) -> None:
    counted, monitor = few(), Monitor()
    now = END - sum(pauses)
    for pause in pauses:
        at(counted, now, monitor)
        now += pause
    found = at(counted, END, monitor)
    assert set(found) == {"escalation_rate", "confidence_shape", "error_rate"}
    assert found["escalation_rate"].point.trace.state(0) == "drifting"
    assert_same(found, at(counted, END))


def test_a_look_repeated_in_the_same_hour_finds_the_same() -> None:
    counted, monitor = few(), Monitor()
    first = at(counted, END, monitor)
    assert_same(at(counted, END, monitor), first)
    assert_same(at(counted, END, monitor), first)


def test_a_look_reads_no_more_than_what_may_still_arrive() -> None:
    counted, monitor = few(), Monitor()
    at(counted, END - 1, monitor)
    counted.asked.clear()
    at(counted, END, monitor)
    assert min(start for _, _, start, _ in counted.asked if start > END - 100) == END - 1 - LATE_HOURS
    counted.asked.clear()
    at(counted, END, monitor)
    # What never had anything to count is not asked for again.
    assert {measure for measure, *_ in counted.asked} == {"escalation", "confidence", "errors"}


@pytest.mark.parametrize("late", [["up"], ["steady", "rare"], ["up", "steady", "rare"]], ids=len)
def test_counts_that_arrive_within_a_day_are_judged_as_if_they_had_been_there(late: list[str]) -> None:
    whole = few()
    partial, monitor = whole.copy(), Monitor()
    places = [whole.tasks.index(task) for task in late]
    for cells in partial.cells.values():
        cells[places, -23:-3] //= 3
    for now in range(END - 25, END):
        at(partial, now, monitor)
    before = at(partial, END - 1, monitor)
    found = at(whole, END, monitor)
    assert_same(found, at(whole, END))
    assert not np.allclose(before["escalation_rate"].point.shifted[-1, places], 0)


def test_the_newest_hour_is_taken_in_anew_at_every_look() -> None:
    whole = few()
    partial, monitor = whole.copy(), Monitor()
    for cells in partial.cells.values():
        cells[:, -1] //= 4
    at(partial, END, monitor)
    assert_same(at(whole, END, monitor), at(whole, END))


def test_what_comes_half_a_day_late_is_taken_in_within_six_hours() -> None:
    whole = few()
    partial, monitor = whole.copy(), Monitor()
    for cells in partial.cells.values():
        cells[:, -16:-12] //= 3
    first = END - END % WHOLE_EVERY_HOURS - WHOLE_EVERY_HOURS + 1
    at(partial, first, monitor)
    asked_from = []
    for now in range(first + 1, first + WHOLE_EVERY_HOURS):
        whole.asked.clear()
        found = at(whole, now, monitor)
        asked_from.append(now - min(start for _, _, start, _ in whole.asked))
    assert max(asked_from[:-1]) == USUALLY_LATE_HOURS + 2, "the newest hours suffice"
    assert asked_from[-1] > LATE_HOURS - 1
    assert_same(found, at(whole, first + WHOLE_EVERY_HOURS - 1))


def test_what_arrives_later_than_a_day_is_left_out() -> None:
    whole = few()
    partial, monitor = whole.copy(), Monitor()
    for cells in partial.cells.values():
        cells[0, -40:-28] = 0
    at(partial, END - 1, monitor)
    assert_same(at(whole, END, monitor), at(partial, END))


@pytest.mark.parametrize("names", [("up", "steady", "rare"), HOSTILE], ids=["plain", "hostile"])
def test_a_monitor_that_goes_on_from_what_was_kept_finds_the_same(names: tuple[str, ...]) -> None:
    counted, lived, monitor = few(names), Monitor(), Monitor()
    at(counted, END - 30, lived)
    monitor.restore(kept.unpacked(kept.packed(lived.kept())))
    for now in (END - 29, END - 2, END):
        assert_same(at(counted, now, monitor), at(counted, now, lived))
    counted.asked.clear()
    at(counted, END, monitor)
    assert min(start for _, _, start, _ in counted.asked) > END - 60, "references are not learned again"


def test_packing_loses_nothing() -> None:
    monitor = Monitor()
    at(few(), END - 30, monitor)
    first = kept.packed(monitor.kept())
    assert kept.packed(kept.unpacked(first)) == first


def test_bytes_that_were_not_packed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = Monitor()
    at(few(), END - 30, monitor)
    body = kept.packed(monitor.kept())
    middle = bytearray(body)
    middle[len(body) // 3 : len(body) // 2] = bytes(len(body) // 2 - len(body) // 3)
    for bad in (b"", b"garbage", body[:40], body[: len(body) // 2], body[:-9], bytes(middle)):
        with pytest.raises(ValueError, match=r"."):
            kept.unpacked(bad)
    monkeypatch.setattr(kept, "FORM", kept.FORM + 1)
    with pytest.raises(ValueError, match="it is of form"):
        kept.unpacked(body)


def test_a_task_that_joins_stands_where_one_look_would_have_it() -> None:
    """Whether its reference ended long ago or at the last midnight; the others are not disturbed."""
    counted = few(("up", "steady", "old", "new"))
    known = references(counted)
    monitor = Monitor()
    old = {task: known[task] for task in ("up", "steady")}
    monitor.look(counted, wanted(old, END - 20))
    known["new"] = replace(known["new"], end_hour=END - 24)
    found = monitor.look(counted, wanted(known, END - 10))
    rate = found["escalation_rate"]
    assert sorted(rate.learned.tasks) == ["new", "old", "steady", "up"]
    assert rate.learned.ends[rate.learned.tasks.index("new")] == END - 24
    for now in (END - 9, END):
        found = monitor.look(counted, wanted(known, now))
    alone = Monitor().look(counted, wanted(old, END))
    two = (
        found["escalation_rate"].learned.tasks.index("up"),
        alone["escalation_rate"].learned.tasks.index("up"),
    )
    traces = [one["escalation_rate"].point.trace for one in (found, alone)]
    assert traces[0].paged[two[0]] == traces[1].paged[two[1]] > 0
    assert {found["escalation_rate"].point.trace.state(place) for place in (1, 2, 3)} == {"quiet"}


def test_a_task_that_becomes_ready_at_midnight_is_watched_from_its_first_hour() -> None:
    counted, monitor = few(), Monitor()
    known = references(counted)
    known["rare"] = replace(known["rare"], end_hour=END - 24)
    ready = {task: known[task] for task in ("up", "steady")}
    monitor.look(counted, wanted(ready, END - 25))
    for now in range(END - 24, END + 1):
        found = monitor.look(counted, wanted(known, now))
        place = found["escalation_rate"].learned.tasks.index("rare")
        watched = found["escalation_rate"].point.shifted[:, place] > 0
        assert watched.sum() == now - (END - 24)


def test_tasks_that_leave_are_forgotten_and_the_others_stay_as_they_are() -> None:
    counted, monitor = few(), Monitor()
    at(counted, END - 5, monitor)
    whole = at(counted, END - 4, monitor)
    some = {task: one for task, one in references(counted).items() if task != "up"}
    left = monitor.look(counted, wanted(some, END - 4))
    places = np.array([1, 2])
    for stream, standing in left.items():
        assert standing.learned.tasks == ("steady", "rare")
        np.testing.assert_allclose(
            standing.point.trace.evidence, whole[stream].point.trace.take(places).evidence, rtol=1e-5
        )
    assert monitor.look(counted, wanted({}, END - 4)) == {}
    assert monitor.kept() == {}


def test_another_reference_or_first_tier_is_learned_anew() -> None:
    counted, monitor = few(), Monitor()
    at(counted, END - 5, monitor)
    moved = references(counted)
    moved["up"] = Baseline("up", counted.start + 24, counted.start + 8 * 24, "trailing", 0)
    found = monitor.look(counted, wanted(moved, END))["escalation_rate"].learned
    assert dict(zip(found.tasks, found.starts.tolist(), strict=True)) == {
        task: one.start_hour for task, one in moved.items()
    }
    tiers = {"steady": "tiny"}
    found = monitor.look(counted, wanted(moved, END, tiers))["escalation_rate"].learned
    assert dict(zip(found.tasks, found.tiers, strict=True)) == {
        "up": "small",
        "rare": "small",
        "steady": "tiny",
    }


@pytest.mark.parametrize("back", [1, 3, 50])
def test_a_clock_that_went_back_finds_what_one_look_finds_there(back: int) -> None:
    counted, monitor = few(), Monitor()
    at(counted, END, monitor)
    assert_same(at(counted, END - back, monitor), at(counted, END - back))
    assert_same(at(counted, END, monitor), at(counted, END))


def test_a_stream_that_is_recorded_later_than_others_is_watched_once_a_reference_holds_it() -> None:
    counted, monitor = few(), Monitor()
    audits = shares(counted.cells["errors"].sum(2) // 5, np.full((3, DAYS * 24), 0.1), 3)
    audits[:, :72] = 0
    counted.cells["disagreement"] = audits
    early = {task: replace(one, end_hour=one.start_hour + 72) for task, one in references(counted).items()}
    assert "audited_disagreement" not in monitor.look(counted, wanted(early, END - 2))
    found = monitor.look(counted, wanted(references(counted), END - 1))
    assert set(found["audited_disagreement"].learned.tasks) == {"up", "steady"}
