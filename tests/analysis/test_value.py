from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

from cascade_otel.analysis.value import summary as value
from cascade_otel.records import HOUR_NS, TaskSummary
from cascade_otel.statistics import calibration, deferral
from cascade_otel.storage import schema
from cascade_otel.storage.calls import two_tier_rows
from cascade_otel.storage.reading.rollup import Reader, open_reader
from cascade_otel.storage.segments import Store
from tests.analysis import made_up
from tests.analysis.made_up import END, Traffic


def summaries(folder: Path, frames: list[pd.DataFrame]) -> dict[str | None, TaskSummary]:
    with open_reader(made_up.write(folder, frames)) as reader:
        return {one.task: one for one in value.summarise(reader)}


def calls(task: str, traffic: Traffic, per_hour: float = 60, days: int = 2, seed: int = 5) -> pd.DataFrame:
    return made_up.calls(task, np.arange(END - 24 * days, END), per_hour, traffic, seed)


LABELLED = Traffic(labels=True, audited=1.0)


@pytest.fixture(scope="module")
def known() -> list[pd.DataFrame]:
    return [calls("a", LABELLED), calls("b", replace(LABELLED, hard=0.7), seed=6)]


@pytest.fixture(scope="module")
def found(
    known: list[pd.DataFrame], tmp_path_factory: pytest.TempPathFactory
) -> dict[str | None, TaskSummary]:
    return summaries(tmp_path_factory.mktemp("value"), known)


def test_tasks_come_in_order_and_all_of_them_last(found: dict[str | None, TaskSummary]) -> None:
    assert list(found) == ["a", "b", None]


def test_numbers_are_those_of_the_calls(
    known: list[pd.DataFrame], found: dict[str | None, TaskSummary]
) -> None:
    both = pd.concat(known)
    for task, frame in (("a", known[0]), ("b", known[1]), (None, both)):
        one, escalated = found[task], frame["escalated"].to_numpy()
        assert one.calls == len(frame)
        assert one.escalation_rate == pytest.approx(escalated.mean())
        cost = len(frame) * 0.001 + escalated.sum() * 0.009
        assert one.cost == pytest.approx(cost)
        assert one.currency == "USD"
        assert one.savings == pytest.approx(1 - cost / (len(frame) * 0.009))
        assert one.savings_source == "audits"
        seconds = frame["cheap_duration_ns"].to_numpy() / 1e9
        whole = seconds + frame["strong_duration_ns"].to_numpy() / 1e9
        assert one.latency_accepted_p50_s == pytest.approx(np.quantile(seconds[~escalated], 0.5), rel=0.09)
        assert one.latency_accepted_p95_s == pytest.approx(np.quantile(seconds[~escalated], 0.95), rel=0.09)
        assert one.latency_escalated_p50_s == pytest.approx(np.quantile(whole[escalated], 0.5), rel=0.09)
        assert one.latency_escalated_p95_s == pytest.approx(np.quantile(whole[escalated], 0.95), rel=0.09)


def test_tiers_are_counted_without_audits(
    known: list[pd.DataFrame], found: dict[str | None, TaskSummary]
) -> None:
    cheap, strong = found["a"].tiers
    escalated = int(known[0]["escalated"].sum())
    assert (cheap.tier, cheap.index, cheap.calls, cheap.escalated) == ("small", 0, len(known[0]), escalated)
    assert (strong.tier, strong.index, strong.calls, strong.escalated) == ("large", 1, escalated, 0)
    assert cheap.cost == pytest.approx(len(known[0]) * 0.001)
    assert strong.cost == pytest.approx(escalated * 0.009)
    assert cheap.error_rate == strong.error_rate == 0


def test_quality_is_that_of_the_labels(
    known: list[pd.DataFrame], found: dict[str | None, TaskSummary]
) -> None:
    for task, frame in (("a", known[0]), (None, pd.concat(known))):
        score, cheap, strong = (
            frame[name].to_numpy() for name in ("cheap_confidence", "cheap_correct", "strong_correct")
        )
        one = found[task]
        assert one.labelled == len(frame)
        assert one.auroc == pytest.approx(calibration.auroc(score, cheap))
        assert one.ece == pytest.approx(calibration.ece(score, cheap))
        assert one.audc == pytest.approx(deferral.audc(score, cheap, strong))
        assert one.audc_normalised == pytest.approx(deferral.audc_normalised(score, cheap, strong))
        assert one.brier == pytest.approx(calibration.brier(score, cheap))
        assert one.apgr == pytest.approx(deferral.average_performance_gap_recovered(score, cheap, strong))
        assert (one.auroc_low, one.auroc_high) == pytest.approx(calibration.auroc_interval(score, cheap))
        escalated = frame["escalated"].to_numpy()
        assert one.rescued == pytest.approx((strong & ~cheap)[escalated].mean())
        assert one.broken == pytest.approx((cheap & ~strong)[escalated].mean())
        assert one.wasted_escalation == pytest.approx(cheap[escalated].mean())
        end = np.where(escalated, strong, cheap).mean()
        assert one.given_up == pytest.approx(strong.mean() - end)
        assert one.pgr == pytest.approx((end - cheap.mean()) / (strong.mean() - cheap.mean()))
        assert (one.pairs, one.quality_basis) == (len(frame), "labels")
        assert one.break_even == pytest.approx(1 - 1 / 9)


