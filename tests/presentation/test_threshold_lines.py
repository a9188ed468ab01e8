from __future__ import annotations

import json
from dataclasses import replace

import altair
import pytest

from cascade_otel.presentation.figures_threshold import deferral_risk
from cascade_otel.presentation.threshold_lines import WIDTH, day_lines, lines
from cascade_otel.presentation.vega import LIGHT
from cascade_otel.records import AuditAdvice, ThresholdAdvice, ThresholdDay, ThresholdPoint

CURVE = (
    ThresholdPoint(0.95, 0.67, 0.007, 0.013, 230, 0.0070, 3.3, 4.6),
    ThresholdPoint(0.85, 0.27, 0.032, 0.043, 460, 0.0034, 0.84, 4.4),
    ThresholdPoint(0.0, 0.0, 0.12, 0.13, 1655, 0.001, 0.76, 0.98),
)
NOW = ThresholdPoint(0.8, 0.19, 0.047, 0.059, 520, 0.0027, 0.81, 4.2)
ADVICE = ThresholdAdvice(
    task="organic",
    tier="small",
    start_hour=494_338,
    end_hour=495_010,
    calls=6000,
    alpha=0.05,
    delta=0.1,
    selective=False,
    wrong_means="disagrees",
    now=NOW,
    advised=CURVE[1],
    reason="",
    curve=CURVE,
    labelled=1655,
    needed=45,
    audit=AuditAdvice(0.1, 0.07, 0.0077, 0.3, 0.351),
    remarks=("any τ above 0.75 and up to 0.8 does the same as τ now, 0.8",),
    setting='[tasks."organic"]\nthreshold = 0.85',
)
NONE = replace(ADVICE, advised=None, setting=None, reason="no accepted answer was checked")


def text(advice: ThresholdAdvice) -> str:
    return " ".join("\n".join(lines(advice)).split())


def test_the_advice_is_one_sentence_with_both_escalations_the_price_and_the_promise() -> None:
    said = text(ADVICE)
    assert "τ = 0.85 escalates 27% instead of 19% at τ = 0.8 now, and costs $0.00070 a call more." in said
    assert "With 90% confidence at most 5.0% of all calls are accepted and wrong" in said
    assert "τ now cannot promise that: estimated 4.7%, at most 5.9%." in said


def test_the_table_marks_now_and_advised_highest_threshold_first() -> None:
    rows = [line for line in lines(ADVICE) if "%" in line and "$" in line and "τ" not in line]
    assert [row.split()[0] for row in rows] == ["0.95", "0.85", "0.8", "0"]
    assert rows[1].endswith("<- advised")
    assert rows[2].endswith("<- now")


def test_audits_remarks_and_the_lines_to_copy_follow() -> None:
    said = lines(ADVICE)
    assert "Audit 7.0% of accepted answers (now 10%)" in text(ADVICE)
    assert "30% escalated, 35.1 strong calls per 100 with audits. Below 0.77% nothing" in text(ADVICE)
    assert said[-2:] == ['    [tasks."organic"]', "    threshold = 0.85"]
    assert all(len(line) <= WIDTH for line in said)


def test_a_right_threshold_is_said_to_be_right() -> None:
    said = text(replace(ADVICE, now=replace(CURVE[1], threshold=0.84)))
    assert "τ = 0.84 is right where it is: it escalates 27%." in said


def test_without_advice_the_reason_stands_first_and_nothing_is_to_be_copied() -> None:
    said = text(replace(NONE, wrong_means="unknown", audit=replace(ADVICE.audit, rate_now=None)))
    assert "No τ can be advised: no accepted answer was checked." in said
    assert "(none are audited now): in as many calls again that is expected, if half of the calls" in said
    assert "cascade.toml" not in said


def test_so_few_calls_that_no_audit_helps_are_told_so() -> None:
    said = text(replace(NONE, calls=30, audit=AuditAdvice(None, None, 1.5, None, None)))
    assert "30 calls certify nothing, however many are audited" in said


def test_a_selective_risk_is_of_accepted_calls() -> None:
    said = text(replace(ADVICE, selective=True, audit=AuditAdvice(0.1, None, 0.01, None, None)))
    assert "at most 5.0% of accepted calls are wrong" in said
    assert "Audit" not in said


def test_days_say_what_differs_and_what_nobody_knows() -> None:
    days = [
        ThresholdDay(494_352, 400, 76, 108, 32, 3, 2, 300, 271, 1.04, 1.41),
        ThresholdDay(494_376, 100, 20, 20, 0, 0, 0, 80, 79, None, None),
    ]
    table = day_lines(days, 0.85, "USD")
    assert table[0] == "Each day as it was, and with τ = 0.85:"
    assert table[3].split() == ["25", "May", "400", "19%", "27%", "32", "3", "2", "271", "$1.04", "$1.41"]
    assert table[4].split()[-2:] == ["–", "–"]
    assert "70% of all calls" in " ".join(table)


def test_the_chart_has_curve_bound_limit_and_both_thresholds() -> None:
    spec = deferral_risk(ADVICE, LIGHT)
    json.dumps(spec, allow_nan=False)
    assert [row["tau"] for row in spec["data"]["values"]] == ["0.95", "0.85", "0"]
    rules = [layer for layer in spec["layer"] if layer["mark"]["type"] == "rule"]
    assert [layer["data"]["values"] for layer in rules] == [[{"limit": 0.05}]]
    labels = [
        layer["data"]["values"][0]["label"] for layer in spec["layer"] if layer["mark"]["type"] == "text"
    ]
    assert labels == ["● now: τ 0.8, 19% escalated", "● advised: τ 0.85, 27% escalated"]


@pytest.mark.parametrize("advice", [NONE, replace(ADVICE, selective=True)])
def test_every_chart_is_a_valid_specification(advice: ThresholdAdvice) -> None:
    altair.Chart.from_dict(deferral_risk(advice, LIGHT), validate=True)


def test_without_a_checked_answer_the_chart_is_empty() -> None:
    unknown = tuple(replace(point, risk=None, risk_upper=None) for point in CURVE)
    spec = deferral_risk(replace(NONE, curve=unknown, now=replace(NOW, risk=None, risk_upper=None)), LIGHT)
    assert spec["data"]["values"] == []
    assert not [layer for layer in spec["layer"] if layer["mark"]["type"] == "text"]
