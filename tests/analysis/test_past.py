"""The last days, looked at once a day: who began to drift when, and what each day is compared with."""

from __future__ import annotations

from cascade_otel.analysis.watching.past import PastDay, Said, past_days
from cascade_otel.records import Finding, Stream, TaskState
from cascade_otel.storage.state import Baseline

END_DAY = 20_000
STREAMS: tuple[Stream, ...] = ("escalation_rate", "confidence_shape")


def finding(state: TaskState, stream: Stream = "escalation_rate", task: str = "a") -> Finding:
    return Finding(task, "small", stream, state, END_DAY * 24 - 1)


def reference(end_day: int, task: str = "a") -> Baseline:
    return Baseline(task, (end_day - 7) * 24, end_day * 24, "trailing", 0)


def days_of(by_day: dict[int, list[Finding]], end_day: int = END_DAY - 10) -> list[PastDay]:
    """Three days on which each look finds what ``by_day`` says of the day, else nothing."""

    def look(hour: int, before: Said | None) -> Said:
        return by_day.get(hour // 24 - 1 - END_DAY, [finding("quiet")]), {"a": reference(end_day)}

    return past_days(look, STREAMS, END_DAY, 3)


def pages(days: list[PastDay]) -> list[list[str]]:
    return [sorted(day.paged) for day in days]


def test_a_shift_is_one_page_on_the_day_it_began_to_drift() -> None:
    drifting = [finding("drifting"), finding("drifting", "confidence_shape")]
    assert pages(days_of({-2: drifting, -1: drifting})) == [[], ["a"], []]


def test_a_second_stream_is_no_second_page_and_a_second_shift_is_one() -> None:
    rate, shape = finding("drifting"), finding("drifting", "confidence_shape")
    assert pages(days_of({-3: [rate], -2: [finding("quiet"), shape], -1: [rate, shape]})) == [["a"], [], []]
    assert pages(days_of({-3: [rate], -1: [rate]})) == [["a"], [], ["a"]]


def test_fixed_limits_suspects_and_groups_are_no_pages_about_a_task() -> None:
    limit = finding("drifting", "tier_errors")
    group = Finding("all", "", "escalation_rate", "drifting", 0, group="all", tasks=("a", "b"))
    assert pages(days_of({-2: [limit, finding("suspect"), group]})) == [[], [], []]


def test_a_day_is_compared_only_with_a_reference_that_is_over_and_learned() -> None:
    assert [sorted(day.references) for day in days_of({}, END_DAY - 1)] == [[], [], ["a"]]
    learning = {day: [finding("learning")] for day in (-3, -2)}
    assert [sorted(day.references) for day in days_of(learning)] == [[], [], ["a"]]


def test_each_look_is_told_what_the_one_before_said() -> None:
    told: list[tuple[int, Said | None]] = []

    def look(hour: int, before: Said | None) -> Said:
        told.append((hour, before))
        return [finding("quiet")], {"a": reference(END_DAY - 10)}

    done: list[int] = []
    past_days(look, STREAMS, END_DAY, 2, done.append)
    assert [hour for hour, _ in told] == [(END_DAY - 1) * 24, END_DAY * 24]
    assert told[0][1] is None
    assert told[1][1] is not None
    assert done == [1, 2]