def test_audits_of_a_share_stand_for_all_accepted_calls(tmp_path: Path) -> None:
    """Labels of every escalated and of few accepted calls would make the confidence look worse than it is."""
    frame = calls("t", replace(LABELLED, audited=0.1), per_hour=150)
    whole = calibration.auroc(frame["cheap_confidence"], frame["cheap_correct"])
    unlabelled = ~frame["audited"] & ~frame["escalated"]
    frame["cheap_correct"] = frame["cheap_correct"].astype("boolean").mask(unlabelled)
    labelled = frame[~unlabelled]
    naive = calibration.auroc(labelled["cheap_confidence"], labelled["cheap_correct"].astype(bool))
    found = summaries(tmp_path, [frame])["t"]
    assert found.labelled == len(labelled)
    assert found.auroc == pytest.approx(whole, abs=0.03)
    assert abs(naive - whole) > 0.05
    assert found.savings_source == "audits"


def test_without_audits_the_strong_tiers_cost_is_estimated_from_escalated_calls(tmp_path: Path) -> None:
    frame = calls("t", Traffic())
    found = summaries(tmp_path, [frame])["t"]
    assert found.savings_source == "estimated"
    assert found.savings == pytest.approx(1 - (0.001 + frame["escalated"].mean() * 0.009) / 0.009)
    assert (found.auroc, found.audc, found.labelled) == (None, None, 0)
    assert (found.pays, "feedback(" in found.pays_reason) == ("unknown", True)


def test_a_cascade_that_costs_more_than_its_strong_tier_does_not_pay(tmp_path: Path) -> None:
    found = summaries(tmp_path, [calls("t", Traffic(strong_cost=1_200_000))])["t"]
    assert found.savings is not None
    assert found.savings < 0
    assert found.pays == "no"
    assert "more than the strong tier alone (" in found.pays_reason
    assert "it breaks even at 17% escalated" in found.pays_reason
    assert (found.savings_low or 0) < found.savings < (found.savings_high or 0) < 0


def test_a_confidence_no_better_than_a_coin_does_not_pay(tmp_path: Path) -> None:
    frame = calls("t", LABELLED)
    frame["cheap_correct"] = np.random.default_rng(1).random(len(frame)) < 0.6
    found = summaries(tmp_path, [frame])["t"]
    assert found.pays == "no"
    assert "coin" in found.pays_reason


def test_few_labels_leave_it_open(tmp_path: Path) -> None:
    frame = calls("t", LABELLED)
    frame["cheap_correct"] = frame["cheap_correct"].astype("boolean").mask(np.arange(len(frame)) >= 40)
    frame = frame.drop(columns=["strong_correct"])
    found = summaries(tmp_path, [frame])["t"]
    assert found.labelled == 40
    assert (found.pays, "40 labelled calls" in found.pays_reason) == ("unknown", True)


def test_without_costs_nothing_is_said_about_them(tmp_path: Path) -> None:
    frame = calls("t", LABELLED).drop(columns=["cheap_cost_nano", "strong_cost_nano"])
    found = summaries(tmp_path, [frame])["t"]
    assert (found.cost, found.savings, found.savings_source) == (None, None, "unknown")
    assert (found.break_even, found.wasted_cost) == (None, None)
    assert "no costs are recorded; it saves if a call of the first tier costs less than" in found.pays_reason


@pytest.mark.parametrize("escalated", [None, False])
def test_calls_without_a_decision_are_not_counted(tmp_path: Path, escalated: bool | None) -> None:
    """A call that failed has none, also where an earlier version recorded that it did not escalate."""
    store = made_up.write(tmp_path, [calls("t", Traffic(), days=1)])
    store.append(
        schema.rows(
            {
                "kind": [schema.CASCADE] * 3,
                "trace_hi": [1, 2, 3],
                "trace_lo": [1, 2, 3],
                "span_id": [1, 2, 3],
                "start_ns": [END * HOUR_NS - 1] * 3,
                "duration_ns": [1] * 3,
                "cascade": ["extract"] * 3,
                "task": ["t", "t", "only failed"],
                "outcome": ["error", "cancelled", "abandoned"],
                "escalated": [escalated] * 3,
            }
        )
    )
    with open_reader(store) as reader:
        one, pooled = value.summarise(reader)
    assert one.task == "t"
    assert one.calls == pooled.calls == len(calls("t", Traffic(), days=1))


