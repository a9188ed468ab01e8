"""Fallbacks: the next tier is asked because the one before returned nothing, failed, or was left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cascade_otel import cascade, semconv, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import outcomes, total


class DownError(Exception):
    pass


def gives(*answers: Any) -> Callable[[], Any]:
    """A function that gives one answer after the other, the last of them from then on."""
    left = list(answers)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def ladder(**answers: Any) -> Callable[[], Any]:
    """Tiers in order of writing; each gives its answers one after another, raising what is an exception."""
    left = {name: list(each) if isinstance(each, list) else [each] for name, each in answers.items()}

    @tier(lambda name: name)
    def ask(name: str) -> Any:
        answer = left[name].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @cascade("ladder")
    def climb() -> Any:
        for name in answers:
            try:
                answer = ask(name)
            except DownError:
                continue
            if answer:
                return answer
        return None

    return climb


def test_an_answer_of_none_is_a_missing_confidence(seen: Recorded) -> None:
    """As local models do in published fallback chains: nothing came, so the next one is asked."""
    assert ladder(local=None, paid="answer")() == "answer"
    assert (seen.tiers[0].outcome, seen.tiers[0].reason) == ("escalated", "missing_confidence")
    assert seen.cascades[0].final_tier == "paid"


@pytest.mark.parametrize("empty", ["", (), {}, 0])
def test_an_empty_answer_is_an_answer(seen: Recorded, empty: Any) -> None:
    """Emptiness of a text or list is the code's own reading: nothing that we know of obliged it."""
    assert ladder(local=empty, paid="answer")() == "answer"
    assert (seen.tiers[0].outcome, seen.tiers[0].reason) == ("escalated", "policy")


@pytest.mark.parametrize(
    ("confidence", "reason"),
    [(lambda text: float(bool(text)), "low_confidence"), (lambda text: None, "missing_confidence")],
)
def test_emptiness_may_be_declared_as_the_confidence(
    seen: Recorded, confidence: Callable[[str], float | None], reason: str
) -> None:
    @tier("local", threshold=0.5, confidence=confidence)
    def local() -> str:
        return ""

    paid = tier("paid")(gives("answer"))
    cascade("c")(lambda: local() or paid())()
    assert (seen.tiers[0].outcome, seen.tiers[0].reason) == ("escalated", reason)


def test_nothing_is_read_from_an_answer_that_is_none(seen: Recorded) -> None:
    """Usage, cost and confidence are asked of an answer only: the user's callables never get a None."""

    @tier(
        "free",
        usage=lambda answer: (answer["sent"], answer["received"]),
        cost=lambda answer: answer["usd"],
        confidence=lambda answer: answer["p"],
    )
    def free() -> Any:
        return None

    @tier("paid", cost=0.25)
    def paid() -> Any:
        return None

    cascade("c")(lambda: free() or paid())()
    assert [(each.cost, each.input_tokens, each.confidence) for each in seen.tiers] == [
        (None, None, None),
        (0.25, None, None),
    ]
    assert total(seen, semconv.DROPPED) == 0


def test_a_failed_provider_is_an_error_and_the_next_one_answers(seen: Recorded) -> None:
    assert ladder(first=DownError(), second=DownError(), third="answer")() == "answer"
    assert [(each.tier, each.outcome, each.reason, each.error) for each in seen.tiers] == [
        ("first", "escalated", "error", "DownError"),
        ("second", "escalated", "error", "DownError"),
        ("third", "accepted", None, None),
    ]


def test_a_chain_in_which_all_fail_and_the_library_raises(seen: Recorded) -> None:
    """What the library's own error says is the cascade's; the last tier is undecided."""

    @tier(lambda name: name)
    def ask(name: str) -> None:
        raise ConnectionError(name)

    @cascade
    def chain() -> None:
        for name in ("small", "large"):
            try:
                return ask(name)
            except ConnectionError:
                continue
        raise DownError("all providers failed")

    with pytest.raises(DownError):
        chain()
    (call,) = seen.cascades
    assert (call.outcome, call.escalated, call.final_tier) == ("error", True, None)
    assert [(each.outcome, each.escalated) for each in call.tiers] == [("escalated", True), ("error", None)]


def test_a_provider_on_cooldown_is_left_out(seen: Recorded) -> None:
    """A tier that is not called has no visit; with a declared index the others keep their place."""

    def provider(name: str, index: int) -> Callable[[], str]:
        return tier(name, index=index)(gives(name))

    @cascade
    def chain() -> str:
        return provider("second", 1)()

    chain()
    (call,) = seen.cascades
    assert (call.escalated, call.final_tier) == (False, "second")
    assert [(each.tier, each.index) for each in call.tiers] == [("second", 1)]


