"""DSPy programs: the models of a cascade are its tiers, with what DSPy accounts of each call."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from typing import Any

import dspy
import pytest
from dspy import lm15
from dspy.clients import execution
from dspy.clients.base_lm import BaseLM
from dspy.clients.call_result import attributes as lm15_attributes
from dspy.utils import DummyLM
from dspy.utils.parallelizer import ParallelExecutor

from cascade_otel import annotate, cascade, scorer, tier
from cascade_otel.adapters.dspy import DSPyInstrumentor
from cascade_otel.testing import Recorded
from tests.adapters.switched import switched_on


class Engine:
    """Answers offline, and counts tokens as a provider does."""

    def __init__(self, *texts: str, sent: int = 100, received: int = 10, cached: int | None = None) -> None:
        self.texts, self.asked = texts, 0
        usage = lm15.Usage
        self.usage = usage(input_tokens=sent, output_tokens=received, cache_read_tokens=cached)

    def complete(self, request: Any) -> Any:
        text = self.texts[min(self.asked, len(self.texts) - 1)]
        self.asked += 1
        message = lm15.Message.assistant([lm15.TextPart(text)])
        return lm15.Response(
            id=None, model=f"{request.model}-2026", message=message, finish_reason="stop", usage=self.usage
        )

    def stream(self, request: Any) -> Any:
        return lm15.response_to_events(self.complete(request))

    def close(self) -> None: ...


class AsyncEngine(Engine):
    async def complete(self, request: Any) -> Any:
        return super().complete(request)

    async def aclose(self) -> None: ...


def answered(answer: str, score: float) -> str:
    return f"[[ ## answer ## ]]\n{answer}\n\n[[ ## confidence ## ]]\n{score}\n\n[[ ## completed ## ]]"


def model(name: str, answer: str, score: float, **usage: Any) -> dspy.LM:
    text = answered(answer, score)
    return dspy.LM(name, engine=Engine(text, **usage), async_engine=AsyncEngine(text, **usage), cache=False)


SIGNATURE = "question -> answer, confidence: float"


class Capitals(dspy.Module):
    """Two models, the decision in the program's own code."""

    def __init__(self, small: Any, large: Any) -> None:
        self.ask, self.small, self.large = dspy.Predict(SIGNATURE), small, large

    def forward(self, question: str) -> dspy.Prediction:
        with dspy.context(lm=self.small):
            answer = self.ask(question=question)
        if answer.confidence >= 0.8:
            return answer
        with dspy.context(lm=self.large):
            return self.ask(question=question)

    async def aforward(self, question: str) -> dspy.Prediction:
        with dspy.context(lm=self.small):
            answer = await self.ask.acall(question=question)
        if answer.confidence >= 0.8:
            return answer
        with dspy.context(lm=self.large):
            return await self.ask.acall(question=question)


def program(score: float = 0.3) -> Capitals:
    return Capitals(model("small", "Lyon", score), model("large", "Paris", 0.9, sent=200, received=20))


instrumented = functools.partial(switched_on, DSPyInstrumentor)


@pytest.fixture
def recorded(seen: Recorded) -> Iterator[Recorded]:
    with instrumented():
        yield seen


def test_a_module_within_a_cascade_has_its_models_as_tiers_each_with_its_own_tokens(
    recorded: Recorded,
) -> None:
    @cascade(task="capitals")
    def ask(question: str) -> str:
        return str(program()(question=question).answer)

    assert ask("capital of France?") == "Paris"
    (call,) = recorded.cascades
    small, large = call.tiers
    assert (call.escalated, call.final_tier) == (True, "large")
    assert (small.tier, small.model, small.response_model) == ("small", "small", "small-2026")
    assert [(each.input_tokens, each.output_tokens) for each in (small, large)] == [(100, 10), (200, 20)]


def test_a_module_class_declared_a_cascade_is_one_at_every_call(seen: Recorded) -> None:
    with instrumented(cascades=(Capitals,)):
        assert program()(question="?").answer == "Paris"
        assert program(score=0.9)(question="?").answer == "Lyon"
    assert [(each.name, each.task, each.escalated) for each in seen.cascades] == [
        ("Capitals", "Capitals", True),
        ("Capitals", "Capitals", False),
    ]


def test_an_async_call_of_a_declared_module_is_recorded_too(seen: Recorded) -> None:
    with instrumented(cascades=(Capitals,), task=lambda module, question: question):
        assert asyncio.run(program().acall(question="capitals")).answer == "Paris"
    (call,) = seen.cascades
    assert call.task == "capitals"
    assert [(each.tier, each.input_tokens) for each in call.tiers] == [("small", 100), ("large", 200)]


def test_a_confidence_is_read_from_the_prediction_that_the_program_returns(seen: Recorded) -> None:
    def read(prediction: dspy.Prediction, call: Any) -> None:
        call.visit("small").confidence, call.visit("small").threshold = prediction.confidence, 0.8

    with instrumented(cascades=(Capitals,), from_result=read):
        program(score=0.85)(question="?")
    (small,) = seen.tiers
    assert (small.confidence, small.threshold, small.escalated) == (0.85, 0.8, False)


def test_a_confidence_is_said_in_the_middle_of_the_program(recorded: Recorded) -> None:
    class Annotated(Capitals):
        @cascade(task="capitals")
        def forward(self, question: str) -> dspy.Prediction:
            with dspy.context(lm=self.small):
                answer = self.ask(question=question)
            annotate(confidence=answer.confidence, threshold=0.8)
            if answer.confidence >= 0.8:
                return answer
            with dspy.context(lm=self.large):
                return self.ask(question=question)

    Annotated(model("small", "Lyon", 0.3), model("large", "Paris", 0.9))(question="?")
    small, large = recorded.cascades[0].tiers
    assert (small.confidence, small.threshold, small.reason) == (0.3, 0.8, "low_confidence")
    assert large.outcome == "accepted"


