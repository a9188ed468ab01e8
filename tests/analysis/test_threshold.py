"""From a store to advised thresholds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cascade_otel import policy
from cascade_otel.analysis.threshold.advice import advise, plain, to_replay
from cascade_otel.records import ThresholdAdvice, UserError
from cascade_otel.statistics.risk.risk_control import certified, count, risk_curve
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store
from tests.analysis.checked_calls import ERRORS, LEVELS, Log, calls, write
from tests.analysis.made_up import END

Advise = Callable[..., ThresholdAdvice]


@pytest.fixture(scope="module")
def advised(tmp_path_factory: pytest.TempPathFactory) -> Advise:
    """Advice for the first of some logs, written to a store."""
    root, stores = tmp_path_factory.mktemp("stores"), dict[tuple[Log, ...], Store]()

    def ask(*logs: Log, **options: object) -> ThresholdAdvice:
        if logs not in stores:
            stores[logs] = write(root / str(len(stores)), *logs)
        with open_reader(stores[logs]) as reader:
            return advise(reader, logs[0].task, **options)  # type: ignore[arg-type]  # as they are named

    return ask


def true_risk(log: Log, threshold: float) -> float:
    weight = np.array(log.weights) / sum(log.weights)
    return float((weight * ERRORS)[threshold <= LEVELS].sum())


def test_advice_from_audits_is_what_the_statistics_say_of_the_same_calls(advised: Advise) -> None:
    """Counted by hand: accepted calls where audited, escalated calls everywhere, by label rate."""
    log = Log()
    advice = advised(log, Log(task="other", seed=2))
    frame = calls(log)
    checked = np.flatnonzero(frame["audited"])
    frame = frame.iloc[checked[0] : checked[-1] + 1]
    known = frame["audited"] | frame["escalated"]
    wrong = np.where(known, frame["wrong"].astype(float), np.nan)
    curve = risk_curve(count(frame["cheap_confidence"], wrong, np.where(frame["escalated"], 1.0, 0.1)), 0.1)
    place = certified(curve, 0.05)
    assert advice.reason == ""
    assert advice.advised is not None
    assert advice.now is not None
    assert advice.advised.threshold == curve.threshold[place]
    assert advice.advised.escalation == pytest.approx(1 - curve.accepted[place])
    assert advice.advised.risk == pytest.approx(curve.estimate[place])
    assert advice.advised.risk_upper == pytest.approx(curve.upper[place])
    assert advice.labelled == known.sum()
    assert (advice.calls, advice.needed, advice.wrong_means) == (6000, 45, "disagrees")
    assert advice.now.threshold == 0.8
    assert true_risk(log, advice.advised.threshold) <= 0.05
    assert [point.threshold for point in advice.curve] == [1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0]


def test_cost_and_latency_of_every_threshold_are_those_of_its_two_paths(advised: Advise) -> None:
    """A cheap call costs .001 and lasts .5 to 1 s; the strong one adds .009 and 2 to 4 s."""
    advice = advised(Log())
    for point in advice.curve:
        assert point.cost == pytest.approx(0.001 + 0.009 * point.escalation)
    assert advice.curve[-1].latency_p95_s == pytest.approx(0.975, abs=0.01)
    assert advice.curve[0].latency_p50_s == pytest.approx(3.6, abs=0.1)


def test_unknown_costs_and_latencies_stay_unknown(advised: Advise) -> None:
    assert {point.cost for point in advised(Log(costs=False)).curve} == {None}


def test_labels_speak_where_there_are_no_audits(advised: Advise) -> None:
    advice = advised(Log(agree=False, labels=0.3, audit_rate=0))
    assert advice.wrong_means == "labelled wrong"
    assert advice.advised is not None
    assert true_risk(Log(), advice.advised.threshold) <= 0.05
    assert any("random share" in remark for remark in advice.remarks)


def test_without_strong_answers_it_says_what_to_switch_on_and_how_much(advised: Advise) -> None:
    advice = advised(Log(agree=False, audit_rate=0))
    assert advice.advised is None
    assert advice.setting is None
    assert "audit=Audit" in advice.reason
    assert "feedback(" in advice.reason
    assert advice.now is not None
    assert (advice.now.risk, advice.now.risk_upper) == (None, None)
    assert advice.audit.rate_now is None
    assert advice.audit.rate in (0.05, 0.07, 0.1)


def test_agreement_of_escalated_calls_alone_says_nothing_of_accepted_ones(advised: Advise) -> None:
    assert "no accepted answer was checked" in advised(Log(audit_rate=0)).reason


def test_where_everything_is_escalated_the_escalated_calls_tell_all(advised: Advise) -> None:
    advice = advised(Log(threshold=1.0, decided_at=1.01, audit_rate=0, calls=3000, weights=(1,) * 9 + (0,)))
    assert advice.advised is not None
    assert advice.advised.escalation < 1
    assert advice.labelled == 3000


def test_too_few_checked_answers_are_said_with_how_many_are_needed(advised: Advise) -> None:
    advice = advised(Log(calls=400, audit_rate=0.05))
    assert advice.advised is None
    assert "below 45 nothing can be certified" in advice.reason
    assert advice.audit.rate is not None
    assert advice.audit.rate > 0.05


def test_where_the_surest_answers_are_too_often_wrong_nothing_is_advised(advised: Advise) -> None:
    advice = advised(Log(weights=(6, 4, 0, 0, 0, 0, 0, 0, 0, 0), threshold=0.5, decided_at=0.5))
    assert advice.advised is None
    assert "wrong answers accepted: more than 5.0%" in advice.reason


def test_decisions_that_contradict_the_recorded_threshold_stop_the_advice(advised: Advise) -> None:
    advice = advised(Log(threshold=0.8, decided_at=0.9))
    assert advice.advised is None
    assert "18% of the decisions contradict confidence < τ 0.8" in advice.reason
    assert "would be 0.9" in advice.reason


def test_a_few_other_decisions_are_kept_as_they_were_and_said(advised: Advise) -> None:
    """4 % are escalated for another reason: no threshold brings the escalation below that."""
    advice = advised(Log(broken=0.05))
    assert advice.advised is not None
    assert advice.curve[-1].escalation == pytest.approx(0.04, abs=0.01)
    assert any("were not decided by confidence" in remark for remark in advice.remarks)


def test_calls_without_a_confidence_are_escalated_at_every_threshold(advised: Advise) -> None:
    advice = advised(Log(unscored=0.1))
    assert advice.curve[-1].escalation == pytest.approx(0.1, abs=0.01)
    assert any("10% of calls have no confidence" in remark for remark in advice.remarks)


def test_a_threshold_nobody_recorded_is_told_or_found_from_the_decisions(advised: Advise) -> None:
    found, told = advised(Log(threshold=None)), advised(Log(threshold=None), declared=0.8)
    assert found.now is not None
    assert told.now is not None
    assert (found.now.threshold, told.now.threshold) == (0.8, 0.8)
    assert found.advised == told.advised


def test_atoms_are_said_plainly(advised: Advise) -> None:
    remarks = advised(Log()).remarks
    assert "any τ above 0.75 and up to 0.8 does the same as τ now, 0.8" in remarks
    assert "30% of the traffic has confidence 0.9: τ from 0.9 to 0.95 moves all of it" in remarks


def test_more_looks_and_smaller_limits_are_stricter(advised: Advise) -> None:
    log = Log(calls=12_000, weights=(1,) * 10, audit_rate=0.05)
    once, weekly, strict = advised(log), advised(log, looks=52), advised(log, alpha=0.02)
    assert once.advised is not None
    assert weekly.advised is not None
    assert strict.advised is not None
    assert weekly.needed > once.needed
    assert once.advised.escalation <= weekly.advised.escalation
    assert once.advised.escalation < strict.advised.escalation


def test_selective_risk_is_of_the_accepted_calls(advised: Advise) -> None:
    advice = advised(Log(calls=12_000), alpha=0.08, selective=True)
    joint = advised(Log(calls=12_000), alpha=0.08)
    assert advice.advised is not None
    assert advice.advised.risk is not None
    assert joint.advised is not None
    point = next(one for one in joint.curve if one.threshold == advice.advised.threshold)
    assert advice.advised.risk == pytest.approx((point.risk or 0) / (1 - point.escalation))
    assert advice.advised.escalation >= joint.advised.escalation


def test_the_setting_is_a_policy_that_says_the_advised_threshold(advised: Advise) -> None:
    task = 'or"ganic\\ 🥛'
    advice = advised(Log(task=task))
    assert advice.setting is not None
    assert advice.advised is not None
    assert policy.parse(advice.setting, "cascade.toml").of(task).threshold == advice.advised.threshold


def test_only_the_days_before_the_end_are_looked_at(advised: Advise) -> None:
    advice = advised(Log(), days=7)
    assert advice.end_hour - advice.start_hour == 168
    assert advice.calls == pytest.approx(3000, abs=200)
    assert advised(Log(), end_hour=END - 24, days=7).end_hour == END - 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "--alpha 0.0 arrived; wanted: a share between 0 and 1"),
        ({"delta": 1.5}, "--delta 1.5 arrived"),
        ({"days": 0}, "--days 0 arrived; wanted: a whole number from 1 on"),
        ({"looks": 0}, "--looks 0 arrived"),
    ],
)
def test_impossible_options_are_refused_in_plain_words(
    advised: Advise, options: dict[str, float], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        advised(Log(calls=50), **options)


def test_an_unknown_task_is_answered_with_the_tasks_there_are(tmp_path: Path) -> None:
    store = write(tmp_path / "store", Log(calls=50), Log(task="colour", calls=50))
    with open_reader(store) as reader, pytest.raises(UserError, match="type one of: colour, organic"):
        advise(reader, "orgnic")


@pytest.mark.parametrize(
    ("below", "at", "shortest"),
    [
        (0.85, 0.9, 0.9), (0.8, 0.849, 0.84), (0.84371, 0.84412, 0.844), (-1.0, 0.3, 0.0), (0.95, 1.0, 1.0),
        (0.1234567891, 0.1234567894, 0.1234567894),
    ],
)  # fmt: skip
def test_a_threshold_is_named_by_the_shortest_number_that_does_the_same(
    below: float, at: float, shortest: float
) -> None:
    assert plain(below, at) == shortest


def test_what_is_replayed_is_the_advised_threshold_or_the_named_one(advised: Advise) -> None:
    advice = advised(Log())
    assert advice.advised is not None
    assert to_replay(advice, None) is None
    assert to_replay(advice, -1.0) == advice.advised.threshold
    assert to_replay(advice, 0.7) == 0.7
    with pytest.raises(UserError, match="from 0 to 1"):
        to_replay(advice, 1.7)
    with pytest.raises(UserError, match="no advised τ"):
        to_replay(advised(Log(calls=60, audit_rate=0)), -1.0)
