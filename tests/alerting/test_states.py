"""Who hears of what, and how often."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_otel.alerting import states
from cascade_otel.records import HOUR_NS, SECOND_NS, Alert, AlertStatus, Finding, Stream
from tests.alerting.alert_samples import HOUR, LIMIT, NOW_NS, RATE, SILENT, STREAMS, calm, finding, opened

MINUTE_NS = 60 * SECOND_NS
QUIET = calm("escalation_rate")
SHAPE = finding("confidence_shape")


class Ticks:
    """Ticks one after the other, a minute apart, with a store of alerts in between."""

    def __init__(self) -> None:
        self.stored: dict[str, Alert] = {}
        self.now_ns = NOW_NS
        self.told: list[tuple[AlertStatus, Stream]] = []

    def __call__(self, *findings: Finding) -> list[tuple[AlertStatus, Stream]]:
        self.now_ns += MINUTE_NS
        changes = states.advance(list(self.stored.values()), findings, "store", self.now_ns)
        self.stored.update({alert.fingerprint: alert for alert in changes.alerts})
        new = [(alert.status, alert.finding.stream) for alert in changes.notify]
        self.told += new
        return new

    @property
    def open(self) -> list[Alert]:
        return [alert for alert in self.stored.values() if alert.status != "resolved"]


@pytest.fixture
def tick() -> Ticks:
    return Ticks()


@pytest.mark.parametrize("stream", STREAMS)
def test_each_stream_fires_once_and_is_resolved_once(tick: Ticks, stream: Stream) -> None:
    """The firing test of every stream."""
    status = "no_data" if stream == "no_data" else "firing"
    assert tick(finding(stream)) == [(status, stream)]
    assert tick(finding(stream)) == []
    assert tick(calm(stream)) == [("resolved", stream)]
    assert tick(calm(stream)) == []
    assert tick.open == []


@pytest.mark.parametrize("stream", STREAMS)
def test_each_stream_is_silent_when_it_is_as_it_should_be(tick: Ticks, stream: Stream) -> None:
    """The silent test of every stream."""
    assert tick(calm(stream)) == []
    assert tick(finding(stream, "learning")) == []
    assert tick() == []
    assert tick.stored == {}


def test_a_suspicion_is_stored_but_not_told(tick: Ticks) -> None:
    assert tick(replace(RATE, state="suspect")) == []
    assert [alert.status for alert in tick.open] == ["pending"]


def test_a_suspicion_that_is_confirmed_is_told_and_keeps_its_fingerprint(tick: Ticks) -> None:
    """Even if the estimated start has moved meanwhile."""
    tick(replace(RATE, state="suspect", since_hour=HOUR - 3))
    (pending,) = tick.open
    assert tick(RATE) == [("firing", "escalation_rate")]
    (firing,) = tick.open
    assert firing.fingerprint == pending.fingerprint
    assert firing.finding.since_hour == RATE.since_hour


def test_a_spike_is_never_told(tick: Ticks) -> None:
    tick(replace(RATE, state="suspect"))
    assert tick(QUIET) == []
    assert [alert.status for alert in tick.stored.values()] == ["resolved"]


def test_a_shift_that_looks_weaker_for_a_while_is_not_resolved(tick: Ticks) -> None:
    tick(RATE)
    assert tick(replace(RATE, state="suspect")) == []
    assert [alert.status for alert in tick.open] == ["firing"]
    assert tick(RATE) == []


def test_new_numbers_are_stored_without_telling_again(tick: Ticks) -> None:
    tick(RATE)
    (before,) = tick.open
    assert tick(replace(RATE, log_evidence=20.0)) == []
    (after,) = tick.open
    assert after.finding.log_evidence == 20.0
    assert (after.fingerprint, after.opened_ns) == (before.fingerprint, before.opened_ns)
    assert after.updated_ns > before.updated_ns


def test_an_unchanged_alert_is_not_stored_again() -> None:
    alert = opened(RATE)
    assert states.advance([alert], [RATE], "store", NOW_NS + HOUR_NS) == states.Changes([], [])


def test_a_task_accepted_as_it_is_learns_anew_and_its_alert_ends(tick: Ticks) -> None:
    tick(RATE)
    assert tick(finding("escalation_rate", "learning", days_learned=1)) == [("resolved", "escalation_rate")]


def test_a_shift_that_comes_back_is_told_again(tick: Ticks) -> None:
    tick(RATE)
    tick(QUIET)
    assert tick(RATE) == [("firing", "escalation_rate")]


def test_two_streams_of_one_tier_make_one_alert(tick: Ticks) -> None:
    assert tick(RATE, SHAPE) == [("firing", "escalation_rate")]
    (alert,) = tick.open
    assert (alert.stream, alert.also) == ("escalation_rate", ("confidence_shape",))


def test_a_stream_that_joins_is_listed_and_not_told(tick: Ticks) -> None:
    tick(RATE)
    assert tick(RATE, SHAPE) == []
    (alert,) = tick.open
    assert alert.also == ("confidence_shape",)


def test_the_rate_takes_over_the_text_from_the_shape_but_not_the_name(tick: Ticks) -> None:
    tick(SHAPE)
    (before,) = tick.open
    assert tick(RATE, SHAPE) == []
    (after,) = tick.open
    assert after.finding.stream == "escalation_rate"
    assert (after.stream, after.fingerprint) == ("confidence_shape", before.fingerprint)


def test_an_alert_stays_while_any_of_its_streams_moves(tick: Ticks) -> None:
    tick(RATE, SHAPE)
    assert tick(QUIET, SHAPE) == []
    assert [alert.finding.stream for alert in tick.open] == ["confidence_shape"]
    assert tick(QUIET, calm("confidence_shape")) == [("resolved", "confidence_shape")]


def test_a_failing_tier_explains_the_rate(tick: Ticks) -> None:
    assert tick(RATE, LIMIT) == [("firing", "tier_errors")]


def test_two_tiers_of_a_task_have_an_alert_each(tick: Ticks) -> None:
    assert tick(LIMIT, replace(LIMIT, tier="large")) == [("firing", "tier_errors")] * 2
    assert len({alert.fingerprint for alert in tick.open}) == 2


def test_a_limit_that_has_too_few_calls_to_say_changes_nothing(tick: Ticks) -> None:
    tick(LIMIT)
    assert tick(QUIET) == []
    assert [alert.status for alert in tick.open] == ["firing"]


def test_a_limit_that_is_passed_again_and_again_is_told_of_once(tick: Ticks) -> None:
    """Resolved only when it is well below."""
    tick(LIMIT)
    for value in (0.49, 0.51, 0.45, 0.52, 0.41):
        state = "drifting" if value >= 0.5 else "quiet"
        assert tick(replace(LIMIT, value=value, state=state)) == []
    assert tick(replace(LIMIT, value=0.4, state="quiet")) == [("resolved", "tier_errors")]


def test_lack_of_calls_resolves_nothing(tick: Ticks) -> None:
    """Told once that calls have stopped; firing again without a word when they are back."""
    tick(RATE)
    (before,) = tick.open
    assert tick(SILENT, finding("confidence_shape", "no_data")) == [("no_data", "escalation_rate")]
    assert tick(SILENT) == []
    (alert,) = tick.open
    assert (alert.status, alert.fingerprint) == ("no_data", before.fingerprint)
    assert tick(RATE) == []
    assert [alert.status for alert in tick.open] == ["firing"]
    assert tick(SILENT) == [], "a second silence of the same alert is no news"
    assert tick(QUIET) == [("resolved", "escalation_rate")]


def test_a_silent_task_with_several_alerts_is_told_of_once(tick: Ticks) -> None:
    tick(LIMIT, replace(LIMIT, tier="large"))
    assert [status for status, _ in tick(SILENT)] == ["no_data"]
    assert {alert.status for alert in tick.open} == {"no_data"}


def test_a_shift_confirmed_as_the_calls_stop_is_told_for_each_tier(tick: Ticks) -> None:
    small, large = LIMIT, replace(LIMIT, tier="large")
    tick(replace(small, state="suspect"), replace(large, state="suspect"))
    assert tick(small, large, finding("no_data")) == [("no_data", "tier_errors")] * 2


def test_an_alert_whose_calls_are_back_fires_on_while_the_shift_is_only_suspected(tick: Ticks) -> None:
    tick(RATE)
    tick(SILENT)
    assert tick(replace(RATE, state="suspect")) == []
    assert [alert.status for alert in tick.open] == ["firing"]


def test_a_silent_task_without_an_alert_gets_one(tick: Ticks) -> None:
    assert tick(SILENT) == [("no_data", "no_data")]
    (alert,) = tick.open
    assert alert.start_ns == (HOUR - 7) * HOUR_NS
    assert tick(SILENT) == []
    assert tick(QUIET) == [("resolved", "escalation_rate")]


def test_a_task_that_is_silent_so_long_that_it_must_learn_anew_stays_silent(tick: Ticks) -> None:
    tick(SILENT)
    assert tick(finding("escalation_rate", "learning")) == []
    assert tick() == []
    assert [alert.status for alert in tick.open] == ["no_data"]


def test_a_suspicion_does_not_outlast_its_calls(tick: Ticks) -> None:
    """The detector keeps the evidence; people hear of the silence alone."""
    tick(replace(RATE, state="suspect"))
    assert tick(SILENT) == [("no_data", "no_data")]
    assert [alert.stream for alert in tick.open] == ["no_data"]


def test_calls_that_come_back_shifted_end_the_silence_and_open_the_shift(tick: Ticks) -> None:
    tick(SILENT)
    assert tick(RATE) == [("resolved", "escalation_rate"), ("firing", "escalation_rate")]
    assert [alert.stream for alert in tick.open] == ["escalation_rate"]


def test_half_of_the_tasks_silent_leaves_the_others_alone(tick: Ticks) -> None:
    assert tick(SILENT, replace(RATE, task="other")) == [
        ("no_data", "no_data"),
        ("firing", "escalation_rate"),
    ]


def test_fingerprints_tell_stores_tasks_tiers_streams_and_starts_apart() -> None:
    one = states.fingerprint("store", "a", "b", "escalation_rate", 5)
    others = {
        states.fingerprint("other", "a", "b", "escalation_rate", 5),
        states.fingerprint("store", "a,b", "", "escalation_rate", 5),
        states.fingerprint("store", "ab", "", "escalation_rate", 5),
        states.fingerprint("store", "a", "b", "confidence_shape", 5),
        states.fingerprint("store", "a", "b", "escalation_rate", 6),
    }
    assert len(others | {one}) == 6
    assert one == "94c1b5bba08d0264", "a fingerprint outlives a version"


FINDINGS = st.builds(
    finding,
    st.sampled_from(STREAMS),
    st.sampled_from(["learning", "quiet", "suspect", "drifting", "no_data"]),
    task=st.sampled_from(["a", "b"]),
    tier=st.sampled_from(["small", "large"]),
    since_hour=st.sampled_from([None, HOUR - 5, HOUR - 4]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(FINDINGS, max_size=5), max_size=8), st.randoms(use_true_random=False))
def test_whatever_is_found_nobody_is_told_twice(sequence: list[list[Finding]], rng: random.Random) -> None:
    tick = Ticks()
    known: dict[str, str] = {}
    for findings in sequence:
        findings = list({(f.task, f.tier, f.stream): f for f in findings}.values())
        before, shuffled = dict(tick.stored), rng.sample(findings, len(findings))
        now_ns = tick.now_ns + MINUTE_NS
        changes = states.advance(list(before.values()), findings, "store", now_ns)
        assert states.advance(list(before.values()), shuffled, "store", now_ns) == changes, (
            "order is no matter"
        )
        for alert in changes.notify:
            assert alert in changes.alerts
            assert alert.status != "pending"
            assert known.get(alert.fingerprint) != alert.status, "told of the same status twice"
            known[alert.fingerprint] = alert.status
        tick(*findings)
        assert tick(*findings) == [], "the same findings again, as after a restart"
        places = Counter((alert.task, alert.tier) for alert in tick.open)
        assert all(count == 1 for count in places.values())
        for fingerprint, alert in tick.stored.items():
            first = before.get(fingerprint)
            if first is not None and first.status != "resolved" and alert.opened_ns == first.opened_ns:
                assert (alert.stream, alert.start_ns) == (first.stream, first.start_ns)


def test_a_task_that_moves_with_its_group_is_stored_and_not_told() -> None:
    group = replace(RATE, task="tasks of nano", tier="", group="tasks of nano", tasks=("organic", "colour"))
    members = [replace(RATE, task=task, group="tasks of nano") for task in group.tasks]
    first = states.advance([], [group, *members], "store", NOW_NS)
    assert [alert.task for alert in first.notify] == ["tasks of nano"]
    assert {alert.task for alert in first.alerts} == {"tasks of nano", "organic", "colour"}
    assert {alert.status for alert in first.alerts} == {"firing"}
    over = [
        replace(one, state="quiet", group=None if one.tasks == () else one.group) for one in (group, *members)
    ]
    last = states.advance(first.alerts, over, "store", NOW_NS + HOUR_NS)
    assert [alert.task for alert in last.notify] == ["tasks of nano"]
    assert {alert.status for alert in last.alerts} == {"resolved"}


def test_a_task_of_a_group_is_told_of_what_moves_beside_it() -> None:
    member = replace(RATE, group="tasks of nano")
    found = states.advance([], [member, finding("latency_accepted")], "store", NOW_NS)
    assert [alert.task for alert in found.notify] == ["organic"]


def test_a_report_on_a_suspicion_is_made_anew_when_it_fires() -> None:
    suspect = replace(opened(replace(RATE, state="suspect")), report="reports/one.html")
    (fired,) = states.advance([suspect], [RATE], "store", NOW_NS).alerts
    assert (fired.status, fired.report) == ("firing", None)


def test_what_moves_later_beside_a_group_is_told() -> None:
    silent = states.advance([], [replace(RATE, group="tasks of nano")], "store", NOW_NS)
    assert silent.notify == []
    failing = states.advance(silent.alerts, [RATE_OF_GROUP, LIMIT], "store", NOW_NS + HOUR_NS)
    assert [alert.told for alert in failing.notify] == [True]
    alone = states.advance(silent.alerts, [RATE], "store", NOW_NS + HOUR_NS)
    assert [alert.status for alert in alone.notify] == ["firing"], "it still moves when its group does not"


def test_an_alert_that_was_told_is_told_when_it_ends_though_it_joined_a_group() -> None:
    told = states.advance([], [RATE], "store", NOW_NS).alerts
    joined = states.advance(told, [RATE_OF_GROUP], "store", NOW_NS + HOUR_NS)
    assert joined.notify == []
    ended = states.advance(joined.alerts, [QUIET], "store", NOW_NS + 2 * HOUR_NS)
    assert [alert.status for alert in ended.notify] == ["resolved"]


RATE_OF_GROUP = replace(RATE, group="tasks of nano")
