from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cascade_otel.presentation import sentences
from cascade_otel.presentation.periods import period
from cascade_otel.presentation.second_opinion import MethodPages, SecondOpinion
from cascade_otel.presentation.source import Reach, Watch
from cascade_otel.presentation.verdicts import verdict
from cascade_otel.records import ALL_TASKS, HOUR_NS, SECOND_NS, Finding, Stream
from cascade_otel.storage.state import Baseline
from tests.presentation.small_store import NOW_HOUR, alert, findings

NOW_NS = NOW_HOUR * HOUR_NS
FRESH = Reach(NOW_HOUR - 240, NOW_HOUR, NOW_NS - 40 * SECOND_NS)
STEADY, YOUNG, SHIFTED = findings()


def watch(*found: Finding, alerts: tuple[object, ...] = (), tick_ns: int | None = NOW_NS) -> Watch:
    return Watch(findings=found, alerts=alerts, last_tick_ns=tick_ns)  # type: ignore[arg-type]  # any sequence does


def banner(seen: Watch, reach: Reach | None = FRESH, tasks: int = 8) -> list[tuple[str, str | None, str]]:
    return [(line.tone, line.task, line.text) for line in sentences.banner(seen, tasks, reach, NOW_NS)]


def test_quiet_is_one_sentence() -> None:
    assert banner(watch(STEADY)) == [("good", None, "Nothing has shifted. 8 tasks watched, data 40 s old.")]


def test_an_alert_says_from_where_to_where_since_when_why_and_what_it_costs() -> None:
    seen = watch(STEADY, SHIFTED, alerts=(alert(SHIFTED),))
    ((tone, task, text),) = banner(seen)
    assert (tone, task) == ("bad", "shifted")
    since = sentences.words.hour(NOW_HOUR - 48)
    assert text == (
        f"is drifting: escalation 20% → 40% since {since} (2 d), likely the model (+19 points), +$3.84 a day."
    )


def test_all_firing_alerts_are_told_worst_first() -> None:
    weaker = replace(SHIFTED, task="weaker", log_evidence=12.0)
    errors = replace(STEADY, stream="tier_errors", state="drifting", value=0.62, limit=0.5, log_needed=0.0)
    seen = watch(
        SHIFTED,
        weaker,
        STEADY,
        errors,
        alerts=tuple(
            alert(one, fingerprint=name) for name, one in {"a": weaker, "b": SHIFTED, "c": errors}.items()
        ),
    )
    assert [task for _, task, _ in banner(seen)] == ["steady", "shifted", "weaker"]


@pytest.mark.parametrize(
    ("stream", "value", "limit", "text"),
    [
        ("tier_errors", 0.62, 0.5, "62% of calls to small fail since {}; the limit is 50%."),
        (
            "missing_confidence",
            0.9,
            0.5,
            "90% of answers of small have no confidence since {}; the limit is 50%.",
        ),
        ("escalation_limit", 0.55, 0.4, "escalates 55% of its calls since {}; the limit is 40%."),
        ("cost_limit", 31.0, 25.0, "has cost $31.00 since midnight UTC; the limit is $25.00."),
        ("no_data", None, None, "has sent no calls since {}."),
    ],
)
def test_each_fixed_limit_says_what_was_measured(
    stream: Stream, value: float | None, limit: float | None, text: str
) -> None:
    finding = replace(STEADY, stream=stream, state="drifting", value=value, limit=limit, log_needed=0.0)
    ((_, _, said),) = banner(watch(finding, alerts=(alert(finding),)))
    assert said == text.format(f"{sentences.words.hour(NOW_HOUR - 1)} (60 min)")


def test_an_alert_on_a_limit_tells_what_the_last_tick_measured() -> None:
    opened = replace(STEADY, stream="tier_errors", state="drifting", value=1.0, limit=0.5, log_needed=0.0)
    easing = replace(opened, state="quiet", value=0.444)
    other = replace(opened, tier="large", value=0.9)
    ((_, _, said),) = banner(watch(other, easing, alerts=(alert(opened),)))
    assert said.startswith("44% of calls to small fail since ")
    assert said.endswith("; the limit is 50%, and the alert ends well below it.")
    line = sentences.task_line(verdict(watch(other, easing, alerts=(alert(opened),)), "steady"), NOW_NS)
    assert line.text == said


