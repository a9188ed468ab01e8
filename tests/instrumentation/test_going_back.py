"""Going back to the cheap tier after the strong one failed: only an answer that is one stands."""

from __future__ import annotations

from typing import Any

import pytest

from cascade_otel import cascade, tier
from cascade_otel.testing import Recorded


@pytest.mark.parametrize(
    ("fallback", "outcome", "final"), [(None, "exhausted", None), ("from the cheap one", "accepted", "cheap")]
)
def test_a_cheap_tier_that_answers_none_once_more_leaves_the_cascade_without_an_answer(
    seen: Recorded, fallback: Any, outcome: str, final: str | None
) -> None:
    answers = [None, fallback]

    @tier("cheap", index=0)
    def cheap() -> Any:
        return answers.pop(0)

    @tier("strong", index=1)
    def strong() -> Any:
        raise ConnectionError

    @cascade
    def route() -> Any:
        assert cheap() is None
        try:
            return strong()
        except ConnectionError:
            return cheap()

    assert route() == fallback
    (call,) = seen.cascades
    assert (call.outcome, call.escalated, call.final_tier) == (outcome, True, final)
