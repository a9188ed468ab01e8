"""A shift that tasks share is one finding, and only such a one."""

from __future__ import annotations

from cascade_otel.analysis.watching.monitor import Monitor
from cascade_otel.records import ALL_TASKS, Finding
from tests.analysis.counted import END, Counted, judged, of_rates, step, weeks

DAYS, AGO = 19, 60
NAMES = tuple(f"t{place}" for place in range(8))
MODELS = {name: "mini" if place < 5 else "other" for place, name in enumerate(NAMES)}


def fleet(moved: dict[str, int], after: float = 0.32, seed: int = 3) -> Counted:
    """Eight tasks, some of which move so many hours before the end; escalations alone."""
    rates = {name: step(0.2, after if name in moved else 0.2, moved.get(name, 0), DAYS) for name in NAMES}
    counted = of_rates(rates, 50, seed)
    del counted.cells["confidence"]
    return counted


def groups_in(findings: list[Finding]) -> list[Finding]:
    return [one for one in findings if one.tasks]


def test_what_the_tasks_of_a_model_share_is_one_finding_that_lists_them() -> None:
    shared = dict.fromkeys(NAMES[:4], AGO)
    found = judged(fleet(shared), models=MODELS)
    (group,) = (one for one in groups_in(found) if one.task == "tasks of mini")
    assert (group.task, group.group, group.tier, group.state) == ("tasks of mini",) * 2 + ("", "drifting")
    assert group.tasks == NAMES[:4]
    assert group.since_low_hour is not None
    assert group.since_high_hour is not None
    assert group.since_low_hour <= END - AGO <= group.since_high_hour
    assert group.log_evidence >= group.log_needed > 0
    assert group.reference is not None
    assert group.current is not None
    assert group.current.rate > group.reference.rate + 0.08
    named = {one.task: one.group for one in found if not one.tasks and one.stream == "escalation_rate"}
    assert {task for task, name in named.items() if name} == set(NAMES[:4])
    assert found.index(group) >= len(NAMES), "groups come after the tasks"


def test_what_tasks_of_all_models_share_is_found_for_all_of_them() -> None:
    found = judged(fleet(dict.fromkeys(NAMES, AGO)), models=MODELS)
    every = next(one for one in groups_in(found) if one.task == ALL_TASKS)
    assert (every.state, every.tasks) == ("drifting", NAMES)


def test_tasks_that_move_at_hours_of_their_own_are_no_group() -> None:
    found = judged(fleet({"t0": 40, "t1": 75, "t2": 110}, after=0.4), models=MODELS)
    assert sum(one.state == "drifting" for one in found) == 3
    assert groups_in(found) == []
    assert all(one.group is None for one in found)


def test_one_task_is_never_a_group() -> None:
    found = judged(fleet({"t0": 60}, after=0.6), models=MODELS)
    assert [one.task for one in found if one.state == "drifting"] == ["t0"]
    assert groups_in(found) == []


def test_tasks_whose_model_is_unknown_or_that_are_too_few_are_told_one_by_one() -> None:
    shared = dict.fromkeys(NAMES[:2], AGO)
    two_models = {name: "mini" if name in shared else "" for name in NAMES}
    assert groups_in(judged(fleet(shared), models=two_models)) == []
    unknown = judged(fleet(dict.fromkeys(NAMES[:4], AGO)))
    assert groups_in(unknown) == []


def test_a_groups_page_keeps_its_hour_until_it_ends() -> None:
    rates = {name: step(0.2, 0.2, 0, DAYS) for name in NAMES}
    for name in NAMES[:5]:
        rates[name][-110:-48] = 0.36
    counted = of_rates(rates, 60, 5)
    del counted.cells["confidence"]
    monitor, last = Monitor(), []
    states, pages = {}, set()
    for now in range(END - 96, END + 1, 6):
        last = judged(counted, weeks(counted, 10), now, monitor=monitor, models=MODELS, last=last)
        group = next((one for one in groups_in(last) if one.task == "tasks of mini"), None)
        states[now] = group.state if group else "none"
        pages |= {group.paged_hour} if group and group.paged_hour else set()
    assert states[END - 48] == "drifting"
    assert states[END] == "none"
    assert len(pages) == 1
    assert pages.pop() < END - 48


def test_a_quiet_fleet_has_no_groups() -> None:
    for seed in range(3):
        assert groups_in(judged(fleet({}, seed=40 + seed), models=MODELS)) == []


def test_a_large_group_is_found_before_most_of_its_tasks_are() -> None:
    many = [f"t{place:02}" for place in range(24)]
    counted = of_rates({name: step(0.2, 0.28, 72, DAYS) for name in many}, 40, 8)
    del counted.cells["confidence"]
    models = dict.fromkeys(many, "mini")
    monitor, last = Monitor(), []
    for now in range(END - 60, END + 1, 6):
        last = judged(counted, now_hour=now, monitor=monitor, models=models, last=last)
        if any(one.paged_hour is not None for one in groups_in(last)):
            break
    paged = [one.task for one in last if one.paged_hour is not None and not one.tasks]
    (group,) = groups_in(last)
    assert group.paged_hour is not None
    assert len(paged) < len(many) / 2
    assert len(group.tasks) > len(paged)