def test_an_alert_on_a_limit_that_nothing_measured_lately_is_told_in_the_past() -> None:
    opened = replace(STEADY, stream="tier_errors", state="drifting", value=1.0, limit=0.5, log_needed=0.0)
    seen = watch(STEADY, alerts=(alert(opened),))
    ((_, _, said),) = banner(seen)
    assert said.startswith("100% of calls to small failed, since ")
    assert sentences.task_line(verdict(seen, "steady"), NOW_NS).text == said


def test_lack_of_calls_never_looks_resolved() -> None:
    seen = watch(replace(SHIFTED, state="no_data"), alerts=(alert(SHIFTED, status="no_data"),))
    ((tone, _, text),) = banner(seen)
    assert tone == "warn"
    assert text.startswith("was drifting when its calls stopped: escalation 20% → 40%")


def test_a_shape_that_moved_says_so() -> None:
    shape = replace(SHIFTED, stream="confidence_shape", cause=None, cost_per_day=None)
    ((_, _, text),) = banner(watch(shape, alerts=(alert(shape),)))
    assert text.startswith("is drifting: confidences are spread otherwise than before since ")
    assert text.endswith(", escalation 20% → 40%.")


def suspect(task: str = "shifted", evidence: float = 13.1) -> Finding:
    return replace(
        SHIFTED,
        task=task,
        state="suspect",
        log_evidence=evidence,
        log_needed=12.6,
        suspect_hour=NOW_HOUR - 3,
        paged_hour=None,
        cause=None,
    )


def test_a_suspect_is_told_with_its_evidence_and_what_happens_next() -> None:
    seen = watch(suspect(), STEADY, alerts=(alert(SHIFTED, status="pending"),))
    ((tone, task, text),) = banner(seen)
    assert (tone, task) == ("warn", "shifted")
    since = sentences.words.hour(NOW_HOUR - 48)
    assert text == (
        f"has been suspect for 3 h: escalation 20% → 40% since {since}, +$3.84 a day, evidence 13.1 of 12.6. "
        "Nobody is alerted yet: it pages if the change stands, and ends without a word if it was a spike."
    )


def test_a_suspect_comes_after_alerts_and_is_not_told_twice() -> None:
    again = replace(suspect(), stream="confidence_shape")
    seen = watch(SHIFTED, again, suspect("other"), alerts=(alert(SHIFTED),))
    assert [(tone, task) for tone, task, _ in banner(seen)] == [("bad", "shifted"), ("warn", "other")]


def test_of_many_suspects_the_three_with_most_evidence_are_told() -> None:
    seen = watch(*(suspect(f"task {place}", 13.0 + place / 10) for place in range(5)))
    lines = banner(seen)
    assert [task for _, task, _ in lines] == ["task 4", "task 3", "task 2", None]
    assert lines[-1][2] == "2 more are suspect: see the table."


def test_old_data_and_a_dead_job_are_trouble() -> None:
    old = Reach(0, NOW_HOUR - 30, NOW_NS - 30 * HOUR_NS)
    lines = banner(watch(STEADY, tick_ns=NOW_NS - 3 * HOUR_NS), old)
    assert [tone for tone, _, _ in lines] == ["warn", "warn"]
    assert lines[0][2].startswith("The drift job last ran 3 h ago")
    assert lines[1][2].startswith("The last call ended 30 h ago")


def test_a_job_that_never_ran_is_told() -> None:
    assert banner(Watch())[0][2] == (
        "Nothing judges these tasks: the drift job has not run. Start: cascade-otel serve"
    )


def test_an_empty_store_says_so() -> None:
    assert banner(Watch(), None) == [("plain", None, "No calls have arrived yet.")]


def test_learning_alone_is_not_called_quiet() -> None:
    ((tone, _, text),) = banner(watch(YOUNG))
    assert (tone, text[:20]) == ("plain", "Nothing to judge yet")


def test_where_nothing_was_judged_the_banner_is_not_green_and_says_when_it_will_be() -> None:
    errors = replace(STEADY, stream="tier_errors", state="quiet", value=0.1, limit=0.5, log_needed=0.0)
    for seen in (watch(), watch(errors)):
        ((tone, _, text),) = banner(seen, tasks=1)
        assert tone == "plain"
        assert text == (
            "Nothing to judge yet: first judged when the hour is over, 17:00 UTC. "
            "1 task watched, data 40 s old."
        )


