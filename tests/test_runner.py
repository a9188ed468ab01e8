from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cascade_otel.instrumentation import _guard
from cascade_otel.runner import Runner
from cascade_otel.testing import Recorded, record

POLICY = """\
[tiers.small]
model = "gpt-5-nano"
provider = "openai"

[tiers.reviewer]
kind = "human"

[tasks.organic]
tiers = ["small", "large"]
threshold = 0.8
version = "prompt 3"

[tasks.colour]
tiers = ["small", "medium", "reviewer"]
thresholds = {small = 0.9, medium = 0.6}

[tasks.hard]
tiers = ["large"]
"""


@dataclass
class Answer:
    confidence: Any
    cost: float | None = None
    text: str = ""


Tiers = dict[str, Callable[..., Any]]


def toys(**answers: Any) -> Tiers:
    """A plain function per tier, which returns or raises what is given."""

    def toy(answer: Any) -> Callable[..., Any]:
        def ask(*args: Any, **kwargs: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return ask

    known = dict.fromkeys(("small", "medium", "large", "reviewer"), Answer(1.0)) | answers
    return {name: toy(answer) for name, answer in known.items()}


def in_async(tiers: Tiers) -> Tiers:
    """The same as coroutine functions."""

    def made(ask: Callable[..., Any]) -> Callable[..., Any]:
        async def ask_async(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return ask(*args, **kwargs)

        return ask_async

    return {name: made(ask) for name, ask in tiers.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "cascade.toml"
    made.write_text(POLICY)
    return made


@pytest.fixture(autouse=True)
def warned_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_guard, "_told", set())


@pytest.fixture
def seen() -> Iterator[Recorded]:
    with record() as recorded:
        yield recorded


@pytest.fixture(params=[False, True], ids=["plain", "async"])
def ask(request: pytest.FixtureRequest, path: Path) -> Callable[..., Any]:
    """Runs one call of a new runner over toys, plain or async."""

    def asked(task: str, *args: Any, tiers: Tiers, **options: Any) -> Any:
        if not request.param:
            return Runner(path, tiers, confidence="confidence", **options)(task, *args)

        async def once() -> Any:
            return await Runner(path, in_async(tiers), confidence="confidence", **options)(task, *args)

        return asyncio.run(once())

    return asked


def decisions(seen: Recorded) -> list[tuple[str, str, str | None, float | None, float | None]]:
    """Tier, outcome, reason, confidence and τ of each tier call of the one cascade call."""
    (call,) = seen.cascades
    return [(each.tier, each.outcome, each.reason, each.confidence, each.threshold) for each in call.tiers]


def test_a_confident_answer_of_the_first_tier_stands(seen: Recorded, ask: Callable[..., Any]) -> None:
    """At τ it is confident enough."""
    answer = Answer(0.8)
    assert ask("organic", tiers=toys(small=answer)) is answer
    assert decisions(seen) == [("small", "accepted", None, 0.8, 0.8)]


def test_the_next_tier_gets_the_same_arguments_and_the_last_ones_answer_stands(
    seen: Recorded, path: Path
) -> None:
    asked: list[Any] = []

    def small(*args: Any, **kwargs: Any) -> Answer:
        asked.append((args, kwargs))
        return Answer(0.79)

    def large(*args: Any, **kwargs: Any) -> Answer:
        asked.append((args, kwargs))
        return Answer(0.1, text="large")

    runner = Runner(path, toys() | {"small": small, "large": large}, confidence="confidence", name="extract")
    assert runner("organic", "oat milk", task="a keyword of the tiers' own").text == "large"
    assert asked == [(("oat milk",), {"task": "a keyword of the tiers' own"})] * 2
    assert decisions(seen) == [
        ("small", "escalated", "low_confidence", 0.79, 0.8),
        ("large", "accepted", None, 0.1, None),
    ]
    (call,) = seen.cascades
    assert (call.name, call.task, call.version) == ("extract", "organic", "prompt 3")
    assert (call.final_tier, [each.index for each in call.tiers]) == ("large", [0, 1])


def test_every_tier_has_its_own_threshold_model_provider_and_kind(
    seen: Recorded, ask: Callable[..., Any]
) -> None:
    ask("colour", tiers=toys(small=Answer(0.8), medium=Answer(0.5), reviewer=Answer(None, text="red")))
    assert decisions(seen) == [
        ("small", "escalated", "low_confidence", 0.8, 0.9),
        ("medium", "escalated", "low_confidence", 0.5, 0.6),
        ("reviewer", "accepted", None, None, None),
    ]
    assert [(each.kind, each.model) for each in seen.tiers] == [
        ("model", "gpt-5-nano"),
        ("model", None),
        ("human", None),
    ]
    (provider,) = {(span.attributes or {}).get("gen_ai.provider.name") for span in seen.spans} - {None}
    assert provider == "openai"


@pytest.mark.parametrize(
    ("small", "reason"),
    [
        (ValueError("a prompt"), "error"),
        (TimeoutError(), "timeout"),
        (None, "missing_confidence"),
        (Answer(None), "missing_confidence"),
        (Answer(float("nan")), "missing_confidence"),
        (Answer(1.5), "missing_confidence"),
        (Answer("high"), "missing_confidence"),
        ("no such attribute", "missing_confidence"),
    ],
    ids=repr,
)
def test_what_has_no_usable_confidence_escalates(
    seen: Recorded, ask: Callable[..., Any], small: Any, reason: str
) -> None:
    assert ask("organic", tiers=toys(small=small)) == Answer(1.0)
    first, last = decisions(seen)
    assert first == ("small", "escalated", reason, None, 0.8)
    assert last[:2] == ("large", "accepted")


def test_the_last_tiers_exception_is_raised(seen: Recorded, ask: Callable[..., Any]) -> None:
    with pytest.raises(KeyError, match="mine"):
        ask("organic", tiers=toys(small=Answer(0.1), large=KeyError("mine")))
    (call,) = seen.cascades
    assert call.outcome == "error"
    assert [each.outcome for each in call.tiers] == ["escalated", "error"]


def test_a_task_may_have_one_tier_and_its_answer_stands(seen: Recorded, ask: Callable[..., Any]) -> None:
    assert ask("hard", tiers=toys(large=Answer(0.1))) == Answer(0.1)
    assert decisions(seen) == [("large", "accepted", None, 0.1, None)]


def test_a_confidence_is_read_once_for_each_answer(path: Path) -> None:
    """It may be a judge that costs money."""
    judged: list[Answer] = []

    def judge(answer: Answer) -> float:
        judged.append(answer)
        return float(answer.confidence)

    runner = Runner(path, toys(small=Answer(0.1)), confidence=judge)
    with record():
        runner("organic")
    assert [each.confidence for each in judged] == [0.1, 1.0]


def test_cost_and_agreement_are_recorded(seen: Recorded, ask: Callable[..., Any]) -> None:
    tiers = toys(small=Answer(0.1, 0.001, "yes"), large=Answer(0.9, 0.01, "no"))
    ask("organic", tiers=tiers, cost="cost", agree=lambda cheap, strong: cheap.text == strong.text)
    (call,) = seen.cascades
    assert call.cost == pytest.approx(0.011)
    assert [each.agreed for each in call.tiers] == [False, None]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_accepted_calls_are_audited_with_the_last_tier(
    seen: Recorded, path: Path, asynchronous: bool
) -> None:
    path.write_text("[tasks.a]\ntiers = ['small', 'large']\nthreshold = 0.5\naudit_rate = 1")
    arrived = threading.Event()

    def large(product: str) -> Answer:
        arrived.set()
        return Answer(0.9, text=product)

    tiers = toys(small=Answer(0.8, text="oat milk")) | {"large": large}

    async def asked() -> Any:
        answer = await Runner(path, in_async(tiers), confidence="confidence", agree=same)("a", "oat milk")
        while not arrived.is_set() or len(seen.cascades) < 2:
            await asyncio.sleep(0.001)
        return answer

    def same(answer: Answer, stronger: Answer) -> bool:
        return answer.text == stronger.text

    if asynchronous:
        asyncio.run(asked())
    else:
        Runner(path, tiers, confidence="confidence", agree=same)("a", "oat milk")
    assert arrived.wait(10)
    while len(seen.cascades) < 2:
        threading.Event().wait(0.001)
    production, audit = sorted(seen.cascades, key=lambda each: each.purpose, reverse=True)
    assert (production.purpose, [each.tier for each in production.tiers]) == ("production", ["small"])
    assert (audit.purpose, audit.task, audit.trace_id) == ("audit", "a", production.trace_id)
    assert [(each.tier, each.confidence, each.agreed) for each in audit.tiers] == [("large", 0.9, True)]


def test_plain_and_async_tiers_of_one_task_are_awaited(seen: Recorded, path: Path) -> None:
    """Whether to await depends on the task alone, never on which tier answers."""
    tiers = toys(small=Answer(0.9)) | {"large": in_async(toys())["large"]}
    runner: Runner[Any] = Runner(path, tiers, confidence="confidence")

    async def asked() -> Any:
        return await runner("organic")

    assert asyncio.run(asked()) == Answer(0.9)
    assert decisions(seen) == [("small", "accepted", None, 0.9, 0.8)]


def test_a_cancelled_call_is_cancelled_and_escalates_to_nobody(seen: Recorded, path: Path) -> None:
    async def forever() -> Answer:
        await asyncio.sleep(60)
        return Answer(1.0)

    async def asked() -> None:
        task = asyncio.ensure_future(runner("organic"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    runner = Runner(path, in_async(toys()) | {"small": forever}, confidence="confidence")
    asyncio.run(asked())
    assert [(each.tier, each.outcome) for each in seen.tiers] == [("small", "cancelled")]


def test_an_awaitable_of_a_plain_function_is_refused_not_passed_on(path: Path) -> None:
    class Future:
        def __await__(self) -> Iterator[None]:
            yield

    tiers = toys(small=Future())
    with pytest.raises(TypeError, match="tier 'small' returned an awaitable"):
        Runner(path, tiers, confidence="confidence")("organic")


def test_a_partial_of_an_async_function_is_async(seen: Recorded, path: Path) -> None:
    small = functools.partial(in_async(toys(small=Answer(0.9)))["small"], "oat milk")
    runner: Runner[Any] = Runner(path, toys() | {"small": small}, confidence="confidence")

    async def asked() -> Any:
        return await runner("organic")

    assert asyncio.run(asked()) == Answer(0.9)


def test_a_tier_that_streams_is_refused(path: Path) -> None:
    def small() -> Iterator[str]:
        yield "oat"

    with pytest.raises(TypeError, match="tier 'small' streams; a function that returns its whole answer"):
        Runner(path, toys() | {"small": small}, confidence="confidence")


def test_a_confidence_that_cannot_be_read_is_logged_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runner = Runner(path, toys(small="text"), confidence="confidence")
    with record():
        runner("organic")
        runner("organic")
    said = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert said == [
        "the confidence of tier 'small' cannot be read (AttributeError): such an answer escalates"
    ]


def test_it_decides_the_same_where_nothing_is_recorded(ask: Callable[..., Any]) -> None:
    assert ask("organic", tiers=toys(small=Answer(0.1), large=Answer(0.2))) == Answer(0.2)


def test_the_answer_keeps_its_type() -> None:
    """mypy --strict reads the typed examples without a complaint."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "tests/typing_runner.py"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    assert done.returncode == 0, done.stdout
