"""From recorded calls, and from a published log, to an advised threshold."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from cascade_otel import Audit, cascade, replay, tier
from cascade_otel.analysis.threshold.advice import advise
from cascade_otel.storage.exporter import SegmentExporter
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store
from cascade_otel.testing import record

CALLS = 300


def test_calls_recorded_with_audits_lead_to_a_threshold(tmp_path: Path) -> None:
    """Confidences .5 to .9 in turn; the strong tier disagrees with all below .7 and with none above.

    τ is .8 and every other accepted call is audited: .7 accepts all that it agrees with.
    """

    @tier("small", threshold=0.8, confidence=lambda answer: answer["p"], cost=0.001)
    def small(x: int) -> dict[str, float]:
        return {"p": 0.5 + (x % 5) / 10, "x": x}

    @tier("large", cost=0.01)
    def large(x: int) -> dict[str, float]:
        return {"x": x if x % 5 > 1 else -1}

    audit = Audit(0.5, large, max_in_flight=CALLS)

    @cascade("extract", task="organic", agree=lambda one, other: one["x"] == other["x"], audit=audit)
    def extract(x: int) -> dict[str, float]:
        answer = small(x)
        return answer if answer["p"] >= 0.8 else large(x)

    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(SegmentExporter(tmp_path / "store")))
    with record(provider):
        for x in range(CALLS):
            extract(x)
        while audit._in_flight:
            time.sleep(0.005)
    provider.shutdown()
    with open_reader(Store(tmp_path / "store")) as reader:
        advice = advise(reader, "organic")
    assert (advice.calls, advice.wrong_means, advice.audit.rate_now) == (CALLS, "disagrees", 0.5)
    assert advice.labelled == pytest.approx(180 + 60, abs=30)
    assert advice.now is not None
    assert advice.now.threshold == 0.8
    assert advice.advised is not None
    assert advice.advised.threshold == 0.7
    assert advice.advised.risk == 0
    assert advice.advised.cost == pytest.approx(0.001 + 0.4 * 0.01, rel=0.02)


def test_a_published_log_is_judged_by_its_labels(published_logs: Path, tmp_path: Path) -> None:
    """Every call is labelled, so the estimate at each threshold is the plain share of the log."""
    file = published_logs / "pairs.parquet"
    where = {"dataset": "lifeeval_calibration", "chain": "verbalized", "task": "boolq_valid"}
    cheap, strong = "gpt-4o", "o3-2025-04-16"
    replay.replay(file, tmp_path / "store", cheap, strong, 0.9, where)
    with open_reader(Store(tmp_path / "store")) as reader:
        advice = advise(reader, "boolq_valid", alpha=0.1)
    log = pd.read_parquet(file)
    for column, value in {**where, "cheap_model": cheap, "strong_model": strong}.items():
        log = log[log[column] == value]
    assert advice.wrong_means == "labelled wrong"
    assert advice.labelled == advice.calls == len(log)
    for point in advice.curve:
        accepted = log["cheap_confidence"] >= point.threshold
        assert point.escalation == pytest.approx(1 - accepted.mean())
        assert point.risk == pytest.approx((accepted & ~log["cheap_correct"].astype(bool)).mean())
    assert advice.advised is not None
    assert advice.advised.threshold == 0.95