def test_back_to_the_cheap_tier_after_the_paid_one_failed(seen: Recorded) -> None:
    """Degrading: the visit did escalate, and yet its second answer is the one that stood."""
    local = tier("local", index=0)(gives(None, "from the small one"))

    @tier("paid", index=1)
    def paid() -> str:
        raise DownError

    @cascade
    def route() -> Any:
        text = local()
        if text:
            return text
        try:
            return paid()
        except DownError:
            return local()

    assert route() == "from the small one"
    (call,) = seen.cascades
    assert (call.outcome, call.escalated, call.final_tier) == ("accepted", True, "local")
    assert outcomes(seen) == {"local": ["repeated", "escalated"], "paid": ["error"]}


def test_a_downward_fallback_with_declared_order_is_no_escalation(seen: Recorded) -> None:
    """The strong one is down and the cheap one answers instead: nothing went up."""
    strong = tier("strong", index=1)(gives(None))
    cheap = tier("cheap", index=0)(gives("answer"))
    assert cascade("c")(lambda: strong() or cheap())() == "answer"
    (call,) = seen.cascades
    assert (call.escalated, call.final_tier) == (False, "cheap")


def test_a_library_that_swallows_the_error_of_the_function_it_was_given(seen: Recorded) -> None:
    """The function handed to the library is decorated, so its error is seen before it is swallowed."""

    class Library:
        def __init__(self, models: list[str], call: Callable[[str], str]) -> None:
            self.models, self.call = models, call

        def execute(self) -> str:
            text = ""
            for model in self.models:
                try:
                    text = self.call(model)
                except Exception:
                    text = ""
                if text:
                    break
            return text

    @tier(lambda model: model, model=lambda model: model)
    def call(model: str) -> str:
        if model == "small":
            raise TimeoutError
        return "text"

    library = Library(["small", "large"], call)
    assert cascade("execute")(library.execute)() == "text"
    assert [(each.outcome, each.reason) for each in seen.tiers] == [
        ("escalated", "timeout"),
        ("accepted", None),
    ]


def test_the_ladders_end_may_answer_below_its_threshold(
    seen: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    """One threshold for all tiers: the last one has nobody to escalate to, which is no contradiction."""
    scores = {"small": 0.2, "large": 0.6}
    ask = tier(lambda name: name, threshold=0.85, confidence=lambda score: score)(scores.__getitem__)

    @cascade
    def climb() -> float:
        return next((score for score in map(ask, scores) if score >= 0.85), 0.6)

    climb()
    assert [(each.confidence, each.escalated) for each in seen.tiers] == [(0.2, True), (0.6, False)]
    assert "behaves otherwise" not in caplog.text


class Recursive:
    """Asks the next model from within: what decides is not what calls the model."""

    models = ("small", "middle", "large")

    def call(self, model: str) -> str:
        return {"small": "?", "middle": "?", "large": "text"}[model]

    def ask(self, level: int = 0) -> str:
        answer = self.call(self.models[level])
        return answer if answer != "?" else self.ask(level + 1)


def test_a_fallback_by_recursion_is_recorded_where_the_model_is_called(seen: Recorded) -> None:
    class Observed(Recursive):
        call = tier(lambda recursive, model: model)(Recursive.call)

    assert cascade("recursive")(Observed().ask)() == "text"
    (call,) = seen.cascades
    assert outcomes(seen) == {"small": ["escalated"], "middle": ["escalated"], "large": ["accepted"]}
    assert (call.escalated, call.final_tier, len(call.tiers)) == (True, "large", 3)


def test_tiers_inside_one_another_only_overlap_unless_the_result_says_more(seen: Recorded) -> None:
    """Decorating what decides hides who escalated; from outside only the code's own result can say it."""

    def told(result: str, call: Any) -> None:
        call.visit("small").escalated = call.visit("middle").escalated = result == "text"

    class Observed(Recursive):
        ask = tier(lambda recursive, level=0: recursive.models[level])(Recursive.ask)

    assert cascade("recursive", from_result=told)(Observed().ask)() == "text"
    (call,) = seen.cascades
    assert outcomes(seen) == {"small": ["escalated"], "middle": ["escalated"], "large": ["accepted"]}
    assert (call.escalated, call.final_tier) == (True, "large")
