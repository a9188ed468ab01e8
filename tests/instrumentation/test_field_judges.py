"""Where published cascades find their confidence: votes, judges and verifiers after the answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from cascade_otel import annotate, cascade, scorer, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import outcomes


def ensemble(answers: dict[str, str]) -> Any:
    """A cascade whose first tier is one question to several models, whose agreement decides."""

    @tier(
        lambda client, model: "ensemble" if client == "cheap" else "strong",
        model=lambda client, model: model,
        threshold=0.6,
    )
    async def create(client: str, model: str) -> str:
        await asyncio.sleep(0)
        return answers[model]

    @scorer("ensemble", confidence=lambda found: found[1])
    def agreement(said: list[str]) -> tuple[str, float]:
        ((answer, votes),) = Counter(said).most_common(1)
        return answer, votes / len(said)

    @cascade("ask")
    async def ask() -> str:
        said = await asyncio.gather(*(create("cheap", model) for model in ("a", "b", "c")))
        answer, share = agreement(list(said))
        return answer if share >= 0.6 else await create("strong", "big")

    return ask


def test_an_ensemble_of_different_models_is_one_visit_and_its_agreement_the_confidence(
    seen: Recorded,
) -> None:
    assert asyncio.run(ensemble({"a": "yes", "b": "no", "c": "perhaps", "big": "no"})()) == "no"
    (call,) = seen.cascades
    assert (call.escalated, call.final_tier) == (True, "strong")
    assert outcomes(seen) == {"ensemble": ["repeated", "repeated", "escalated"], "strong": ["accepted"]}
    assert [each.model for each in call.tiers] == ["a", "b", "c", "big"]
    stands = call.tiers[2]
    assert stands.confidence == pytest.approx(1 / 3)
    assert stands.reason == "low_confidence"


def test_an_ensemble_that_agrees_is_accepted(seen: Recorded) -> None:
    assert asyncio.run(ensemble({"a": "yes", "b": "no", "c": "yes"})()) == "yes"
    assert outcomes(seen) == {"ensemble": ["repeated", "repeated", "accepted"]}
    assert seen.tiers[2].confidence == pytest.approx(2 / 3)


@pytest.mark.parametrize("passed", [True, False])
def test_a_verifier_that_says_yes_or_no_after_the_answer(seen: Recorded, passed: bool) -> None:
    """A yes is the confidence 1: ``confidence=float`` makes it one."""

    @tier("small", threshold=0.5)
    def small() -> str:
        return "SELECT 1"

    @tier("large")
    def large() -> str:
        return "SELECT 2"

    @scorer("small", confidence=float)
    def parses(sql: str) -> bool:
        return passed

    @cascade
    def write_sql() -> str:
        sql = small()
        return sql if parses(sql) else large()

    assert write_sql() == ("SELECT 1" if passed else "SELECT 2")
    first = seen.tiers[0]
    assert (first.confidence, first.escalated) == (float(passed), not passed)
    assert first.reason == (None if passed else "low_confidence")


def test_one_judge_for_all_tiers_scores_the_one_that_answered_last(seen: Recorded) -> None:
    """As in FrugalGPT's loop: the next model and its threshold, the call, its price, its score."""
    chain = [("cheap", 0.6, 0.001), ("middle", 0.5, 0.01), ("strong", 0.0, 0.1)]
    scores = iter([0.3, 0.7])

    class Engine:
        cost = 0.0

        @tier(
            lambda engine, service: service,
            threshold=lambda engine, service: {n: t for n, t, _ in chain}[service],
        )
        def complete(self, service: str) -> str:
            self.cost = {name: price for name, _, price in chain}[service]
            return service

    def price(engine: Engine) -> float:
        annotate(cost=engine.cost)
        return engine.cost

    @scorer()
    def score(answer: str) -> float:
        return next(scores)

    @cascade("frugal")
    def complete() -> tuple[str, float]:
        engine, spent, answer = Engine(), 0.0, ""
        for service, threshold, _ in chain:
            answer = engine.complete(service)
            spent += price(engine)
            if score(answer) >= threshold:
                break
        return answer, spent

    answer, spent = complete()
    (call,) = seen.cascades
    assert answer == call.final_tier == "middle"
    assert [spent, call.cost] == pytest.approx([0.011, 0.011])
    assert [(each.tier, each.confidence, each.threshold, each.cost) for each in call.tiers] == [
        ("cheap", 0.3, 0.6, 0.001),
        ("middle", 0.7, 0.5, 0.01),
    ]
    assert [each.reason for each in call.tiers] == ["low_confidence", None]


