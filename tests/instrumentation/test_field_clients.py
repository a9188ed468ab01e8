"""Cascades that can only be seen at their client, or in helpers that a library keeps to itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from cascade_otel import annotate, cascade, scorer, semconv, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import outcomes, total

TIERS = {"nano": "small", "max": "large"}


class Client:
    """One function for everything: answers, the judge, triage, embeddings."""

    def __init__(self, score: float) -> None:
        self.score = score

    async def create(self, model: str, prompt: str) -> str:
        await asyncio.sleep(0)
        return str(self.score) if model == "judge" else f"{model}: {prompt}"


class Engine:
    def __init__(self, client: Client) -> None:
        self.client = client

    async def answer(self, prompt: str) -> str:
        await self.client.create("triage", prompt)
        text = await self.client.create("nano", prompt)
        if await self.judge(text) >= 0.7:
            return text
        return await self.client.create("max", prompt)

    async def judge(self, text: str) -> float:
        return float(await self.client.create("judge", text))


@pytest.mark.parametrize(("score", "final"), [(0.9, "small"), (0.1, "large")])
def test_calls_of_a_client_that_are_no_tier_are_named_none(
    seen: Recorded, monkeypatch: pytest.MonkeyPatch, score: float, final: str
) -> None:
    """The judge and the triage go through the same client: they are neither tiers nor escalations."""
    named = tier(lambda client, model, prompt: TIERS.get(model), threshold=0.7)
    monkeypatch.setattr(Client, "create", named(Client.create))
    monkeypatch.setattr(Engine, "judge", scorer("small")(Engine.judge))
    monkeypatch.setattr(Engine, "answer", cascade("switch")(Engine.answer))
    asyncio.run(Engine(Client(score)).answer("?"))
    (call,) = seen.cascades
    assert (call.final_tier, call.escalated) == (final, final == "large")
    assert [each.tier for each in call.tiers] == ["small", "large"][: len(call.tiers)]
    assert (call.tiers[0].confidence, len(seen.tiers)) == (score, len(call.tiers))
    assert total(seen, semconv.DROPPED) == 0


@dataclass
class Extraction:
    found: list[float]
    confidence: float
    model_used: str


class Escalator:
    """Calls one and the same function for both models; only its own helpers tell which is which."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def _fast(self, extract: Callable[[str], list[float]], text: str) -> tuple[list[float], float]:
        found = extract(text)
        return found, sum(found) / len(found) if found else 0.0

    def _smart(self, extract: Callable[[str], list[float]], text: str) -> Extraction:
        return Extraction(extract(text), 0.9, "smart")

    def run(self, extract: Callable[[str], list[float]], text: str) -> Extraction:
        found, confidence = self._fast(extract, text)
        if confidence < self.threshold:
            return self._smart(extract, text)
        return Extraction(found, confidence, "fast")


class ObservedEscalator(Escalator):
    _fast = tier("fast", threshold=lambda it, *_: it.threshold, confidence=lambda pair: pair[1])(
        Escalator._fast
    )
    _smart = tier("smart", confidence="confidence")(Escalator._smart)
    run = cascade("extract")(Escalator.run)


@pytest.mark.parametrize("found", [[0.9, 0.8], [0.2], []])
def test_the_same_function_for_both_tiers_is_told_apart_by_the_librarys_helpers(
    seen: Recorded, found: list[float]
) -> None:
    result = ObservedEscalator(0.6).run(lambda text: found, "text")
    (call,) = seen.cascades
    assert call.final_tier == result.model_used
    confidence = sum(found) / len(found) if found else 0.0
    assert [call.tiers[0].confidence, call.tiers[0].threshold] == pytest.approx([confidence, 0.6])
    assert call.tiers[0].reason == (None if result.model_used == "fast" else "low_confidence")


@dataclass
class Completion:
    content: str
    ok: bool = True


def test_a_failure_that_is_a_value_has_no_confidence(seen: Recorded) -> None:
    """The client never raises: what it says of itself is read where the confidence is."""
    answers = {"small": Completion("", ok=False), "large": Completion("text")}
    ask = tier(lambda name: name, confidence=lambda completion: 1.0 if completion.ok else None)(
        answers.__getitem__
    )

    @cascade
    def answer() -> str:
        return next(each.content for each in map(ask, answers) if each.ok)

    assert answer() == "text"
    assert [(each.outcome, each.reason) for each in seen.tiers] == [
        ("escalated", "missing_confidence"),
        ("accepted", None),
    ]


def test_tiers_go_on_until_two_answers_in_a_row_agree(seen: Recorded) -> None:
    """Each comparison is about the answer that came last."""
    answers = {"a": "red wine", "b": "white wine", "c": "white wine", "d": "beer"}
    ask = tier(lambda name: name, threshold=0.8)(answers.__getitem__)

    def similarity(one: str, other: str) -> float:
        alike = len(set(one.split()) & set(other.split())) / len(set(one.split()) | set(other.split()))
        annotate(confidence=alike)
        return alike

    @cascade("agreement")
    def climb() -> str:
        before = None
        for name in answers:
            answer = ask(name)
            if before is not None and similarity(before, answer) > 0.8:
                return answer
            before = answer
        return answer

    assert climb() == "white wine"
    assert [(each.tier, each.confidence, each.reason) for each in seen.tiers] == [
        ("a", None, "missing_confidence"),
        ("b", pytest.approx(1 / 3), "low_confidence"),
        ("c", 1.0, None),
    ]


