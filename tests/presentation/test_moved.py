from __future__ import annotations

from dataclasses import replace

import pytest

from cascade_otel.presentation import moved
from cascade_otel.records import Finding, Stream
from tests.presentation.small_store import findings

STEADY, YOUNG, SHIFTED = findings()


@pytest.mark.parametrize(
    ("stream", "before", "now", "quantile", "text"),
    [
        ("escalation_rate", None, None, None, "escalation 20% → 40%"),
        ("confidence_shape", None, None, None, "confidences are spread otherwise than before"),
        ("missing_confidence_rate", 0.01, 0.14, None, "answers of small without a confidence 1.0% → 14%"),
        ("error_rate", 0.002, 0.06, None, "failing calls to small 0.20% → 6.0%"),
        (
            "audited_disagreement",
            0.04,
            0.15,
            None,
            "audited answers the stronger tier disagrees with 4.0% → 15%",
        ),
        ("calibration_gap", 0.08, 0.17, None, "wrong answers at the same confidence 8.0% → 17%"),
        ("latency_accepted", 0.5, 1.25, 0.5, "latency of accepted calls (median) 500 ms → 1.2 s"),
        ("latency_escalated", 2.0, 5.0, 0.99, "latency of escalated calls (p99) 2.0 s → 5.0 s"),
        ("cost_accepted", 0.002, 0.004, 0.9, "cost of an accepted call (p90) $0.0020 → $0.0040"),
        ("cost_escalated", 0.01, 0.2, 0.5, "cost of an escalated call (median) $0.0100 → $0.20"),
    ],
)
def test_every_stream_says_what_moved_from_where_to_where(
    stream: Stream, before: float | None, now: float | None, quantile: float | None, text: str
) -> None:
    finding = replace(SHIFTED, stream=stream, before=before, now=now, quantile=quantile)
    assert moved.change(finding) == text


def test_a_stream_without_figures_is_named_alone() -> None:
    assert moved.change(replace(SHIFTED, stream="error_rate", tier="x" * 80)).startswith(
        "failing calls to xxx"
    )


def test_the_table_lists_streams_in_order_with_their_evidence() -> None:
    shape = replace(STEADY, stream="confidence_shape", log_evidence=5.45)
    suspect = replace(SHIFTED, state="suspect", log_evidence=10.9)
    limit = replace(STEADY, stream="tier_errors")
    table = moved.streams([limit, shape, suspect])
    assert table["stream"].tolist() == ["escalation rate", "shape of the confidences"]
    assert table["state"].tolist() == ["suspect", "quiet"]
    assert table["evidence"].tolist() == pytest.approx([100, 50])
    assert table["since"].tolist() == ["22 Nov 16:00 UTC", ""]


def test_what_is_learning_has_no_evidence() -> None:
    assert moved.evidence(YOUNG) == ""
    assert moved.streams([YOUNG])["evidence"].isna().tolist() == [True]
    assert moved.streams([]).empty


def test_every_stream_of_the_detector_has_a_name() -> None:
    from cascade_otel.analysis.watching.streams import KINDS

    assert list(moved.NAMES) == list(KINDS)


def test_evidence_is_never_negative() -> None:
    finding: Finding = replace(STEADY, log_evidence=-4.0)
    assert moved.evidence(finding) == "evidence 0.0 of 10.9"
