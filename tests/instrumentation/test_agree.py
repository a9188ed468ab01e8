"""Whether answers agree: said by the user's own comparison, of what the same call knows."""

from __future__ import annotations

from typing import Any

import pytest

from cascade_otel import cascade, scorer, semconv, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import two_tiers


def same(answer: Any, stronger: Any) -> bool:
    return bool(answer == stronger)


def tiers_of(seen: Recorded) -> dict[str, bool | None]:
    return {each.tier: each.agreed for each in seen.tiers}


@pytest.mark.parametrize(("strong", "agreed"), [("yes", True), ("no", False)])
def test_an_escalated_answer_is_compared_with_the_stronger_one(
    seen: Recorded, strong: str, agreed: bool
) -> None:
    small, large = tier("small")(lambda: "yes"), tier("large")(lambda: strong)
    cascade("x", agree=same)(lambda: (small(), large()))()
    assert tiers_of(seen) == {"small": agreed, "large": None}


def test_without_agree_nothing_is_said(seen: Recorded) -> None:
    small, large = tier("small")(lambda: "yes"), tier("large")(lambda: "yes")
    cascade("x")(lambda: (small(), large()))()
    assert tiers_of(seen) == {"small": None, "large": None}


def test_an_accepted_answer_has_nothing_to_be_compared_with(seen: Recorded) -> None:
    small = tier("small")(lambda: "yes")
    cascade("x", agree=same)(lambda: small())()
    assert tiers_of(seen) == {"small": None}


def test_the_strongest_answer_is_the_measure_of_all_others(seen: Recorded) -> None:
    one, two, three = (
        tier(name)(lambda answer=answer: answer) for name, answer in zip("abc", "yny", strict=True)
    )
    cascade("x", agree=same)(lambda: (one(), two(), three()))()
    assert tiers_of(seen) == {"a": True, "b": False, "c": None}


def test_declared_order_says_which_is_the_strongest(seen: Recorded) -> None:
    """The strong tier plans first here; the cheap one is still the one that is compared."""
    large, small = tier("large", index=1)(lambda: "yes"), tier("small", index=0)(lambda: "no")
    cascade("x", agree=same)(lambda: (large(), small()))()
    assert tiers_of(seen) == {"large": None, "small": False}


def test_a_shadow_call_of_the_strong_tier_is_compared_too(seen: Recorded) -> None:
    def read(_: Any, call: Any) -> None:
        call.visit("small").escalated = False

    small, large = tier("small")(lambda: "yes"), tier("large")(lambda: "no")
    cascade("x", agree=same, from_result=read)(lambda: (small(), large()))()
    assert tiers_of(seen) == {"small": False, "large": None}
    assert not seen.cascades[0].escalated


def test_a_tier_that_failed_or_returned_nothing_is_not_compared(seen: Recorded) -> None:
    small, large = two_tiers(KeyError("x"))

    @cascade("x", agree=same)
    def extract() -> Any:
        try:
            return small()
        except KeyError:
            return large()

    extract()
    nothing = tier("nothing")(lambda: None)
    cascade("y", agree=same)(lambda: (nothing(), large()))()
    assert {each.agreed for each in seen.tiers} == {None}


@pytest.mark.parametrize("answer", ["text", None, 1, KeyError("x")])
def test_a_comparison_that_says_neither_yes_nor_no_is_dropped_and_counted(
    seen: Recorded, lenient: None, answer: Any
) -> None:
    def agree(*_: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    small, large = tier("small")(lambda: "yes"), tier("large")(lambda: "yes")
    assert cascade("x", agree=agree)(lambda: (small(), large()))() == ("yes", "yes")
    assert tiers_of(seen) == {"small": None, "large": None}
    assert sum(seen.dropped.values()) == (answer is not None)


def test_a_stream_is_compared_by_what_it_ended_with(seen: Recorded) -> None:
    @tier("small")
    def small() -> Any:
        yield "y"
        yield "yes"

    large = tier("large")(lambda: "yes")
    cascade("x", agree=same)(lambda: (list(small()), large()))()
    assert tiers_of(seen)["small"] is True


def test_agreement_counts_on_no_metric(seen: Recorded) -> None:
    small, large = tier("small")(lambda: "yes"), tier("large")(lambda: "yes")
    cascade("x", agree=same)(lambda: (small(), large()))()
    for name in seen.metrics():
        assert not any(semconv.TIER_AGREED in dict(said) for said in seen.metric(name))


def test_what_a_call_kept_for_the_comparison_is_let_go(seen: Recorded) -> None:
    """The last answers are not held by anything of ours once the call is over."""
    import gc
    import weakref

    class Answer:
        pass

    kept: list[weakref.ref[Answer]] = []

    @tier("small")
    def small() -> Answer:
        answer = Answer()
        kept.append(weakref.ref(answer))
        return answer

    @scorer("small")
    def judge(answer: Answer) -> float:
        return 0.5

    def run() -> None:
        judge(small())
        tier("large")(Answer)()

    cascade("x", agree=lambda *_: True)(run)()
    gc.collect()
    assert kept[0]() is None