class Experiment:
    """A loop over many questions in one function: no function of the library is one cascade call."""

    ladder = (["a", "b", "c"], ["big"])

    def __init__(self, votes: dict[str, list[str]]) -> None:
        self.votes = votes

    def ask(self, prompt: str, model: str) -> str:
        return self.votes[prompt][["a", "b", "c", "big"].index(model)]

    def generate(self, prompt: str, models: list[str]) -> list[str]:
        with ThreadPoolExecutor(len(models)) as pool:
            return list(pool.map(lambda model: self.ask(prompt, model), models))

    def answer_all(self, prompts: list[str]) -> list[str]:
        answers = []
        for prompt in prompts:
            for models in self.ladder:
                ((answer, votes),) = Counter(self.generate(prompt, models)).most_common(1)
                if votes / len(models) >= 0.66:
                    break
            answers.append(answer)
        return answers


class ObservedExperiment(Experiment):
    """The first tier's call begins the next cascade call, and ends the one before."""

    generate_tier = tier(
        lambda it, prompt, models: "ensemble" if models == it.ladder[0] else "strong",
        threshold=lambda *_: 0.66,
        confidence=lambda said: Counter(said).most_common(1)[0][1] / len(said),
    )(Experiment.generate)

    def generate(self, prompt: str, models: list[str]) -> list[str]:
        if models == self.ladder[0]:
            self.open.close()
            self.open.enter_context(cascade("experiment"))
        return self.generate_tier(prompt, models)

    def answer_all(self, prompts: list[str]) -> list[str]:
        with contextlib.ExitStack() as self.open:
            return super().answer_all(prompts)


def test_a_loop_over_questions_in_one_function_is_a_cascade_call_each(seen: Recorded) -> None:
    votes = {"p": ["x", "x", "y", "z"], "q": ["x", "y", "z", "w"], "r": ["x", "x", "x", "z"]}
    assert ObservedExperiment(votes).answer_all(list(votes)) == ["x", "w", "x"]
    assert [(each.escalated, each.final_tier) for each in seen.cascades] == [
        (False, "ensemble"),
        (True, "strong"),
        (False, "ensemble"),
    ]
    assert outcomes(seen) == {"ensemble": ["accepted", "escalated", "accepted"], "strong": ["accepted"]}
    assert len({each.trace_id for each in seen.cascades}) == 3


class Batcher:
    """A library's worker, started with the first question; it answers what it takes from a queue."""

    worker: asyncio.Task[None] | None = None

    async def work(self) -> None:
        while True:
            prompt, answer = await self.jobs.get()
            answer.set_result(await self.infer(prompt))

    async def infer(self, prompt: str) -> str:
        return f"answer to {prompt}"

    async def submit(self, prompt: str) -> Any:
        if self.worker is None:
            self.jobs: asyncio.Queue[Any] = asyncio.Queue()
            self.worker = asyncio.create_task(self.work())
        answer = asyncio.get_running_loop().create_future()
        await self.jobs.put((prompt, answer))
        return await answer


def serve(batcher: Batcher) -> None:
    """Two questions, one after the other, to one worker."""

    async def run() -> None:
        for prompt in "ab":
            assert await cascade("served")(batcher.submit)(prompt) == f"answer to {prompt}"
        assert batcher.worker is not None
        batcher.worker.cancel()

    asyncio.run(run())


def test_a_worker_that_takes_jobs_from_a_queue_is_recorded_where_its_answer_is_awaited(
    seen: Recorded,
) -> None:
    class Observed(Batcher):
        submit = tier("small")(Batcher.submit)

    serve(Observed())
    assert [len(each.tiers) for each in seen.cascades] == [1, 1]
    assert outcomes(seen) == {"small": ["accepted", "accepted"]}


def test_a_worker_lives_in_the_context_in_which_it_was_started(seen: Recorded) -> None:
    """Why not inside it: all its calls are the first cascade's, the later ones after its end."""

    class Observed(Batcher):
        infer = tier("small")(Batcher.infer)

    serve(Observed())
    assert [len(each.tiers) for each in seen.cascades] == [2, 0]
    assert outcomes(seen) == {"small": ["accepted", "outlived"]}
    assert seen.cascades[1].escalated is None


def test_a_failure_that_is_a_value_may_be_told_as_the_error_that_it_is(seen: Recorded) -> None:
    """In a wrapper of the client's function, around the tier's call: the package itself looks at nothing."""
    answers = {"small": Completion("", ok=False), "large": Completion("text")}
    ask = tier(lambda name: name)(answers.__getitem__)

    def asked(name: str) -> Completion:
        completion = ask(name)
        if not completion.ok:
            annotate(reason="error")
        return completion

    cascade("c")(lambda: next(each for each in map(asked, answers) if each.ok))()
    assert [(each.outcome, each.reason, each.error) for each in seen.tiers] == [
        ("escalated", "error", None),
        ("accepted", None, None),
    ]


def test_the_order_of_tiers_named_by_their_arguments_is_declared_by_them_too(seen: Recorded) -> None:
    """A strong planner, then a cheap worker, by one client function: nothing went up."""
    order = ["cheap", "strong"]

    @tier(lambda model: model, index=lambda model: order.index(model))
    def ask(model: str) -> str:
        return model

    @cascade("planned")
    def planned() -> str:
        ask("strong")
        return ask("cheap")

    planned()
    (call,) = seen.cascades
    assert [(each.tier, each.index) for each in call.tiers] == [("strong", 1), ("cheap", 0)]
    assert (call.escalated, call.final_tier) == (False, "cheap")
