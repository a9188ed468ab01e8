"""``doctor`` compares spans with what their sources counted, and tells sampled from lost and from chosen."""

from __future__ import annotations

import numpy as np
import pytest

from cascade_otel.records import HOUR_NS, SECOND_NS
from cascade_otel.storage import health
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.counters import Counters
from cascade_otel.storage.health.sampling import Task, bias
from cascade_otel.storage.segments import Store
from tests.storage.metric_samples import LABELS, request
from tests.storage.storage_samples import NOW_NS, rows

NOTICED = ("sampled", "lost", "biased", "sampling")
AT_NS = NOW_NS - 3 * HOUR_NS


def count(
    store: Store, calls: dict[str, int], service: str = "shop", at_ns: int = AT_NS, **labels: str
) -> None:
    """The source counted so many calls by outcome, in the minute before ``at_ns``."""
    with Counters(store.root) as counters:
        for outcome, n in calls.items():
            named = LABELS | {"cascade.outcome": outcome} | labels
            sent = request(n, service=service, start_ns=at_ns - 60 * SECOND_NS, time_ns=at_ns, **named)
            assert counters.add(sent, NOW_NS) == {}


def store_spans(
    store: Store,
    calls: dict[str, int],
    weight_ppm: int | None = None,
    at_ns: int = AT_NS,
    seed: int = 0,
    **columns: object,
) -> None:
    """So many spans by outcome were stored, all ended at ``at_ns``."""
    outcomes = [outcome for outcome, n in calls.items() for _ in range(n)]
    many = len(outcomes)
    made = {
        "kind": [1] * many, "tier": ["small"] * many, "task": ["brand"] * many, "purpose": [None] * many,
        "service": ["shop"] * many, "outcome": outcomes, "start_ns": [at_ns - SECOND_NS] * many,
        "duration_ns": [SECOND_NS] * many, "weight_ppm": [weight_ppm] * many,
        "confidence_nano": [10**8] * many,
    }  # fmt: skip
    store.append(rows(many, seed=seed, **(made | columns)))


def noticed(store: Store) -> dict[str, health.Remark]:
    report = health.report(store, store.root / "state.sqlite", NOW_NS)
    return {remark.check: remark for remark in report.remarks if remark.check in NOTICED}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


def test_spans_without_metrics_say_nothing(store):
    store_spans(store, {"accepted": 100})
    assert noticed(store) == {}


def test_as_many_spans_as_calls_are_well(store):
    count(store, {"accepted": 700, "escalated": 300})
    store_spans(store, {"accepted": 700, "escalated": 300})
    remarks = noticed(store)
    assert set(remarks) == {"sampling"}
    assert remarks["sampling"].text.startswith("Spans have arrived of all 1,000 calls")


def test_a_span_that_stands_in_several_files_is_one(store):
    count(store, {"accepted": 300})
    store_spans(store, {"accepted": 150})
    with Compactor(store, grace_s=0) as compactor:
        compactor.run(NOW_NS)
    store_spans(store, {"accepted": 150})
    assert noticed(store)["lost"].about["spans"] == 150


def test_head_sampling_that_says_so_is_told_and_is_not_wrong(store):
    """One of ten kept, at random, each with the weight 10."""
    count(store, {"accepted": 7_000, "escalated": 3_000})
    store_spans(store, {"accepted": 712, "escalated": 306}, weight_ppm=10 * 10**6)
    remarks = noticed(store)
    assert set(remarks) == {"sampled"}
    assert not remarks["sampled"].is_wrong
    assert "1,018 arrived of 10,000 calls" in remarks["sampled"].text
    assert "they stand for 10,180" in remarks["sampled"].text


def test_weights_that_do_not_make_up_for_what_is_missing_are_no_excuse(store):
    count(store, {"accepted": 10_000})
    store_spans(store, {"accepted": 500}, weight_ppm=10 * 10**6)
    assert set(noticed(store)) == {"lost"}


def test_lost_spans_are_told_with_what_the_source_says_it_dropped(store):
    count(store, {"accepted": 700, "escalated": 300})
    store_spans(store, {"accepted": 350, "escalated": 150})
    with Counters(store.root) as counters:
        for reason, n in (("queue", 480), ("value", 3)):
            told = {"metric": "cascade.telemetry.dropped", "cascade.drop.reason": reason}
            counters.add(request(n, start_ns=AT_NS - 1, time_ns=AT_NS, **told), NOW_NS)
    remarks = noticed(store)
    assert set(remarks) == {"lost"}
    lost = remarks["lost"]
    assert lost.is_wrong
    assert lost.about == {
        "service": "shop", "calls": 1_000, "spans": 500, "adjusted": 500, "dropped_at_source": 480,
        "tasks": {"brand": {"calls": 1_000, "spans": 500}},
    }  # fmt: skip
    assert "it left out 480 spans" in lost.text