def test_a_window_of_hours_can_be_asked_for(tmp_path: Path) -> None:
    frame = calls("t", Traffic())
    with open_reader(made_up.write(tmp_path, [frame])) as reader:
        found = value.summarise(reader, END - 24, END)[0]
    assert found.calls == (frame["start_ns"] >= (END - 24) * HOUR_NS).sum()


def test_one_task_alone_is_what_it_is_among_others(tmp_path: Path) -> None:
    with open_reader(
        made_up.write(tmp_path, [calls("a", LABELLED), calls("b", Traffic(), seed=6)])
    ) as reader:
        among, alone = value.summarise(reader), value.summarise(reader, task="a")
        assert len(alone) == 2
        assert value.summarise(reader, task="nobody")[0].calls == 0
    for name, told in asdict(among[0]).items():
        if isinstance(told, float):
            assert getattr(alone[0], name) == pytest.approx(told), name
    assert alone[0].pays_reason == among[0].pays_reason


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Reader]:
    with open_reader(Store(tmp_path)) as reader:
        yield reader


def test_an_empty_store_has_one_empty_summary(empty: Reader) -> None:
    (pooled,) = value.summarise(empty)
    assert (pooled.task, pooled.calls, pooled.escalation_rate, pooled.cost) == (None, 0, None, None)
    assert pooled.pays == "unknown"


def test_the_table_has_a_line_for_each_summary_and_shows_no_control_characters() -> None:
    one = TaskSummary(
        "a\nb\x1b[31m", 3, 0.5, 1.5, "USD", None, "unknown", 1.0, 2.0, None, None, pays_reason="why"
    )
    head, line, _, verdict = value.lines([one])
    assert head.split()[:3] == ["task", "calls", "escalated"]
    assert line.startswith("a?b?[31m")
    assert "50.0%" in line
    assert line.endswith("cannot tell yet")
    assert verdict == "a?b?[31m: cannot tell yet: why"


def test_what_rests_on_some_tasks_alone_says_so(tmp_path: Path) -> None:
    found = summaries(tmp_path, [calls("a", LABELLED), calls("b", Traffic(), seed=6)])
    assert (found[None] or found["a"]).pays_reason.endswith("; by the labels of 1 of 2 tasks alone")


def test_a_tier_called_outside_a_cascade_is_told_apart_and_not_judged(tmp_path: Path) -> None:
    store = made_up.write(tmp_path, [calls("t", Traffic(), days=1)])
    alone = two_tier_rows(calls("small", Traffic(), days=1, seed=8))
    store.append(alone.filter(pc.equal(alone["kind"], schema.TIER)))
    with open_reader(store) as reader:
        small, inside, pooled = value.summarise(reader)
        shown = value.lines([small])
    assert (small.task, small.outside, inside.outside, pooled.outside) == ("small", True, False, False)
    assert small.pays == "unknown"
    assert small.calls > 0
    assert small.escalation_rate is not None
    assert (pooled.calls, pooled.savings) == (inside.calls, inside.savings)
    assert shown[1].startswith("small (outside a cascade")


def test_calls_that_enter_by_different_tiers_all_count(tmp_path: Path) -> None:
    """A router sends every other call to a tier of its own; the rate is that of whole calls."""
    frame = calls("t", Traffic(), days=2)
    routed = frame.index % 2 == 0
    frame["cheap_tier"] = np.where(routed, "medium", "small")
    found = summaries(tmp_path, [frame])["t"]
    assert found.calls == len(frame)
    assert found.escalation_rate == pytest.approx(frame["escalated"].mean())


def test_one_call_and_every_label_still_make_a_summary(tmp_path: Path) -> None:
    one = calls("t", LABELLED).iloc[:1]
    found = summaries(tmp_path, [one])["t"]
    assert (found.calls, found.labelled, found.pays) == (1, 1, "unknown")
    assert (found.savings_low, found.savings_high) == (None, None)


def test_a_summary_of_an_earlier_version_can_be_read() -> None:
    old = {
        "task": "t", "calls": 1, "escalation_rate": 0.5, "cost": None, "currency": "USD", "savings": None,
        "savings_source": "unknown", "latency_accepted_p50_s": None, "latency_accepted_p95_s": None,
        "latency_escalated_p50_s": None, "latency_escalated_p95_s": None, "pays": "yes", "pays_reason": "why",
    }  # fmt: skip
    read = TaskSummary(**old)
    assert (read.pays, read.outside, read.quality_basis) == ("yes", False, "none")
