"""Libraries that tell only in their result what they thought and whether they escalated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from cascade_otel import cascade, scorer, semconv, tier
from cascade_otel.testing import Recorded


@dataclass
class Routed:
    answer: str
    p_wrong: float
    escalated: bool


@dataclass
class Deferral:
    """A library's object that is called, and tells what it thought only in its result."""

    small: Any
    large: Any
    limit: float = 0.3
    shadow: bool = False
    log: list[float] = field(default_factory=list)

    def __call__(self, query: float) -> Routed:
        answer = self.small(query)
        p_wrong = query
        strong: Any = self.large(query) if p_wrong > self.limit or self.shadow else None
        self.log.append(p_wrong)
        escalated = p_wrong > self.limit
        return Routed(strong if escalated else answer, p_wrong, escalated)


def told(result: Routed, call: Any) -> None:
    small = call.visit("small")
    small.confidence, small.threshold, small.escalated = 1 - result.p_wrong, 1 - 0.3, result.escalated


@pytest.mark.parametrize("shadow", [False, True])
@pytest.mark.parametrize(("p_wrong", "escalated"), [(0.1, False), (0.9, True)])
def test_a_library_object_that_tells_only_in_its_result(
    seen: Recorded, p_wrong: float, escalated: bool, shadow: bool
) -> None:
    """The class's ``__call__`` is wrapped, so the object stays what it is; a shadow call is no escalation."""

    class Observed(Deferral):
        __call__ = cascade("defer", from_result=told)(Deferral.__call__)

    library = Observed(
        tier("small")(lambda query: "cheap"), tier("large")(lambda query: "dear"), shadow=shadow
    )
    assert library(p_wrong).answer == ("dear" if escalated else "cheap")
    assert library.log == [p_wrong]
    (call,) = seen.cascades
    assert (call.escalated, call.final_tier) == (escalated, "large" if escalated else "small")
    first = call.tiers[0]
    assert [first.confidence, first.threshold] == pytest.approx([1 - p_wrong, 0.7])
    assert first.reason == ("low_confidence" if escalated else None)
    assert len(call.tiers) == (2 if escalated or shadow else 1)


def test_a_selective_classifier_that_abstains_at_the_end_of_its_ladder(seen: Recorded) -> None:
    """No judge was sure enough: all turned down, the cascade returned, hence exhausted."""
    limits = {"small": 0.9, "large": 0.8}

    @tier(lambda name: name, threshold=lambda name: limits[name], confidence=max)
    def annotators(name: str) -> list[float]:
        return [0.55, 0.45]

    def abstained(result: dict[str, Any], call: Any) -> None:
        if result["by"] is None:
            call.visit("large").escalated = True

    @cascade("evaluate", from_result=abstained)
    def evaluate() -> dict[str, Any]:
        for name, limit in limits.items():
            if max(annotators(name)) >= limit:
                return {"by": name}
        return {"by": None}

    evaluate()
    (call,) = seen.cascades
    assert (call.outcome, call.escalated, call.final_tier) == ("exhausted", True, None)
    assert [each.reason for each in call.tiers] == ["low_confidence", "low_confidence"]


def test_the_confidence_says_where_it_came_from(seen: Recorded) -> None:
    @tier("small")
    def small() -> None: ...

    @scorer("small")
    def judge() -> float:
        return 0.5

    @cascade
    def one() -> None:
        small()
        judge()

    @cascade(from_result=lambda result, call: setattr(call.visit("small"), "confidence", 0.5))
    def two() -> None:
        small()

    one()
    two()
    sources = [(span.attributes or {}).get(semconv.CONFIDENCE_SOURCE) for span in seen.spans]
    assert sources == ["scorer", None, "cascade", None]
