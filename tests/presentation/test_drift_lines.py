"""The table of ``cascade-otel drift``."""

from __future__ import annotations

from dataclasses import replace

from cascade_otel.presentation import drift_lines
from cascade_otel.records import Finding
from tests.alerting.alert_samples import LIMIT, RATE, finding


def rows(*findings: Finding) -> list[str]:
    return drift_lines.lines(findings)[1:]


def test_the_worst_task_is_first_and_a_quiet_one_has_a_row_of_its_own() -> None:
    quiet, learning = (
        replace(RATE, task=task, state=state, days_learned=2)
        for task, state in (("aa", "quiet"), ("bb", "learning"))
    )
    table = rows(quiet, learning, RATE)
    assert [row.split()[0] for row in table[:3]] == ["organic", "bb", "aa"]
    assert "learning, day 3 of 7" in table[1]


def test_a_shift_says_from_what_to_what_since_when_why_and_at_what_cost() -> None:
    (sentence,) = rows(RATE)[2:]
    for part in ("organic drifting", "20% → 31%", "since 27 Mar", "cause model", "+$3.20 a day"):
        assert part in sentence


def test_streams_are_told_in_their_own_units() -> None:
    assert "820 ms → 2.4 s" in rows(finding("latency_accepted"))[2]
    assert "2.1% → 8.4%" in rows(finding("error_rate"))[2]
    assert "tier errors: 100% of calls, limit 50%" in rows(LIMIT)[2]


def test_a_group_is_told_once_with_its_tasks() -> None:
    group = replace(RATE, task="tasks of nano", tier="", group="tasks of nano", tasks=("organic", "colour"))
    members = [replace(RATE, task=task, group="tasks of nano") for task in group.tasks]
    table = rows(group, *members)
    assert len([row for row in table if "drifting:" in row]) == 1
    assert "tasks organic, colour" in table[-1]


def test_a_suspect_says_what_happens_next() -> None:
    assert "it pages if it stands" in rows(replace(RATE, state="suspect"))[2]


def test_names_cannot_break_the_table() -> None:
    table = rows(replace(RATE, task="a\nb\x1b[31m" + "x" * 500))
    assert len(table) == 3
    assert all(row.isprintable() for row in table)
