"""What people and programs read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_otel.alerting import message, states
from cascade_otel.records import HOUR_NS, Alert, Cause, CauseName, Effect, Stream
from tests.alerting.alert_samples import (
    CAUSE,
    HOUR,
    LIMIT,
    NOW_NS,
    RATE,
    SILENT,
    STREAMS,
    calm,
    finding,
    opened,
)

URL = "http://127.0.0.1:8501"
ALL = "100 % of calls (112 of 112 in 10 minutes; limit 50 %)"
FEW = "1 % of calls (1 of 112 in 10 minutes; limit 50 %)"
NOTHING = Effect(0.0, 0.0, 0.0)


def resolved(stream: Stream) -> Alert:
    (alert,) = states.advance([opened(finding(stream))], [calm(stream)], "store", NOW_NS + 4 * HOUR_NS).notify
    return alert


def fallen_silent() -> Alert:
    (alert,) = states.advance([opened(RATE)], [SILENT], "store", NOW_NS).notify
    return alert


def dropped() -> Alert:
    suspect = opened(replace(RATE, state="suspect"))
    return states.advance([suspect], [SILENT], "store", NOW_NS).alerts[0]


EVERY = {
    **{f"{stream} firing": opened(finding(stream)) for stream in STREAMS},
    **{f"{stream} resolved": resolved(stream) for stream in STREAMS},
    "pending": opened(replace(RATE, state="suspect", log_evidence=9.0, paged_hour=None)),
    "silent": fallen_silent(),
    "joined": opened(RATE, finding("confidence_shape")),
    "pending silent": dropped(),
    "learning": states.advance(
        [opened(RATE)], [finding("escalation_rate", "learning", days_learned=2)], "store", NOW_NS
    ).notify[0],
    "bare": opened(
        replace(RATE, reference=None, current=None, cause=None, cost_per_day=None, since_hour=None)
    ),
    "unmeasured": opened(replace(LIMIT, value=None, limit=None, current=None)),
}


def test_a_shift_says_what_since_when_how_sure_why_and_what_to_do() -> None:
    assert message.text(opened(RATE, finding("confidence_shape")), URL) == (
        "[FIRING] organic: small escalates 31.4 % of calls, was 20.1 % (+11.3 points)\n"
        "Since: 27 Mar 2026 20:00 UTC (90 %: between 27 Mar 2026 04:00 and 28 Mar 2026 02:00)\n"
        "How sure: evidence is 14.3, a page needs 11.8; "
        "without a change a task gets this far once in 189 years, or less often.\n"
        "Calls: 725 of 2,310 escalated since then, 1,970 of 9,800 in the reference.\n"
        "Likely cause: the model. Model +10.2 points (90 %: +8.8 to +11.9), "
        "inputs +0.9 points (90 %: -0.3 to +2.0), threshold 0.0.\n"
        "The answering model changed from nano-0801 to nano-1101 within the interval.\n"
        "Cost: +3.20 USD a day against the reference.\n"
        "With it: other confidences.\n"
        "Do: 1) Look at which model or version changed (marks on the task's chart), "
        "and go back to the former one.\n"
        "Do: 2) If it has to stay: compare answers before and after, then set τ anew.\n"
        "Do: 3) If it is here to stay: cascade-otel drift accept organic (the task learns anew).\n"
        "Runbook: alerts/runbooks.md#cause-model\n"
        "Dashboard: http://127.0.0.1:8501/task?task=organic&range=7d\n"
        "Alert cda2531aa3126fa6"
    )


@pytest.mark.parametrize(
    ("name", "headline"),
    [
        (
            "escalation_rate firing",
            "[FIRING] organic: small escalates 31.4 % of calls, was 20.1 % (+11.3 points)",
        ),
        (
            "confidence_shape firing",
            "[FIRING] organic: small gives other confidences than before; "
            "it escalates 31.4 % of calls, was 20.1 % (+11.3 points)",
        ),
        (
            "tier_errors firing",
            f"[FIRING] organic: small fails in {ALL}",
        ),
        (
            "missing_confidence firing",
            f"[FIRING] organic: small gives no confidence in {ALL}",
        ),
        (
            "escalation_limit firing",
            f"[FIRING] organic: small escalates {ALL}",
        ),
        (
            "cost_limit firing",
            "[FIRING] organic: has cost 121.50 USD since midnight UTC (limit 100.00 USD a day)",
        ),
        ("no_data firing", "[NO DATA] organic: no calls any more"),
        (
            "escalation_rate resolved",
            "[RESOLVED] organic: small escalates as before again: 21.1 % of calls (reference 20.1 %)",
        ),
        ("confidence_shape resolved", "[RESOLVED] organic: small gives confidences as before again"),
        (
            "tier_errors resolved",
            f"[RESOLVED] organic: small answers again: it fails in {FEW}",
        ),
        (
            "missing_confidence resolved",
            f"[RESOLVED] organic: small gives confidences again: none in {FEW}",
        ),
        (
            "escalation_limit resolved",
            f"[RESOLVED] organic: within its limit again: small escalates {FEW}",
        ),
        (
            "cost_limit resolved",
            "[RESOLVED] organic: within its budget again: "
            "3.20 USD since midnight UTC (limit 100.00 USD a day)",
        ),
        ("no_data resolved", "[RESOLVED] organic: calls are back"),
        ("silent", "[NO DATA] organic: no calls any more"),
        ("pending", "[SUSPECT] organic: small escalates 31.4 % of calls, was 20.1 % (+11.3 points)"),
        ("pending silent", "[RESOLVED] organic: a suspicion ended with its calls"),
        ("learning", "[RESOLVED] organic: what it does now is learned anew (day 3 of 7)"),
        ("bare", "[FIRING] organic: small escalates at another rate"),
        ("unmeasured", "[FIRING] organic: small fails in too many calls"),
    ],
)
def test_every_stream_and_status_has_a_headline_of_its_own(name: str, headline: str) -> None:
    assert message.text(EVERY[name], URL).splitlines()[0] == headline


@pytest.mark.parametrize("name", EVERY)
def test_every_message_has_at_most_14_lines_and_ends_in_its_links(name: str) -> None:
    lines = message.text(EVERY[name], URL).splitlines()
    assert len(lines) <= 14
    assert all(lines)
    assert [line.split()[0] for line in lines[-3:]] == ["Runbook:", "Dashboard:", "Alert"]
    steps = [line for line in lines if line.startswith("Do: ")]
    assert len(steps) <= 3
    assert bool(steps) == (EVERY[name].status != "resolved"), "nothing is left to do when it is over"


@pytest.mark.parametrize("cause", get_args(CauseName))
def test_every_cause_has_its_own_steps_and_runbook(cause: CauseName) -> None:
    text = message.text(opened(replace(RATE, cause=replace(CAUSE, name=cause))), URL)
    assert f"alerts/runbooks.md#cause-{cause.replace('_', '-')}" in text
    assert "Do: 1) " in text


def test_a_cause_that_cannot_be_told_shows_no_split() -> None:
    unknown = Cause("unknown", NOTHING, NOTHING, NOTHING, "Too few calls to say.")
    text = message.text(opened(replace(RATE, cause=unknown)), URL)
    assert "Likely cause: cannot be told.\nToo few calls to say.\n" in text


def test_evidence_that_has_fallen_since_the_page_is_not_called_rare() -> None:
    text = message.text(opened(replace(RATE, log_evidence=9.0)), URL)
    assert "How sure: evidence is 9.0, a page needs 11.8; it passed that on 29 Mar 2026 07:00 UTC." in text
    assert "years" not in text


def test_costs_that_are_unknown_are_called_so() -> None:
    assert "Cost: unknown" in message.text(opened(replace(RATE, cost_per_day=None)), URL)


def test_no_name_of_a_task_reaches_a_shell_unless_it_is_one_plain_word() -> None:
    for task in ("$(reboot)", "a b", "--help", "x;y"):
        assert "drift accept TASK" in message.text(opened(replace(RATE, task=task)), URL)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=200))
def test_hostile_names_add_no_line_and_no_markup(task: str, tier: str, note: str) -> None:
    cause = replace(CAUSE, note=f"The model is {note}.")
    alert = opened(replace(RATE, task=task, tier=tier, cause=cause))
    text = message.text(alert, URL)
    assert len(text.splitlines()) == 13
    assert not set(text) & set("<>@`\x1b\u202e")
    assert text.count("://") == 1
    assert json.loads(json.dumps(message.body(alert, URL)).encode())["text"] == text


def test_the_deep_link_quotes_the_task() -> None:
    def link(task: str, url: str = URL) -> str:
        return message.link(replace(opened(RATE), task=task), url)

    assert link("a/b ?&#é\n", URL + "/") == URL + "/task?task=a%2Fb%20%3F%26%23%C3%A9%0A&range=7d"
    assert link("x" * 10_000) == URL, "an address has an end"
    assert link("\ud800") == URL + "/task?task=%3F&range=7d"


def test_runbooks_can_be_elsewhere() -> None:
    text = message.text(opened(LIMIT), URL, runbooks="https://wiki.example/cascade")
    assert "Runbook: https://wiki.example/cascade#tier-errors\n" in text


def test_the_line_for_programs_has_rates_as_fractions_and_times_in_utc() -> None:
    line = message.json_line(opened(RATE))
    assert line == {
        "task": "organic",
        "tier": "small",
        "status": "firing",
        "stream": "escalation_rate",
        "also": [],
        "cause": "model",
        "from": 0.20102,
        "to": 0.313853,
        "since": "2026-03-27T20:00:00Z",
        "since_low": "2026-03-27T04:00:00Z",
        "since_high": "2026-03-28T02:00:00Z",
        "log_evidence": 14.32,
        "log_needed": 11.8,
        "calls": 2310,
        "reference_calls": 9800,
        "effects": {
            "inputs": {"points": 0.9, "low": -0.3, "high": 2.0},
            "model": {"points": 10.2, "low": 8.8, "high": 11.9},
            "threshold": {"points": 0.0, "low": 0.0, "high": 0.0},
        },
        "note": CAUSE.note,
        "cost_per_day": 3.2,
        "currency": "USD",
        "before": None,
        "now": None,
        "quantile": None,
        "group": None,
        "tasks": [],
        "value": None,
        "limit": None,
        "opened": "2026-03-29T17:05:00Z",
        "updated": "2026-03-29T17:05:00Z",
        "resolved": None,
        "fingerprint": "cda2531aa3126fa6",
    }


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_null(bad: float) -> None:
    line = message.json_line(opened(replace(RATE, cost_per_day=bad, log_evidence=bad)))
    assert (line["cost_per_day"], line["log_evidence"]) == (None, None)
    assert json.loads(json.dumps(line, allow_nan=False)) == line


def test_a_fixed_limit_says_what_it_saw() -> None:
    line: dict[str, Any] = message.json_line(opened(LIMIT))
    assert (line["from"], line["to"], line["value"], line["limit"]) == (None, 1.0, 1.0, 0.5)
    assert line["since"] == "2026-03-29T17:05:00Z", "the first tick that saw it"


def test_streams_that_moved_with_it_are_listed_without_the_one_that_speaks() -> None:
    named_by_shape = opened(finding("confidence_shape"))
    (alert,) = states.advance([named_by_shape], [RATE, finding("confidence_shape")], "store", NOW_NS).alerts
    assert message.json_line(alert)["stream"] == "escalation_rate"
    assert message.json_line(alert)["also"] == ["confidence_shape"]


def test_the_body_keeps_slack_from_reading_markup_and_fetching_links() -> None:
    body = message.body(opened(RATE), URL)
    assert (body["mrkdwn"], body["unfurl_links"], body["unfurl_media"]) == (False, False, False)
    reserved = {
        "attachments",
        "blocks",
        "channel",
        "username",
        "icon_url",
        "icon_emoji",
        "thread_ts",
        "link_names",
    }
    assert not set(body) & reserved, "Slack would take these for its own"


def test_since_is_the_hour_of_the_change() -> None:
    assert opened(RATE).start_ns == (HOUR - 44) * HOUR_NS


def test_the_command_names_the_store_it_is_about() -> None:
    told = message.text(opened(RATE), URL, store="/var/lib/my store")
    assert "cascade-otel drift accept organic --store '/var/lib/my store' (the task" in told
