"""Whose answer was returned: best-of cascades, routers that decide before any answer, and whole batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from cascade_otel import TierCall, annotate, cascade, record_call, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import outcomes

NOON = 1_790_000_000_000_000_000


class Best(NamedTuple):
    text: str
    model: str


def best_of(scores: dict[str, float]) -> Callable[[], Best]:
    """Climbs until an answer is good enough, else returns the best one that it has seen."""

    @tier(lambda name: name, threshold=lambda name: 0.85, confidence=lambda scored: scored[1])
    def ask(name: str) -> tuple[str, float]:
        return f"text of {name}", scores[name]

    def told(result: Best, call: Any) -> None:
        call.final_tier = result.model

    @cascade("best", from_result=told)
    def climb() -> Best:
        found: dict[str, tuple[str, float]] = {}
        for name in scores:
            found[name] = ask(name)
            if found[name][1] >= 0.85:
                break
        model = max(found, key=lambda name: found[name][1])
        return Best(found[model][0], model)

    return climb


def test_an_earlier_answer_is_returned_after_all(seen: Recorded) -> None:
    """The first visit did escalate; that its answer is the one returned only the result tells."""
    assert best_of({"small": 0.77, "middle": 0.1, "large": 0.02})().model == "small"
    (call,) = seen.cascades
    assert (call.outcome, call.escalated, call.final_tier) == ("accepted", True, "small")
    assert outcomes(seen) == {"small": ["escalated"], "middle": ["escalated"], "large": ["accepted"]}


def test_the_last_answer_stays_the_final_one_where_it_is_the_best(seen: Recorded) -> None:
    assert best_of({"small": 0.1, "large": 0.9})().model == "large"
    assert (seen.cascades[0].escalated, seen.cascades[0].final_tier) == (True, "large")


def test_all_tiers_at_once_and_the_best_selected(seen: Recorded) -> None:
    """Parallel strategies escalate nothing; which answer was selected the code says itself."""

    @tier(lambda name, seconds: name)
    async def ask(name: str, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return name

    async def select() -> None:
        with cascade("select") as call:
            await asyncio.gather(ask("small", 0.02), ask("large", 0.01))
            call.final_tier = "large"

    asyncio.run(select())
    (selected,) = seen.cascades
    assert (selected.escalated, selected.final_tier) == (False, "large")
    assert [each.escalated for each in selected.tiers] == [False, False]


def test_a_final_tier_that_was_never_called_is_not_recorded(seen: Recorded, lenient: None) -> None:
    def told(result: None, call: Any) -> None:
        call.final_tier = "a tier that does not exist"

    cascade("c", from_result=told)(tier("small")(lambda: 1))()
    assert seen.cascades[0].final_tier == "small"


class Pair(NamedTuple):
    strong: str
    weak: str


class Router:
    """A library that looks at the question only: it asks one model or the other."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def win_rate(self, prompt: str) -> float:
        return self.rate

    def route(self, prompt: str, threshold: float, pair: Pair) -> str:
        return pair.strong if self.win_rate(prompt) >= threshold else pair.weak

    def complete(self, prompt: str) -> str:
        return self.client(self.route(prompt, 0.4, Pair("strong", "weak")))

    def client(self, model: str) -> str:
        return f"answer of {model}"


def observed_router() -> type[Router]:
    """The router's look is a first call of the weak tier: what it turns down has escalated."""
    looked = tier("weak", kind="rule")(Router.win_rate)

    class Observed(Router):
        def win_rate(self, prompt: str) -> float:
            rate = looked(self, prompt)
            annotate(confidence=1 - rate)
            return rate

        def route(self, prompt: str, threshold: float, pair: Pair) -> str:
            model = super().route(prompt, threshold, pair)
            annotate(threshold=1 - threshold)
            return model

        complete = cascade("route")(Router.complete)
        client = tier(lambda router, model: model, model=lambda router, model: model)(Router.client)

    return Observed


@pytest.mark.parametrize(("rate", "model"), [(0.3, "weak"), (0.9, "strong")])
def test_a_router_that_decides_before_any_answer(seen: Recorded, rate: float, model: str) -> None:
    assert observed_router()(rate).complete("?") == f"answer of {model}"
    (call,) = seen.cascades
    assert (call.escalated, call.final_tier) == (model == "strong", model)
    weak = [each for each in call.tiers if each.tier == "weak"]
    assert [each.outcome for each in weak] == (
        ["escalated"] if model == "strong" else ["repeated", "accepted"]
    )
    assert [weak[-1].confidence, weak[-1].threshold] == pytest.approx([1 - rate, 0.6])
    assert weak[-1].reason == ("low_confidence" if model == "strong" else None)


def test_a_batch_is_told_row_by_row_afterwards(seen: Recorded) -> None:
    """One call for many inputs has no one decision: each row is a cascade call of its own."""
    rows = [("cheap", 0.9), ("dear", 0.2), ("cheap", 0.8)]

    def verified_batch() -> list[tuple[str, float]]:
        return rows

    for number, (route, p_verified) in enumerate(verified_batch()):
        tiers = [TierCall("small", confidence=p_verified, threshold=0.5, duration_s=0.1)]
        if route == "dear":
            tiers.append(TierCall("large", duration_s=0.4))
        record_call("questions", tiers, start_ns=NOON + number)
    assert [each.escalated for each in seen.cascades] == [False, True, False]
    assert [each.final_tier for each in seen.cascades] == ["small", "large", "small"]
    assert seen.tiers[1].reason == "low_confidence"
