import numpy as np
import pytest

from cascade_otel.analysis.watching.drift import MAIN, judge
from cascade_otel.analysis.watching.monitor import Monitor
from cascade_otel.analysis.watching.streams import KINDS
from cascade_otel.policy import PageBudget
from cascade_otel.records import Finding
from cascade_otel.storage.state import Baseline
from tests.analysis.counted import END, YEARLY, Counted, judged, of, of_rates, shares, step, weeks


@pytest.fixture(scope="module")
def mixed() -> tuple[Counted, list[Finding]]:
    rates = {f"steady {number}": step(0.3, 0.3, 0) for number in range(5)}
    history = of_rates(
        {"up": step(0.2, 0.35, 60), "down": step(0.4, 0.25, 50), "piled": step(0.3, 0.3, 0), **rates},
        piled={"piled": 40},
    )
    return history, judged(history)


def test_each_task_has_a_finding_on_each_stream(mixed: tuple[Counted, list[Finding]]) -> None:
    history, findings = mixed
    assert [(one.task, one.stream) for one in findings] == [
        (task, stream) for task in history.tasks for stream in MAIN
    ]


def test_a_shift_drifts_since_its_hour_and_its_windows_say_from_where_to_where(
    mixed: tuple[Counted, list[Finding]],
) -> None:
    for task, ago, before, after in (("up", 60, 0.2, 0.35), ("down", 50, 0.4, 0.25)):
        found = of(mixed[1], task)
        assert found.state == "drifting"
        assert found.log_evidence >= found.log_needed
        assert found.since_low_hour is not None
        assert found.since_high_hour is not None
        assert found.since_low_hour <= END - ago <= found.since_high_hour
        assert found.paged_hour is not None
        assert END - ago < found.paged_hour < END - ago + 40
        assert found.reference is not None
        assert found.current is not None
        assert found.reference.rate == pytest.approx(before, abs=0.02)
        assert found.current.rate == pytest.approx(after, abs=0.03)
        assert (found.current.start_hour, found.current.end_hour) == (found.since_hour, END)


def test_another_shape_at_the_same_rate_is_seen_by_the_shape_alone(
    mixed: tuple[Counted, list[Finding]],
) -> None:
    assert of(mixed[1], "piled").state == "quiet"
    shape = of(mixed[1], "piled", "confidence_shape")
    assert shape.state == "drifting"
    assert shape.since_hour == pytest.approx(END - 40, abs=2)


def test_tasks_that_stay_the_same_are_quiet(mixed: tuple[Counted, list[Finding]]) -> None:
    steady = [one for one in mixed[1] if one.task.startswith("steady")]
    assert {one.state for one in steady} == {"quiet"}
    assert all(one.since_hour is None and one.paged_hour is None for one in steady)
    last_day = steady[0].current
    assert last_day is not None
    assert (last_day.start_hour, last_day.end_hour) == (END - 24, END)


def test_the_same_hours_give_the_same_findings(mixed: tuple[Counted, list[Finding]]) -> None:
    assert judged(mixed[0]) == mixed[1]


def test_the_budget_is_shared_by_tasks_and_streams(mixed: tuple[Counted, list[Finding]]) -> None:
    needed = {one.stream: one.log_needed for one in mixed[1]}
    assert needed["escalation_rate"] == pytest.approx(np.log(8 * 8_760 / 0.5))
    assert needed["confidence_shape"] == pytest.approx(np.log(8 * 8_760 / 0.2))
    few = of_rates({"a": step(0.3, 0.3, 0, 8)}, 10)
    generous = of(judged(few, weeks(few, 7), budget=PageBudget(100.0, 8_760.0)), "a")
    assert generous.log_needed == pytest.approx(np.log(8_760 / 100 / 0.5))


def test_the_hour_in_progress_is_not_looked_at(mixed: tuple[Counted, list[Finding]]) -> None:
    history = mixed[0]
    earlier = judged(history, now_hour=END - 1)
    spoiled = history.copy()
    for cells in spoiled.cells.values():
        cells[:, -1] = 0
    assert judged(spoiled, now_hour=END - 1) == earlier
    assert {one.hour for one in earlier} == {END - 2}


def test_a_spike_of_two_hours_pages_nobody() -> None:
    rates = {f"t{number}": step(0.3, 0.3, 0) for number in range(4)}
    rates["spiky"] = step(0.3, 0.3, 0)
    rates["spiky"][-30:-28] = 0.7
    history = of_rates(rates)
    monitor = Monitor()
    for now in (END - 28, END - 26, END - 20, END):
        found = of(judged(history, now_hour=now, monitor=monitor), "spiky")
        assert found.state in ("suspect", "quiet")
        assert found.paged_hour is None
    assert found.state == "quiet"


