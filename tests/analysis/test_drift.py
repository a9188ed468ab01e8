from dataclasses import replace

import numpy as np
import pytest

from cascade_otel.analysis.drift import WEIGHTS, days_with_calls, judge
from cascade_otel.policy import PageBudget
from cascade_otel.records import CELLS, Finding, Stream, TaskHours
from cascade_otel.storage.state import Baseline

END = 480_000
"""Midnight, and the end of the history."""
YEARLY = PageBudget(1.0, 8_760.0)


def hours_of(
    rates: dict[str, np.ndarray], per_hour: float = 60, seed: int = 1, piled: dict[str, int] | None = None
) -> TaskHours:
    """Counts at given hourly rates; ``piled``: so many hours before the end high confidences become 1.0."""
    random = np.random.default_rng(seed)
    tasks = tuple(rates)
    rate = np.stack([rates[task] for task in tasks])
    hours = np.arange(END - rate.shape[1], END)
    day = random.normal(0, 0.05, (len(tasks), len(hours) // 24 + 1))[:, np.arange(len(hours)) // 24]
    odds = np.log(rate / (1 - rate)) + day
    calls = random.poisson(per_hour, rate.shape)
    escalated = random.binomial(calls, 1 / (1 + np.exp(-odds)))
    cells = np.zeros((*rate.shape, CELLS), np.int64)
    for index, task in enumerate(tasks):
        since = len(hours) - (piled or {}).get(task, 0)
        low = random.multinomial(escalated[index], [1 / 3] * 3)
        high = random.multinomial(calls[index] - escalated[index], [1 / 4] * 4)
        high[since:] = (calls[index] - escalated[index])[since:, None] * np.array([0, 0, 0, 1])
        cells[index][:, [30, 50, 75]] = low
        cells[index][:, [82, 90, 95, 100]] = high
    return TaskHours(
        tasks, ("small",) * len(tasks), hours, calls, escalated, cells, np.full(len(tasks), 80, np.int64)
    )


def step(before: float, after: float, ago: int, days: int = 21) -> np.ndarray:
    hours = np.arange(days * 24)
    return np.where(hours < days * 24 - ago, before, after)


def two_weeks(history: TaskHours) -> dict[str, Baseline]:
    """Of every task the first fourteen days."""
    start = int(history.hours[0])
    return {task: Baseline(task, start, start + 14 * 24, "trailing", 0) for task in history.tasks}


def of(findings: list[Finding], task: str, stream: Stream = "escalation_rate") -> Finding:
    (found,) = (one for one in findings if one.task == task and one.stream == stream)
    return found


@pytest.fixture(scope="module")
def mixed() -> tuple[TaskHours, list[Finding]]:
    rates = {f"steady {number}": step(0.3, 0.3, 0) for number in range(5)}
    history = hours_of(
        {"up": step(0.2, 0.35, 60), "down": step(0.4, 0.25, 50), "piled": step(0.3, 0.3, 0), **rates},
        piled={"piled": 40},
    )
    return history, judge(history, two_weeks(history), YEARLY, END)


def test_each_task_has_a_finding_on_each_stream(mixed: tuple[TaskHours, list[Finding]]) -> None:
    history, findings = mixed
    assert [(one.task, one.stream) for one in findings] == [
        (task, stream) for task in history.tasks for stream in WEIGHTS
    ]


def test_a_shift_drifts_since_its_hour_and_its_windows_say_from_where_to_where(
    mixed: tuple[TaskHours, list[Finding]],
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
    mixed: tuple[TaskHours, list[Finding]],
) -> None:
    assert of(mixed[1], "piled").state == "quiet"
    shape = of(mixed[1], "piled", "confidence_shape")
    assert shape.state == "drifting"
    assert shape.since_hour == pytest.approx(END - 40, abs=2)


def test_tasks_that_stay_the_same_are_quiet(mixed: tuple[TaskHours, list[Finding]]) -> None:
    steady = [one for one in mixed[1] if one.task.startswith("steady")]
    assert {one.state for one in steady} == {"quiet"}
    assert all(one.since_hour is None and one.paged_hour is None for one in steady)
    last_day = steady[0].current
    assert last_day is not None
    assert (last_day.start_hour, last_day.end_hour) == (END - 24, END)


def test_the_same_hours_give_the_same_findings(mixed: tuple[TaskHours, list[Finding]]) -> None:
    assert judge(mixed[0], two_weeks(mixed[0]), YEARLY, END) == mixed[1]


def test_the_budget_is_shared_by_tasks_and_streams(mixed: tuple[TaskHours, list[Finding]]) -> None:
    (needed,) = {one.log_needed for one in mixed[1]}
    assert needed == pytest.approx(np.log(8 * 8_760 / 0.5))
    generous = judge(mixed[0], two_weeks(mixed[0]), PageBudget(100.0, 8_760.0), END)
    assert generous[0].log_needed == pytest.approx(needed - np.log(100))


def test_the_hour_in_progress_is_not_looked_at(mixed: tuple[TaskHours, list[Finding]]) -> None:
    history = mixed[0]
    earlier = judge(history, two_weeks(history), YEARLY, END - 1)
    spoiled = replace(history, escalated=history.escalated.copy(), confidence=history.confidence.copy())
    spoiled.escalated[:, -1] = 0
    spoiled.confidence[:, -1] = 0
    assert judge(spoiled, two_weeks(history), YEARLY, END - 1) == earlier
    assert {one.hour for one in earlier} == {END - 2}


def test_a_spike_of_two_hours_pages_nobody() -> None:
    rates = {f"t{number}": step(0.3, 0.3, 0) for number in range(4)}
    rates["spiky"] = step(0.3, 0.3, 0)
    rates["spiky"][-30:-28] = 0.7
    history = hours_of(rates)
    for now in (END - 28, END - 26, END - 20, END):
        found = of(judge(history, two_weeks(history), YEARLY, now), "spiky")
        assert found.state in ("suspect", "quiet")
        assert found.paged_hour is None
    assert found.state == "quiet"


@pytest.mark.parametrize("per_hour", [10, 300])
def test_forty_tasks_without_a_shift_page_nobody(per_hour: float) -> None:
    rates = {f"t{number}": step(rate, rate, 0) for number, rate in enumerate(np.linspace(0.05, 0.9, 40))}
    history = hours_of(rates, per_hour, seed=11)
    findings = judge(history, two_weeks(history), PageBudget(1.0, 720.0), END)
    assert [one.task for one in findings if one.paged_hour is not None] == []


def test_a_shift_that_ended_is_quiet_again() -> None:
    rates = {f"t{number}": step(0.3, 0.3, 0) for number in range(4)}
    rates["back"] = step(0.3, 0.3, 0)
    rates["back"][-120:-72] = 0.5
    history = hours_of(rates)
    then = of(judge(history, two_weeks(history), YEARLY, END - 72), "back")
    assert then.state == "drifting"
    assert of(judge(history, two_weeks(history), YEARLY, END), "back").state == "quiet"


def test_two_odd_hours_within_a_shift_do_not_end_it() -> None:
    rates = {f"t{number}": step(0.3, 0.3, 0) for number in range(4)}
    rates["down"] = step(0.4, 0.25, 72)
    rates["down"][-12:-10] = 0.5
    history = hours_of(rates, per_hour=100)
    paged = {
        of(judge(history, two_weeks(history), YEARLY, now), "down").paged_hour
        for now in range(END - 12, END + 1)
    }
    assert len(paged) == 1
    assert None not in paged


@pytest.mark.parametrize("days", [1, 3, 6])
def test_a_short_reference_is_still_learning(days: int) -> None:
    history = hours_of({"new": step(0.3, 0.3, 0, days)})
    start = int(history.hours[0])
    findings = judge(history, {"new": Baseline("new", start, start + 168, "trailing", 0)}, YEARLY, END)
    assert [(one.state, one.days_learned, one.days_needed) for one in findings] == [("learning", days, 7)] * 2
    assert all(one.log_evidence == 0 for one in findings)


def test_a_silent_task_is_no_data_whatever_was_found_before() -> None:
    history = hours_of({"gone": step(0.2, 0.5, 60), "other": step(0.3, 0.3, 0)})
    for counts in (history.calls, history.escalated, history.confidence):
        counts[0, -8:] = 0
    drifting = judge(history, two_weeks(history), YEARLY, END - 8)
    assert of(drifting, "gone").state == "drifting"
    silent = judge(history, two_weeks(history), YEARLY, END)
    assert [(one.state, one.since_hour) for one in silent if one.task == "gone"] == [("no_data", END - 8)] * 2
    assert of(silent, "other").state == "quiet"


def test_a_task_that_always_sleeps_at_night_is_not_missed_at_night() -> None:
    history = hours_of({"office": step(0.3, 0.3, 0), "other": step(0.3, 0.3, 0)})
    closed = np.isin(history.hours % 24, [*range(7), *range(17, 24)])
    for counts in (history.calls, history.escalated, history.confidence):
        counts[0, closed] = 0
    assert of(judge(history, two_weeks(history), YEARLY, END), "office").state == "quiet"


def test_a_rare_task_is_not_missed() -> None:
    history = hours_of({"rare": step(0.3, 0.3, 0)}, per_hour=0.5)
    for counts in (history.calls, history.escalated, history.confidence):
        counts[0, -20:] = 0
    assert of(judge(history, two_weeks(history), YEARLY, END), "rare").state == "quiet"


def test_a_task_without_confidences_is_judged_by_its_rate_alone() -> None:
    history = hours_of({"bare": step(0.2, 0.4, 60), "other": step(0.3, 0.3, 0)})
    history.confidence[0] = 0
    findings = judge(history, two_weeks(history), YEARLY, END)
    assert [one.stream for one in findings if one.task == "bare"] == ["escalation_rate"]
    assert of(findings, "bare").state == "drifting"


def test_references_of_different_lengths_are_learned_together() -> None:
    history = hours_of({"old": step(0.2, 0.35, 60), "young": step(0.2, 0.35, 60)})
    start = int(history.hours[0])
    history.calls[1, :192] = history.escalated[1, :192] = 0
    history.confidence[1, :192] = 0
    baselines = {
        "old": Baseline("old", start, start + 14 * 24, "trailing", 0),
        "young": Baseline("young", start + 192, start + 192 + 168, "accepted", 0),
    }
    findings = judge(history, baselines, YEARLY, END)
    assert {one.state for one in findings if one.stream == "escalation_rate"} == {"drifting"}


def test_a_first_day_that_is_not_whole_does_not_count() -> None:
    history = hours_of({"a": step(0.3, 0.3, 0, 3), "b": step(0.3, 0.3, 0, 3)})
    history.calls[1, :5] = 0
    first = END // 24 - 3
    days = days_with_calls(history)
    assert days[0].tolist() == [first, first + 1, first + 2]
    assert days[1].tolist() == [first + 1, first + 2]


def test_the_day_in_progress_is_not_learned_yet() -> None:
    history = hours_of({"a": step(0.3, 0.3, 0, 7)})
    start = int(history.hours[0])
    baseline = {"a": Baseline("a", start, start + 168, "trailing", 0)}
    assert of(judge(history, baseline, YEARLY, END - 1), "a").days_learned == 6
    assert of(judge(history, baseline, YEARLY, END), "a").state == "quiet"


def test_an_empty_history_has_no_findings() -> None:
    nothing = hours_of({"a": step(0.3, 0.3, 0, 1)})
    nothing = replace(
        nothing,
        tasks=(),
        tiers=(),
        calls=nothing.calls[:0],
        escalated=nothing.escalated[:0],
        confidence=nothing.confidence[:0],
        threshold_cell=nothing.threshold_cell[:0],
    )
    assert judge(nothing, {}, YEARLY, END) == []