def test_a_task_that_is_new_says_when_it_is_first_judged() -> None:
    new, never = (sentences.task_line(verdict(seen, "new"), NOW_NS) for seen in (watch(), Watch()))
    assert new.text == "is new: first judged when the hour is over, 17:00 UTC."
    assert never.text == "has not been judged yet: the drift job has not run."


def test_an_empty_time_line_says_why() -> None:
    over = period("7d", NOW_HOUR, NOW_HOUR)
    assert sentences.no_rate(3, over) == "No hour with calls is over yet: the curve begins at 17:00 UTC."
    assert sentences.no_rate(0, over) == sentences.NO_DECISIONS


@pytest.mark.parametrize(
    ("finding", "tone", "text"),
    [
        (STEADY, "good", "is quiet: 20% of calls escalate, 20% in the reference."),
        (YOUNG, "plain", "is learning, day 3 of 7: 5 more whole days of calls until it is judged."),
        (replace(SHIFTED, state="suspect"), "warn", "is suspect: escalation 20% → 40%"),
        (replace(STEADY, state="no_data"), "warn", "has sent no calls for a while. Whether it has shifted"),
        (
            replace(STEADY, state="no_data", since_hour=NOW_HOUR - 8),
            "warn",
            f"has sent no calls since {sentences.words.hour(NOW_HOUR - 8)}. Whether it has shifted",
        ),
    ],
)
def test_a_task_says_its_state(finding: Finding, tone: str, text: str) -> None:
    line = sentences.task_line(verdict(watch(finding), finding.task), NOW_NS)
    assert line.tone == tone
    assert line.text.startswith(text)


def test_why_tells_the_note_the_interval_and_the_evidence() -> None:
    text = sentences.why(verdict(watch(SHIFTED), "shifted"))
    assert text.startswith("small-b answers now. The change lies between ")
    assert text.endswith("Evidence of a change: 25.0; an alert needs 10.9.")


def test_why_tells_a_suspect_since_when_the_evidence_suffices() -> None:
    text = sentences.why(verdict(watch(suspect()), "shifted"))
    assert f"an alert needs 12.6, which it has since {sentences.words.hour(NOW_HOUR - 3)}: it pages" in text


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("trailing", "past days that move on as long as the task is quiet."),
        ("pinned", "past days that are held still until the task is quiet again."),
        ("accepted", "what began then was accepted as the new normal on 24 Nov 16:00 UTC."),
        ("version", "the days since its version came, chosen on 24 Nov 16:00 UTC."),
        ("chosen", "days that cascade.toml names."),
    ],
)
def test_the_reference_is_told_with_its_reason(reason: Any, text: str) -> None:
    baseline = Baseline("shifted", 489_600, 489_768, reason, NOW_NS)
    assert sentences.reference(baseline) == f"Compared with 8 Nov to 15 Nov: {text}"
    assert sentences.reference(None) == ""


def test_a_group_says_that_its_tasks_moved_together() -> None:
    whole = replace(SHIFTED, task="all tasks", group=ALL_TASKS, tasks=("steady", "young"), cause=None)
    part = replace(STEADY, state="drifting", group="tasks of small-b")
    about, member = (verdict(watch(one), one.task) for one in (whole, part))
    assert ", 2 tasks affected, +$3.84 a day." in sentences.task_line(about, NOW_NS).text
    assert sentences.part_of_group(about) == "It is about all tasks: one page for all of them."
    assert sentences.part_of_group(member) == (
        "It moved together with tasks of small-b, for which there is one page."
    )
    assert sentences.part_of_group(verdict(watch(STEADY), "steady")) == ""


def test_evidentlys_pages_are_told_beside_the_detectors() -> None:
    counted = SecondOpinion(
        "shifted",
        ("confidence",),
        22,
        1,
        (MethodPages("psi", 4, 2, 22), MethodPages("es", 0, 0, 0)),
    )
    assert sentences.second_opinion(counted) == (
        "Pages about this task in 22 days. Evidently: psi 4, es cannot be computed; the detector: 1."
    )
    assert sentences.second_opinion(replace(counted, days=0)).startswith("None of the days could be compared")


def test_commands_quote_a_hostile_name() -> None:
    assert sentences.accept_command("a; rm -rf /", "/store") == (
        "cascade-otel drift accept 'a; rm -rf /' \\\n  --store /store"
    )
