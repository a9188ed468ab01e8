"""Read by mypy --strict and pyright, not run: a decorated function has exactly the type it had."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, assert_type, overload

from cascade_otel import Audit, TierCall, annotate, cascade, feedback, record_call, scorer, tier
from cascade_otel.instrumentation._cascade import Cascade
from cascade_otel.instrumentation._cascade_call import OpenCascade
from cascade_otel.instrumentation._tier_call import OpenTier


@tier("small", model="m", threshold=0.8, confidence=lambda r: r.confidence)
def plain(a: int, *, b: str = "") -> float:
    return 1.0


@tier("small", confidence="confidence")
async def coroutine(a: int) -> str:
    return ""


@tier(lambda kind: kind)
def stream(kind: str) -> Iterator[int]:
    yield 1


@cascade(task=lambda a: str(a))
async def astream(a: int) -> AsyncIterator[bytes]:
    yield b""


@cascade
def bare(a: int) -> int:
    return a


def read(result: Any, call: OpenCascade) -> None:
    call.visit("small").confidence = 0.5
    call.visit("small").escalated = False


@cascade("name", task="organic", version="v1", from_result=read)
def named(a: int) -> int:
    return a


@scorer("small")
async def judge(answer: str) -> float:
    return 0.5


@overload
def two(a: int) -> int: ...
@overload
def two(a: str) -> str: ...
@tier("x")
def two(a: Any) -> Any:
    return a


@cascade(agree=lambda answer, stronger: answer == stronger, audit=Audit(0.02, plain), canary_id="c1")
def audited(a: int) -> int:
    return a


@tier(lambda a: "small" if a else None, index=lambda a: a, rejections=(KeyError, ValueError))
def several(a: int) -> str:
    return ""


@scorer(lambda answer: "small", confidence="p")
def verify(answer: str) -> dict[str, float]:
    return {"p": 0.5}


async def awaited() -> None:
    assert_type(await coroutine(1), str)
    assert_type(await judge("x"), float)
    async for chunk in astream(1):
        assert_type(chunk, bytes)


class Methods:
    @tier("x")
    def method(self, a: int) -> int:
        return a

    @tier("x")
    @classmethod
    def of_class(cls, a: int) -> int:
        return a

    @staticmethod
    @tier("x")
    def static(a: int) -> int:
        return a


assert_type(plain(1, b="x"), float)
result: Coroutine[Any, Any, str] = coroutine(1)
score: Coroutine[Any, Any, float] = judge("x")
assert_type(stream("x"), Iterator[int])
assert_type(astream(1), AsyncIterator[bytes])
assert_type(bare(1), int)
assert_type(audited(1), int)
assert_type(several(1), str)
assert_type(verify("x"), dict[str, float])
assert_type(named(1), int)
assert_type(two(1), int)
assert_type(two("x"), str)
assert_type(Methods().method(1), int)
assert_type(Methods.of_class(1), int)
assert_type(Methods.static(1), int)
assert_type(tier("x"), tier)
assert_type(cascade(task="x"), Cascade)
with tier("small") as call:
    assert_type(call, OpenTier)
    call.confidence = 0.5
with cascade("x", task="organic") as whole:
    assert_type(whole, OpenCascade)
    assert_type(whole.trace_id, str)
annotate(confidence=0.5, tier="small")
feedback(record_call("organic", [TierCall("small", confidence=0.5)]), "small", correct=True)
plain("x")  # type: ignore[arg-type]  # the arguments keep their types
plain(1, c=1)  # type: ignore[call-arg]  # and their names
nothing = coroutine()  # type: ignore[call-arg]  # and their number
f: Callable[[int], int] = bare