@pytest.mark.parametrize("per_hour", [10, 300])
def test_forty_tasks_without_a_shift_page_nobody(per_hour: float) -> None:
    rates = {f"t{number}": step(rate, rate, 0) for number, rate in enumerate(np.linspace(0.05, 0.9, 40))}
    history = of_rates(rates, per_hour, seed=11)
    findings = judged(history, budget=PageBudget(1.0, 720.0))
    assert [one.task for one in findings if one.paged_hour is not None] == []


def test_a_shift_that_ended_is_quiet_again() -> None:
    rates = {f"t{number}": step(0.3, 0.3, 0) for number in range(4)}
    rates["back"] = step(0.3, 0.3, 0)
    rates["back"][-120:-72] = 0.5
    history = of_rates(rates)
    then = of(judged(history, now_hour=END - 72), "back")
    assert then.state == "drifting"
    assert of(judged(history), "back").state == "quiet"


def test_two_odd_hours_within_a_shift_do_not_end_it() -> None:
    rates = {f"t{number}": step(0.3, 0.3, 0) for number in range(4)}
    rates["down"] = step(0.4, 0.25, 72)
    rates["down"][-12:-10] = 0.5
    history = of_rates(rates, per_hour=100)
    del history.cells["confidence"]
    monitor = Monitor()
    paged = {
        of(judged(history, now_hour=now, monitor=monitor), "down").paged_hour
        for now in range(END - 12, END + 1)
    }
    assert len(paged) == 1
    assert None not in paged


@pytest.mark.parametrize("days", [1, 3, 6])
def test_a_short_reference_is_still_learning(days: int) -> None:
    history = of_rates({"new": step(0.3, 0.3, 0, days)})
    (found,) = judged(history, weeks(history, 7))
    assert (found.state, found.days_learned, found.days_needed) == ("learning", days, 7)
    assert (found.stream, found.log_evidence) == ("escalation_rate", 0)


def test_a_silent_task_is_no_data_whatever_was_found_before() -> None:
    history = of_rates({"gone": step(0.2, 0.5, 60), "other": step(0.3, 0.3, 0)})
    for cells in history.cells.values():
        cells[0, -8:] = 0
    drifting = judged(history, now_hour=END - 8)
    assert of(drifting, "gone").state == "drifting"
    silent = judged(history)
    assert [(one.state, one.since_hour) for one in silent if one.task == "gone"] == [("no_data", END - 8)] * 2
    assert of(silent, "other").state == "quiet"


def test_a_task_that_always_sleeps_at_night_is_not_missed_at_night() -> None:
    history = of_rates({"office": step(0.3, 0.3, 0), "other": step(0.3, 0.3, 0)})
    closed = np.isin((history.start + np.arange(21 * 24)) % 24, [*range(7), *range(17, 24)])
    for cells in history.cells.values():
        cells[0, closed] = 0
    assert of(judged(history), "office").state == "quiet"


def test_a_rare_task_is_not_missed() -> None:
    history = of_rates({"rare": step(0.3, 0.3, 0)}, per_hour=0.5)
    for cells in history.cells.values():
        cells[0, -20:] = 0
    assert of(judged(history), "rare").state == "quiet"


def test_a_task_without_confidences_is_judged_by_its_rate_alone() -> None:
    history = of_rates({"bare": step(0.2, 0.4, 60), "other": step(0.3, 0.3, 0)})
    history.cells["confidence"][0] = 0
    findings = judged(history)
    assert [one.stream for one in findings if one.task == "bare"] == ["escalation_rate"]
    assert of(findings, "bare").state == "drifting"


def test_references_of_different_lengths_are_learned_together() -> None:
    history = of_rates({"old": step(0.2, 0.35, 60), "young": step(0.2, 0.35, 60)})
    start = history.start
    for cells in history.cells.values():
        cells[1, :192] = 0
    baselines = {
        "old": Baseline("old", start, start + 14 * 24, "trailing", 0),
        "young": Baseline("young", start + 192, start + 192 + 168, "accepted", 0),
    }
    findings = judged(history, baselines)
    assert {one.state for one in findings if one.stream == "escalation_rate"} == {"drifting"}


def test_the_day_in_progress_is_not_learned_yet() -> None:
    history = of_rates({"a": step(0.3, 0.3, 0, 7)})
    assert of(judged(history, weeks(history, 7), END - 1), "a").days_learned == 6
    assert of(judged(history, weeks(history, 7)), "a").state == "quiet"


def test_no_tasks_have_no_findings() -> None:
    assert judge(of_rates({"a": step(0.3, 0.3, 0, 1)}), Monitor(), [], YEARLY, END) == []


def test_what_moved_on_no_stream_has_a_finding_on_the_main_ones_unless_it_is_loud() -> None:
    history = of_rates({"a": step(0.3, 0.3, 0), "b": step(0.3, 0.3, 0)})
    history.cells["errors"] = shares(history.cells["escalation"].sum(2), np.full((2, 21 * 24), 0.02), 5)
    streams = {task: [one.stream for one in judged(history, loud=["a"]) if one.task == task] for task in "ab"}
    assert streams == {"a": list(KINDS), "b": [*MAIN]}
