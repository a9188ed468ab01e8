"""Everything emitted has a name in ``semconv``, of the type said there; everything said there is emitted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import SpanKind

from cascade_otel import Audit, TierCall, annotate, cascade, feedback, record_call, semconv, tier
from cascade_otel.instrumentation import _series, _values
from cascade_otel.instrumentation._audit import wait_for_audits
from cascade_otel.instrumentation._settings import settings
from cascade_otel.instrumentation._values import Names
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import ROOT, run_python

TYPES = {"string": str, "int": int, "double": float, "boolean": bool}
ON_METRICS_ONLY = {semconv.TOKEN_TYPE, semconv.DROP_REASON}


class Answer:
    model, confidence, cost = "m1-2025", 0.5, 0.25

    def __init__(self) -> None:
        self.usage = {"prompt_tokens": 3, "completion_tokens": 4}


@tier("small", model="m1", provider="openai", threshold=0.8, confidence="confidence", cost="cost")
def small() -> Answer:
    return Answer()


@tier("person", kind="human")
def person() -> str:
    return "yes"


@tier("stream", model="m2")
def stream() -> Iterator[int]:
    yield 1


@tier("failing")
def failing() -> None:
    raise ValueError


audit = Audit(1.0, person)


@cascade(agree=lambda answer, stronger: answer is stronger, audit=audit)
def audited() -> Answer:
    return small()


@cascade(task="t", version="v1", segment="en", input_size=12, purpose="canary", canary_id="c1")
def everything() -> str:
    try:
        failing()
    except ValueError:
        small()
    list(stream())
    return person()


@pytest.fixture
def emitted(seen: Recorded, lenient: None, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    monkeypatch.setattr(settings, "token_usage", True)
    everything()
    audited()
    wait_for_audits(10)
    small()
    annotate(confidence=0.5)
    feedback(record_call("t", [TierCall("a", cost=0.5), TierCall("b")]), "a", True)
    return seen


def test_every_attribute_emitted_is_in_the_table_with_its_type(emitted: Recorded) -> None:
    known = {each.name: TYPES[each.type] for each in semconv.ATTRIBUTES}
    said = [(key, type(value)) for span in emitted.spans for key, value in (span.attributes or {}).items()]
    assert dict(said) == {key: known[key] for key, _ in said}
    assert set(known) - {key for key, _ in said} == ON_METRICS_ONLY


def test_every_metric_of_the_table_is_emitted_and_no_other(emitted: Recorded) -> None:
    assert emitted.metrics() == {each.name for each in semconv.METRICS}
    labels = {key for name in emitted.metrics() for point in emitted.metric(name) for key, _ in point}
    assert labels <= {each.name for each in semconv.ATTRIBUTES}
    for per_call in (
        semconv.CONFIDENCE_SCORE,
        semconv.INPUT_SEGMENT,
        semconv.INPUT_SIZE,
        semconv.CASCADE_VERSION,
    ):
        assert per_call not in labels, "labels of metrics are few"


def test_descriptors_of_the_call_are_on_all_its_spans(emitted: Recorded) -> None:
    spans = [
        each for each in emitted.spans if (each.attributes or {}).get(semconv.CASCADE_NAME) == "everything"
    ]
    assert len(spans) == 5
    for span in spans:
        said = dict(span.attributes or {})
        assert [said[key] for key in (semconv.CASCADE_VERSION, semconv.INPUT_SEGMENT)] == ["v1", "en"]
        assert [said[key] for key in (semconv.INPUT_SIZE, semconv.CASCADE_PURPOSE)] == [12, "canary"]


def test_a_model_is_a_client_span_and_a_person_is_not(emitted: Recorded) -> None:
    kinds = {span.name: span.kind for span in emitted.spans}
    assert kinds["chat m1"] == SpanKind.CLIENT
    assert kinds["cascade.tier person"] == kinds["cascade t"] == SpanKind.INTERNAL
    asked = emitted.metric(semconv.TIER_DURATION)
    assert {dict(said)[semconv.TIER_NAME] for said in asked} == {"person"}


def test_where_a_client_is_instrumented_ours_do_not_count_twice(seen: Recorded) -> None:
    @tier("small", model="m1", instrumented=True)
    def f() -> Answer:
        return Answer()

    f()
    assert [(span.name, span.kind) for span in seen.spans] == [("cascade.tier small", SpanKind.INTERNAL)]
    assert semconv.OPERATION_DURATION not in seen.metrics()
    assert semconv.TOKEN_USAGE not in seen.metrics()


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}, ("m", 1, 2)),
        ({"usage": {"input_tokens": 1}}, (None, 1, None)),
        (Answer(), ("m1-2025", 3, 4)),
        ("text", (None, None, None)),
        ({"model": 7, "usage": {"input_tokens": "1"}}, (None, None, None)),
    ],
)
def test_model_and_usage_are_read_from_common_shapes(
    seen: Recorded, result: Any, expected: tuple[Any, ...]
) -> None:
    @tier("x")
    def f() -> Any:
        return result

    f()
    (only,) = seen.tiers
    assert (only.response_model, only.input_tokens, only.output_tokens) == expected


def test_names_callables_and_dict_results(seen: Recorded) -> None:
    """Name, model and threshold from the arguments; a string is a key where the result is a dict."""

    @tier(
        lambda kind, tau: f"tier {kind}",
        model=lambda kind, tau: f"model {kind}",
        threshold=lambda kind, tau: tau,
        confidence="p",
        cost=0.125,
        usage="tokens",
    )
    def ask(kind: str, tau: float) -> dict[str, Any]:
        return {"p": 0.5, "tokens": (3, 4)}

    ask("a", tau=0.75)
    (only,) = seen.tiers
    assert (only.tier, only.model, only.threshold, only.confidence) == ("tier a", "model a", 0.75, 0.5)
    assert (only.cost, only.input_tokens, only.output_tokens) == (0.125, 3, 4)


def test_names_made_from_data_are_capped_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, strict: None
) -> None:
    """The first names label metrics, ten times as many label spans, the rest is "other"."""
    monkeypatch.setattr(_values, "MOST_ON_METRICS", 2)
    monkeypatch.setattr(_values, "MOST_ON_SPANS", 4)
    names = Names("task")
    assert [names(f"t{i}") for i in range(6)] == [
        ("t0", "t0"),
        ("t1", "t1"),
        ("t2", "other"),
        ("t3", "other"),
        ("other", "other"),
        ("other", "other"),
    ]
    assert names("t1") == ("t1", "t1")
    assert len([each for each in caplog.records if each.name == "cascade_otel"]) == 1


def test_tasks_on_metrics_are_a_thousand_at_most(seen: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_series.tasks, "seen", {})

    @cascade(task=lambda i: f"flood {i}")
    def c(i: int) -> None: ...

    for i in range(1_500):
        c(i)
    labels = {dict(key)[semconv.CASCADE_TASK] for key in seen.metric(semconv.CASCADE_DURATION)}
    assert labels == {*(f"flood {i}" for i in range(1_000)), "other"}
    assert {each.task for each in seen.cascades} == {f"flood {i}" for i in range(1_500)}


def test_the_import_is_light() -> None:
    """The OpenTelemetry API, the standard library and what we need of our own; no SDK, no asyncio."""
    loaded = run_python("import sys, cascade_otel; print(*sys.modules)").split()
    heavy = {"numpy", "pandas", "pyarrow", "duckdb", "asyncio", "google", "requests", "streamlit"}
    assert not heavy & {name.split(".")[0] for name in loaded}
    assert not [name for name in loaded if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))]
    rooms = {name.split(".")[1] for name in loaded if name.startswith("cascade_otel.")}
    assert rooms == {"configure", "instrumentation", "semconv"}


def test_decorated_functions_keep_their_types() -> None:
    """mypy --strict reads the typed examples without a complaint."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "tests/instrumentation/typing_examples.py"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
