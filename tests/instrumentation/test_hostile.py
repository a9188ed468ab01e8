"""Hostile values and names: the host sees nothing of them, each drop is counted, no other span suffers."""

from __future__ import annotations

import math
import os
import random
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from cascade_otel import cascade, semconv, tier
from cascade_otel.instrumentation import _series
from cascade_otel.instrumentation._guard import DROPPED
from cascade_otel.storage.otlp.decode import decode
from cascade_otel.testing import Recorded, record
from tests.instrumentation.toys import total

TORTURE = bool(os.environ.get("CASCADE_OTEL_TORTURE"))
CASES = NAMES = 10_000 if TORTURE else 1_000
TASKS, ON_SPANS, ON_METRICS = 10_500, 10_000, 1_000


class Unreal(float):
    def __float__(self) -> float:
        raise RuntimeError


class Silent:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


VALUES = st.one_of(
    st.floats(0, 1),
    st.floats(),
    st.integers(),
    st.fractions(),
    st.sampled_from(
        [None, True, "0.5", b"1", "\ud800", 10**400, -(10**400), 2**63, 5e-324, -0.0, 1e6, math.nan, math.inf]
    ),
    st.builds(Unreal, st.floats(0, 1)),
    st.builds(Silent),
    st.builds(object),
    st.lists(st.floats()),
    st.decimals(),
    st.complex_numbers(),
)
BOUNDS = {"confidence": (0, 1), "threshold": (-1e6, 1e6), "cost": (0, 1e6)}
SAID = {
    "confidence": semconv.CONFIDENCE_SCORE,
    "threshold": semconv.THRESHOLD,
    "cost": semconv.COST_AMOUNT,
}
ROUNDING = 1e-5


def recordable(value: Any, low: float, high: float) -> bool:
    """Whether it is a real number within its bounds, by a rule of our own."""
    return type(value) in (int, float, Fraction) and low <= value <= high  # no NaN is


def at_a_bound(value: Any, low: float, high: float) -> bool:
    """So near to a bound that it may be rounding, which is nobody's fault."""
    return any(recordable(value, bound - ROUNDING, bound + ROUNDING) for bound in (low, high))


def dropped() -> float:
    return sum(cell[0] for _, cell in DROPPED.cells.values())


@pytest.mark.timeout(900 if TORTURE else 180)
@settings(
    max_examples=CASES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(VALUES, VALUES, VALUES)
def test_each_value_is_recorded_or_counted(
    seen: Recorded, lenient: None, confidence: Any, threshold: Any, cost: Any
) -> None:
    """The host gets its result; a value that cannot be recorded is one drop, its span has the rest."""
    values = {"confidence": confidence, "threshold": threshold, "cost": cost}
    if any(at_a_bound(v, *BOUNDS[name]) and not recordable(v, *BOUNDS[name]) for name, v in values.items()):
        return
    result = object()

    @tier("x", confidence=lambda _: confidence, threshold=lambda: threshold, cost=lambda _: cost)
    def f() -> object:
        return result

    before = dropped()
    assert f() is result
    span = seen.spans[-1]
    good = {name for name, value in values.items() if recordable(value, *BOUNDS[name])}
    bad = {name for name, value in values.items() if value is not None} - good
    assert {name for name, key in SAID.items() if key in (span.attributes or {})} == good
    assert dropped() - before == len(bad)


ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz_-.",
    "\x00\x01\x07\n\r\t\x1b\x7f\x85\u2028",
    "\ud800\udbff\udc00\udfff",
    "\u202e\u200f\u200b\ufeff\u2066",
    "🦜é\u0301漢\U0010ffff",
    "<script>alert(1)</script>../=cmd()|'\"`{}%$",
]
NO_TEXTS = [7, 2**70, 1.5, math.nan, b"bytes", [], {}, (), True, object()]


def hostile_names(count: int) -> list[Any]:
    """Texts of all lengths and alphabets, some that are no texts at all."""
    dice = random.Random(11)
    names: list[Any] = [*NO_TEXTS, "", " ", "x" * 10_000_000]
    while len(names) < count:
        letters = dice.choice(ALPHABETS) + dice.choice(ALPHABETS)
        names.append("".join(dice.choices(letters, k=int(10 ** dice.uniform(0, 3)))))
    return names[:count]


@pytest.fixture
def fresh_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name has been seen before."""
    for names in (_series.cascades, _series.tasks, _series.tiers, _series.models):
        monkeypatch.setattr(names, "seen", {})


@pytest.mark.timeout(900 if TORTURE else 180)
def test_a_hostile_name_costs_no_sibling_and_no_span(
    seen: Recorded, lenient: None, fresh_names: None
) -> None:
    """In each batch 100 good spans and those of 100 bad names: all arrive, as text that can be shown."""

    @tier("good")
    def good() -> int:
        return 1

    for _ in range(100):
        good()
    siblings = seen.spans
    names = hostile_names(NAMES)
    for start in range(0, NAMES, 100):
        with record() as bad:
            for name in names[start : start + 100]:

                @cascade(name if isinstance(name, str) and name else "c", task=lambda name=name: name)
                @tier(lambda name=name: name, model=lambda name=name: name)
                def named() -> int:
                    return 1

                assert named() == 1
            spans = bad.spans
        decoded = decode([encode_spans([*siblings, *spans]).SerializeToString()])
        assert not decoded.put_aside
        rows = decoded.table.to_pylist()
        assert len(spans) == 200
        assert len(rows) == 300
        assert sum(row["tier"] == "good" for row in rows) == 100
        for row in rows:
            texts = [row[column] for column in ("cascade", "task", "tier", "model") if row[column]]
            assert all(len(text) <= 200 and text.isprintable() for text in texts)


def test_ten_thousand_tasks_and_more_are_capped_with_one_warning(
    seen: Recorded, fresh_names: None, caplog: pytest.LogCaptureFixture
) -> None:
    @cascade(task=lambda i: f"task {i}")
    def c(i: int) -> None: ...

    for i in range(TASKS):
        c(i)
    on_metrics = {dict(key)[semconv.CASCADE_TASK] for key in seen.metric(semconv.CASCADE_DURATION)}
    assert on_metrics == {*(f"task {i}" for i in range(ON_METRICS)), "other"}
    assert total(seen, semconv.CASCADE_DURATION) == TASKS
    on_spans = [(each.attributes or {})[semconv.CASCADE_TASK] for each in seen.spans]
    assert len(set(on_spans)) == ON_SPANS + 1
    assert on_spans.count("other") == TASKS - ON_SPANS
    told = [each for each in caplog.records if each.name == "cascade_otel"]
    assert len(told) == 1
    assert "names of a task" in told[0].getMessage()
