"""What several calls of models cost together: known only where every one of them tells."""

from __future__ import annotations

import pytest

from cascade_otel.instrumentation._usage import Found, total

WHOLE = Found(100, 10, "first", cost=0.5, cost_source="user")


def test_tokens_and_cost_are_added_up_and_the_last_one_answered() -> None:
    last = Found(200, 20, "last", cost=0.25, cost_source="litellm")
    assert total([WHOLE, last]) == Found(300, 30, "last", cost=0.75, cost_source="litellm")


@pytest.mark.parametrize("part", ["input_tokens", "output_tokens", "cost"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_sum_of_which_one_part_is_unknown_is_unknown(part: str, place: int) -> None:
    """And only that one: what all of them tell is known."""
    several = [WHOLE, WHOLE, WHOLE]
    several[place] = Found(**{**WHOLE._asdict(), part: None})
    whole = {"input_tokens": 300, "output_tokens": 30, "cost": 1.5}
    assert {name: getattr(total(several), name) for name in whole} == {**whole, part: None}
