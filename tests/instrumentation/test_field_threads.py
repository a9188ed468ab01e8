"""Samples drawn in a library's own thread pool, with and without what carries the context."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest
from opentelemetry.instrumentation.threading import ThreadingInstrumentor

from cascade_otel import cascade, scorer, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import outcomes


class Sampler:
    """A library's cascade by votes: two samples, and where they differ a third beside the strong model."""

    pool: Callable[[int], ThreadPoolExecutor] = ThreadPoolExecutor

    def __init__(self, answers: dict[str, list[int]]) -> None:
        self.answers = answers
        self.strong_is_done = threading.Event()

    def sample(self, problem: str, kind: str) -> int:
        """The third cheap sample answers after the strong model has."""
        answer = self.answers[kind].pop(0)
        if kind == "strong":
            self.strong_is_done.set()
        elif not self.answers["cheap"]:
            self.strong_is_done.wait(5)
        return answer

    @staticmethod
    def agreement(answers: list[int]) -> float:
        return max(answers.count(each) for each in answers) / len(answers)

    def solve(self, problem: str) -> int:
        with self.pool(2) as pool:
            first = [pool.submit(self.sample, problem, "cheap") for _ in range(2)]
        answers = [each.result() for each in first]
        if self.agreement(answers) == 1.0:
            return answers[0]
        with self.pool(2) as pool:
            third = pool.submit(self.sample, problem, "cheap")
            strong = pool.submit(self.sample, problem, "strong")
        return strong.result() if third.result() not in answers else third.result()


class Observed(Sampler):
    """The same library, wrapped from outside: not a line of it is changed."""

    sample = tier(lambda sampler, problem, kind: kind, threshold=lambda *_: 1.0)(Sampler.sample)
    agreement = staticmethod(scorer("cheap")(Sampler.agreement))
    solve = cascade("solve", task="sums")(Sampler.solve)


AGREED, SPLIT = {"cheap": [4, 4, 0], "strong": [4]}, {"cheap": [4, 5, 6], "strong": [7]}


@pytest.fixture
def instrumented() -> Iterator[None]:
    """The official instrumentation of threads, as an application switches it on."""
    ThreadingInstrumentor().instrument()
    yield
    ThreadingInstrumentor().uninstrument()


class CarryingPool(ThreadPoolExecutor):
    """What an application without that instrumentation can put in the pool's place."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(contextvars.copy_context().run, fn, *args, **kwargs)


def copied(answers: dict[str, list[int]]) -> dict[str, list[int]]:
    return {kind: list(each) for kind, each in answers.items()}


@pytest.fixture(params=["instrumented", "carrying pool"])
def carried(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either of the two ways in which a cascade comes into a library's threads."""
    if request.param == "instrumented":
        request.getfixturevalue("instrumented")
    else:
        monkeypatch.setattr(Sampler, "pool", CarryingPool)


def test_two_samples_that_agree_are_one_accepted_visit(seen: Recorded, carried: None) -> None:
    assert Observed(copied(AGREED)).solve("2+2") == 4
    (call,) = seen.cascades
    assert (call.outcome, call.escalated, call.final_tier) == ("accepted", False, "cheap")
    assert sorted(outcomes(seen)["cheap"]) == ["accepted", "repeated"]
    assert {each.confidence for each in call.tiers} == {None, 1.0}
    assert {each.trace_id for each in seen.tiers} == {call.trace_id}


def test_a_third_sample_beside_the_strong_model_is_one_escalated_visit(seen: Recorded, carried: None) -> None:
    """The visit escalated when the strong model began, whichever of the two answers first."""
    assert Observed(copied(SPLIT)).solve("2+2") == 7
    (call,) = seen.cascades
    assert (call.outcome, call.escalated, call.final_tier) == ("accepted", True, "strong")
    assert sorted(outcomes(seen)["cheap"]) == ["escalated", "repeated", "repeated"]
    assert outcomes(seen)["strong"] == ["accepted"]
    (escalated,) = (each for each in call.tiers if each.escalated)
    assert (escalated.confidence, escalated.threshold, escalated.reason) == (0.5, 1.0, "low_confidence")
    assert {each.trace_id for each in seen.tiers} == {call.trace_id}