def test_a_judge_is_a_scorer_and_its_own_model_no_tier(recorded: Recorded) -> None:
    judge = dspy.Predict("answer -> score: float")
    judging = dspy.LM("judge", engine=Engine("[[ ## score ## ]]\n0.35\n\n[[ ## completed ## ]]"), cache=False)

    @scorer("small")
    def judged(answer: str) -> float:
        with dspy.context(lm=judging):
            return float(judge(answer=answer).score)

    @cascade
    def ask(question: str) -> str:
        answer = "?"
        with dspy.context(lm=model("small", "Lyon", 0.9)):
            answer = str(dspy.Predict(SIGNATURE)(question=question).answer)
        if judged(answer) < 0.8:
            with dspy.context(lm=model("large", "Paris", 0.9)):
                answer = str(dspy.Predict(SIGNATURE)(question=question).answer)
        return answer

    assert ask("?") == "Paris"
    assert [(each.tier, each.confidence) for each in recorded.tiers] == [("small", 0.35), ("large", None)]


def test_dummy_models_are_recorded(recorded: Recorded) -> None:
    small, large = (
        DummyLM([{"answer": "Lyon", "confidence": "0.1"}]),
        DummyLM([{"answer": "Paris", "confidence": "0.9"}]),
    )
    small.model, large.model = "small", "large"

    @cascade
    def ask() -> str:
        return str(Capitals(small, large)(question="?").answer)

    assert ask() == "Paris"
    assert [each.tier for each in recorded.tiers] == ["small", "large"]


@pytest.mark.filterwarnings("ignore:Implementing custom LMs:DeprecationWarning")
def test_a_model_class_of_the_users_own_is_recorded(recorded: Recorded) -> None:
    class Own(BaseLM):
        def forward(self, prompt: Any = None, messages: Any = None, **_: Any) -> Any:
            choices = [{"message": {"content": "Paris"}, "finish_reason": "stop"}]
            usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
            return lm15_attributes({"model": "own-1", "choices": choices, "usage": usage})

    @cascade
    def ask() -> Any:
        return Own("own")("?")

    assert ask() == ["Paris"]
    (call,) = recorded.tiers
    assert (call.tier, call.response_model, call.input_tokens, call.output_tokens) == ("own", "own-1", 7, 3)


def test_a_models_provider_is_not_part_of_its_name(recorded: Recorded) -> None:
    @cascade
    def ask() -> None:
        with dspy.context(lm=model("openai/gpt-5-nano", "Paris", 0.9)):
            dspy.Predict(SIGNATURE)(question="?")

    ask()
    (call,) = recorded.tiers
    assert (call.tier, call.model) == ("openai/gpt-5-nano", "gpt-5-nano")


def test_calls_within_a_tier_of_the_users_own_are_that_tiers_and_their_tokens_add_up(
    recorded: Recorded,
) -> None:
    predict = dspy.Predict(SIGNATURE)

    @tier("small", confidence=lambda answer: answer.confidence, threshold=0.8)
    def small(question: str) -> dspy.Prediction:
        with dspy.context(lm=model("small", "Lyon", 0.3)):
            predict(question=question)
            return predict(question=question)

    @cascade
    def ask(question: str) -> str:
        return str(small(question).answer)

    ask("?")
    (call,) = recorded.tiers
    assert (call.tier, call.confidence) == ("small", 0.3)
    assert (call.input_tokens, call.output_tokens, call.response_model) == (200, 20, "small-2026")


def test_a_usage_that_the_users_tier_says_itself_goes_before(recorded: Recorded) -> None:
    @tier("small", usage=lambda answer: (7, 3))
    def small() -> Any:
        with dspy.context(lm=model("small", "Lyon", 0.3)):
            return dspy.Predict(SIGNATURE)(question="?")

    small()
    assert [(each.input_tokens, each.output_tokens) for each in recorded.tiers] == [(7, 3)]


def test_outside_any_cascade_nothing_is_recorded(recorded: Recorded) -> None:
    program()(question="?")
    assert recorded.spans == []


def test_a_model_that_fails_escalates_for_an_error_and_the_host_sees_it(recorded: Recorded) -> None:
    class Down(Engine):
        def complete(self, request: Any) -> Any:
            raise ConnectionError

    small, large = dspy.LM("small", engine=Down(), num_retries=0, cache=False), model("large", "Paris", 0.9)

    @cascade
    def ask() -> str:
        predict = dspy.Predict(SIGNATURE)
        try:
            with dspy.context(lm=small):
                return str(predict(question="?").answer)
        except dspy.LMError:
            with dspy.context(lm=large):
                return str(predict(question="?").answer)

    assert ask() == "Paris"
    first, second = recorded.tiers
    assert (first.outcome, first.reason, second.outcome) == ("escalated", "error", "accepted")
    assert first.error is not None


def test_uninstrument_puts_everything_back(seen: Recorded) -> None:
    owners = (BaseLM, execution, ParallelExecutor, Capitals)
    before = [dict(vars(each)) for each in owners]
    with instrumented(cascades=(Capitals,)):
        assert [dict(vars(each)) for each in owners] != before
    assert [dict(vars(each)) for each in owners] == before
    program()(question="?")
    assert seen.spans == []