def test_a_judge_that_fails_leaves_the_answer_without_a_confidence(seen: Recorded) -> None:
    """The judge's error is the host's: it passes unchanged, and no score is made up."""

    @tier("small", threshold=0.5)
    def small() -> str:
        return "draft"

    @tier("large")
    def large() -> str:
        return "final"

    @scorer("small")
    def judge(answer: str) -> float:
        raise ConnectionError

    @cascade
    def answer() -> str:
        draft = small()
        try:
            judge(draft)
        except ConnectionError:
            return large()
        return draft

    assert answer() == "final"
    assert (seen.tiers[0].confidence, seen.tiers[0].reason) == (None, "missing_confidence")


def test_a_judge_whose_arguments_say_whom_it_judges(seen: Recorded) -> None:
    """Scores that come in after all the answers, each told to the tier that it names."""

    @tier(lambda model: model, threshold=0.5)
    def ask(model: str) -> str:
        return f"text of {model}"

    @scorer(lambda text, model: model)
    def score(text: str, model: str) -> float:
        return {"small": 0.2, "large": 0.9}[model]

    @cascade
    def both() -> str:
        texts = {model: ask(model) for model in ("small", "large")}
        return max(texts, key=lambda model: score(texts[model], model))

    assert both() == "large"
    assert [(each.tier, each.confidence) for each in seen.tiers] == [("small", 0.2), ("large", 0.9)]


def test_a_judge_that_costs_is_paid_by_the_tier_whose_answer_it_judged(seen: Recorded) -> None:
    """AutoMix counts the verification; whether the cascade pays must know of it."""

    @tier("small", cost=0.01)
    def small() -> str:
        return "draft"

    @tier("large", cost=0.2)
    def large() -> str:
        return "final"

    @scorer()
    def verify(answer: str) -> float:
        annotate(cost=0.01 + 0.004)
        return 0.3

    @cascade
    def answer() -> str:
        draft = small()
        return draft if verify(draft) > 0.5 else large()

    answer()
    assert [each.cost for each in seen.tiers] == pytest.approx([0.014, 0.2])
    assert seen.cascades[0].cost == pytest.approx(0.214)


def test_a_verifier_that_is_a_staticmethod_or_classmethod(seen: Recorded) -> None:
    """In both orders, and as taken from a class that is not ours."""
    judged = scorer("small")

    class Verifier:
        @judged
        @staticmethod
        def over_static(p: float) -> float:
            return p

        @staticmethod
        @judged
        def under_static(p: float) -> float:
            return p

        @judged
        @classmethod
        def over_class(cls, p: float) -> float:
            return p

        @classmethod
        @judged
        def under_class(cls, p: float) -> float:
            return p

    small = tier("small")(lambda: None)
    for number, name in enumerate(["over_static", "under_static", "over_class", "under_class"]):
        score = number / 10
        with cascade("verified"):
            small()  # type: ignore[no-untyped-call]  # a lambda
            assert getattr(Verifier(), name)(score) == score
            assert getattr(Verifier, name)(score) == score
    assert [each.confidence for each in seen.tiers] == [0.0, 0.1, 0.2, 0.3]


@pytest.mark.parametrize(("score", "recorded"), [(1.0000000000000002, 1.0), (-1e-17, 0.0), (1.0000001, 1.0)])
def test_a_score_that_rounding_put_beside_its_bounds(seen: Recorded, score: float, recorded: float) -> None:
    """A cosine similarity of equal answers, a mean of probabilities: the best scores must not vanish."""

    @tier("small", confidence=lambda similarity: similarity)
    def small() -> float:
        return score

    assert small() == score
    assert seen.tiers[0].confidence == recorded