def test_cascades_in_threads_at_once_keep_their_samples_apart(seen: Recorded, instrumented: None) -> None:
    """A web server's threads, each with a cascade that has a pool of its own."""
    with ThreadPoolExecutor(4) as server:
        answers = list(server.map(lambda given: Observed(copied(given)).solve("?"), [AGREED, SPLIT] * 4))
    assert answers == [4, 7] * 4
    assert sorted(len(each.tiers) for each in seen.cascades) == [2, 2, 2, 2, 4, 4, 4, 4]
    assert [each.escalated for each in seen.cascades].count(True) == 4
    assert len({each.trace_id for each in seen.cascades}) == 8


def test_without_either_the_samples_are_calls_of_no_cascade_and_nothing_untrue_is_said(
    seen: Recorded, lenient: None, caplog: pytest.LogCaptureFixture
) -> None:
    """The cascade saw no tier: whether it escalated is unknown, and the log says what to install."""
    assert Observed(copied(SPLIT)).solve("2+2") == 7
    (call,) = seen.cascades
    assert (call.tiers, call.escalated, call.final_tier) == ((), None, None)
    assert [each.task for each in seen.tiers] == [None] * 4
    assert outcomes(seen) == {"cheap": ["accepted"] * 3, "strong": ["accepted"]}
    assert "opentelemetry-instrumentation-threading" in caplog.text


def test_an_event_loops_own_pool_needs_nothing(seen: Recorded) -> None:
    """``asyncio.to_thread`` carries the context by itself."""

    @tier("ensemble")
    def member(name: str) -> str:
        return name

    @tier("strong")
    def strong() -> str:
        return "strong"

    @cascade
    async def answer() -> str:
        said = await asyncio.gather(*(asyncio.to_thread(member, name) for name in "abc"))
        return said[0] if len(set(said)) == 1 else await asyncio.to_thread(strong)

    assert asyncio.run(answer()) == "strong"
    (call,) = seen.cascades
    assert (call.escalated, call.final_tier, len(call.tiers)) == (True, "strong", 4)


def test_a_sync_client_over_an_event_loop_in_a_thread_of_its_own_needs_nothing(seen: Recorded) -> None:
    """Many clients keep one loop in the background; handing it a coroutine carries the caller's context."""
    loop = asyncio.new_event_loop()
    background = threading.Thread(target=loop.run_forever)
    background.start()

    @tier(lambda name: name)
    async def ask(name: str) -> str:
        await asyncio.sleep(0)
        return name

    @cascade
    def answer() -> str:
        asyncio.run_coroutine_threadsafe(ask("small"), loop).result()
        return asyncio.run_coroutine_threadsafe(ask("large"), loop).result()

    try:
        assert [answer(), answer()] == ["large", "large"]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        background.join()
        loop.close()
    assert [(each.escalated, each.final_tier, len(each.tiers)) for each in seen.cascades] == [
        (True, "large", 2)
    ] * 2


@pytest.mark.parametrize("pool", ["executor of a loop", "multiprocessing's threads", "bare threads"])
def test_other_kinds_of_threads_with_the_official_instrumentation(
    seen: Recorded, instrumented: None, pool: str
) -> None:
    @tier(lambda name: name)
    def ask(name: str) -> str:
        return name

    async def in_executor(names: str) -> None:
        loop = asyncio.get_running_loop()
        for name in names:
            await loop.run_in_executor(None, ask, name)

    @cascade
    def answer() -> None:
        if pool == "executor of a loop":
            asyncio.run(in_executor("ab"))
        elif pool == "multiprocessing's threads":
            with ThreadPool(2) as threads:
                for name in "ab":
                    threads.map(ask, name)
        else:
            for name in "ab":
                thread = threading.Thread(target=ask, args=(name,))
                thread.start()
                thread.join()

    answer()
    (call,) = seen.cascades
    assert (call.escalated, call.final_tier) == (True, "b")
    assert outcomes(seen) == {"a": ["escalated"], "b": ["accepted"]}
