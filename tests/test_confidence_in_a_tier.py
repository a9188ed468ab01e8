"""The scores given straight to the decorators."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from cascade_otel import cascade, confidence, scorer, semconv, tier
from cascade_otel.instrumentation import _guard
from cascade_otel.testing import Recorded, record


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    monkeypatch.setattr(_guard, "_told", set())
    with record() as recorded:
        yield recorded


def chat(*logprobs: float) -> dict[str, Any]:
    return {"choices": [{"logprobs": {"content": [{"token": "a", "logprob": one} for one in logprobs]}}]}


def test_a_tiers_confidence_is_read_from_its_result(seen: Recorded) -> None:
    @tier("least", threshold=0.8, confidence=confidence.min_probability)
    def least() -> dict[str, Any]:
        return chat(math.log(0.9), math.log(0.5))

    @tier("median", threshold=0.6, confidence=partial(confidence.quantile_probability, q=0.5))
    def median() -> dict[str, Any]:
        return chat(math.log(0.9), math.log(0.5))

    @tier("stated", threshold=0.8, confidence=partial(confidence.verbalised, scale=100))
    def stated() -> str:
        return "Paris\nConfidence: 85"

    least(), median(), stated()
    assert [each.confidence for each in seen.tiers] == [pytest.approx(0.5), pytest.approx(0.7), 0.85]
    assert [each.escalated for each in seen.tiers] == [True, False, False]
    assert not seen.metric(semconv.DROPPED)


def test_a_result_without_log_probabilities_escalates_for_missing_confidence(seen: Recorded) -> None:
    @tier("small", threshold=0.8, confidence=confidence.mean_probability)
    def small() -> dict[str, Any]:
        return {"choices": [{"logprobs": None}]}

    @tier("large")
    def large() -> str:
        return "yes"

    @cascade
    def c() -> str:
        small()
        return large()

    c()
    assert [each.reason for each in seen.tiers] == ["missing_confidence", None]
    assert not seen.metric(semconv.DROPPED)


@pytest.mark.parametrize("wrong", [chat(math.nan), chat(0.7), "a text", object()])
def test_what_no_score_can_be_made_of_is_counted_and_never_reaches_the_code(
    seen: Recorded, wrong: Any
) -> None:
    @tier("small", confidence=confidence.mean_probability)
    def small() -> Any:
        return wrong

    assert small() is wrong
    assert [each.confidence for each in seen.tiers] == [None]
    assert sum(seen.metric(semconv.DROPPED).values()) == 1


def test_a_vote_over_samples_is_the_tiers_confidence(seen: Recorded) -> None:
    samples = iter(["Paris", "paris", "Lyon", None])

    @tier("small", threshold=0.8)
    def small() -> str | None:
        return next(samples)

    @tier("large")
    def large() -> str:
        return "Paris"

    @scorer("small", confidence="confidence")
    def agreed(answers: list[str | None]) -> confidence.Vote[str]:
        return confidence.votes(answers, key=str.casefold)

    @cascade
    def c() -> str | None:
        vote = agreed([small() for _ in range(4)])
        return vote.answer if vote.confidence is not None and vote.confidence >= 0.8 else large()

    c()
    stood = [each for each in seen.tiers if each.outcome == "escalated"]
    assert [(each.tier, each.confidence, each.reason) for each in stood] == [("small", 0.5, "low_confidence")]


def test_importing_it_loads_the_standard_library_only() -> None:
    program = """
import sys
import cascade_otel
before = set(sys.modules)
import cascade_otel.confidence
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names) - {"cascade_otel"}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