def test_of_a_service_whose_metrics_alone_arrive_the_likeliest_is_named_first(store):
    count(store, {"accepted": 500})
    count(store, {"accepted": 100}, service="search")
    store_spans(store, {"accepted": 10}, service=["search"] * 10)
    report = health.report(store, store.root / "state.sqlite", NOW_NS)
    texts = {r.about["service"]: r.text for r in report.remarks if r.check == "lost"}
    assert "no span of the 500 calls" in texts["shop"]
    assert texts["shop"].index("OTEL_TRACES_EXPORTER") < texts["shop"].index("OTEL_TRACES_SAMPLER")
    assert "OTEL_TRACES_EXPORTER" not in texts["search"]


def test_tail_sampling_that_keeps_escalated_calls_is_found(store):
    count(store, {"accepted": 700, "escalated": 300})
    store_spans(store, {"accepted": 70, "escalated": 300})
    remarks = noticed(store)
    assert set(remarks) == {"lost", "biased"}
    assert "(brand: 81.1% of spans but 30.0% of calls escalated)" in remarks["biased"].text
    assert remarks["biased"].about["tasks"]["brand"]["of_calls"] == 0.3


def test_a_bias_is_told_also_where_weights_make_up_for_the_number(store):
    count(store, {"accepted": 700, "escalated": 300})
    store_spans(store, {"accepted": 50, "escalated": 150}, weight_ppm=5 * 10**6)
    assert set(noticed(store)) == {"biased"}


def test_draws_at_random_are_hardly_ever_called_biased():
    """Of 2,000 tasks sampled at random none at the level of a report, though many at a level of 5 %."""
    dice = np.random.default_rng(1)
    tasks = []
    for _ in range(2_000):
        calls, escalated = int(dice.integers(200, 5_000)), 0.0
        escalated = int(calls * dice.uniform(0.05, 0.6))
        spans = int(calls * dice.uniform(0.05, 0.8))
        kept = int(dice.hypergeometric(escalated, calls - escalated, spans))
        tasks.append(Task("shop", "brand", calls, spans, float(spans), {"escalated": (escalated, kept)}))
    assert not any(bias(task, 0.001 / len(tasks)) for task in tasks)
    assert 0.02 < sum(bias(task, 0.05) is not None for task in tasks) / len(tasks) < 0.06


def test_each_service_and_task_is_compared_for_itself(store):
    count(store, {"accepted": 100})
    count(store, {"accepted": 100}, **{"cascade.task": "colour"})
    count(store, {"accepted": 100}, service="search")
    count(store, {"accepted": 50}, **{"cascade.purpose": "audit"})
    store_spans(store, {"accepted": 200}, seed=1)
    store_spans(store, {"accepted": 100}, seed=2, task=["colour"] * 100)
    remarks = noticed(store)
    assert set(remarks) == {"lost"}
    assert (remarks["lost"].about["service"], remarks["lost"].about["spans"]) == ("search", 0)


def test_tasks_that_metrics_call_other_are_compared_together(store):
    count(store, {"accepted": 100}, **{"cascade.task": "other"})
    store_spans(store, {"accepted": 60}, seed=1, task=["colour"] * 60)
    store_spans(store, {"accepted": 40}, seed=2, task=["size"] * 40)
    assert set(noticed(store)) == {"sampling"}


def test_only_complete_hours_count(store):
    count(store, {"accepted": 100}, at_ns=NOW_NS + 60 * SECOND_NS)
    assert noticed(store) == {}


def test_spans_that_ended_just_before_their_count_are_credited(store):
    """The count of a call waits for the next export, and may come in the next hour."""
    start = NOW_NS - 24 * HOUR_NS
    count(store, {"accepted": 100}, at_ns=start - HOUR_NS)
    count(store, {"escalated": 100}, at_ns=start + 10 * SECOND_NS)
    store_spans(store, {"escalated": 100}, at_ns=start - 50 * SECOND_NS)
    assert set(noticed(store)) == {"sampling"}


def test_calls_that_come_in_one_count_after_an_outage_are_compared_with_the_spans_of_the_outage(store):
    start = NOW_NS - 24 * HOUR_NS
    count(store, {"accepted": 1}, at_ns=start - 10 * HOUR_NS)
    count(store, {"escalated": 500}, at_ns=start + HOUR_NS)
    for hours in range(5):
        store_spans(store, {"escalated": 100}, at_ns=start - (hours + 1) * HOUR_NS, seed=hours)
    assert set(noticed(store)) == {"sampling"}


def test_calls_that_take_days_are_found_by_their_end(store):
    count(store, {"accepted": 100})
    store_spans(
        store, {"accepted": 100}, start_ns=[AT_NS - 47 * HOUR_NS] * 100, duration_ns=[47 * HOUR_NS] * 100
    )
    assert set(noticed(store)) == {"sampling"}
