"""From an audited call to what the reading side makes of it: no rate moves, savings become known."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from cascade_otel import Audit, cascade, tier
from cascade_otel.analysis.value import summary as value
from cascade_otel.storage import schema
from cascade_otel.storage.exporter import SegmentExporter
from cascade_otel.storage.reading.rollup import Reader, open_reader
from cascade_otel.storage.segments import Store
from cascade_otel.testing import record

CALLS, ACCEPTED = 100, 60


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    store = tmp_path_factory.mktemp("store")
    _run(store)
    return open_reader(Store(store))


def _run(store: Path) -> None:
    """100 calls, of which 60 are accepted and audited; the strong tier disagrees with every tenth."""

    @tier("small", threshold=0.8, confidence=lambda answer: 0.9 if answer < ACCEPTED else 0.1, cost=0.001)
    def small(x: int) -> int:
        return x

    @tier("large", cost=0.02)
    def large(x: int) -> int:
        return x if x % 10 else -1

    audit = Audit(1.0, large, max_in_flight=CALLS)

    @cascade("extract", task="organic", agree=lambda one, other: one == other, audit=audit)
    def extract(x: int) -> int:
        return small(x) if x < ACCEPTED else (small(x), large(x))[1]

    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(SegmentExporter(store)))
    with record(provider):
        for x in range(CALLS):
            extract(x)
        while audit._in_flight:
            time.sleep(0.005)
    provider.shutdown()


def test_audits_count_in_no_call_rate_or_cost(reader: Reader) -> None:
    summary = value.summarise(reader)[0]
    assert (summary.task, summary.calls, summary.escalation_rate) == ("organic", CALLS, 0.4)
    assert summary.cost == pytest.approx(CALLS * 0.001 + 40 * 0.02)
    assert [(each.tier, each.calls) for each in summary.tiers] == [("small", CALLS), ("large", 40)]


def test_what_the_strong_tier_would_have_cost_is_known_from_audits(reader: Reader) -> None:
    summary = value.summarise(reader)[0]
    assert summary.savings_source == "audits"
    assert summary.savings == pytest.approx(1 - (CALLS * 0.001 + 40 * 0.02) / (CALLS * 0.02))


def test_agreement_and_weight_arrive_in_the_store(reader: Reader) -> None:
    start, end = reader.span_hours() or (0, 0)
    tiers = reader.rows(None, start, end + 1, kind=schema.TIER)
    audits = tiers[tiers["purpose"] == "audit"]
    assert len(audits) == ACCEPTED
    assert audits["tier"].eq("large").all()
    assert audits["weight_ppm"].eq(1_000_000).all()
    assert audits["agreed"].value_counts().to_dict() == {True: 54, False: 6}
    escalated = tiers[tiers["purpose"].isna() & (tiers["tier"] == "small") & tiers["escalated"].astype(bool)]
    assert escalated["agreed"].value_counts().to_dict() == {True: 36, False: 4}
    calls = reader.rows(None, start, end + 1, kind=schema.CASCADE)
    production = set(calls[calls["purpose"].isna()]["trace_lo"])
    assert set(audits["trace_lo"]) <= production, "an audit is joined to its call by the trace"


def test_a_list_of_calls_names_audits_as_such_and_keeps_them_apart(reader: Reader) -> None:
    last = reader.last_calls("organic", 200)
    assert last["purpose"].value_counts().to_dict() == {"": CALLS, "audit": ACCEPTED}
    tiers = last.groupby("purpose")["tiers"].agg(lambda lists: sorted({tuple(each) for each in lists}))
    assert tiers.to_dict() == {"": [("small",), ("small", "large")], "audit": [("large",)]}


def test_the_summary_says_with_how_many_answers_the_stronger_tier_agrees(reader: Reader) -> None:
    summary = value.summarise(reader)[0]
    assert (summary.audited, summary.agreement) == (ACCEPTED, 0.9)
    last = value.lines(value.summarise(reader))[-1]
    assert (
        last
        == "organic, all: the stronger tier agrees with 90.0% of accepted answers (82% to 95%), by 60 audits"
    )
