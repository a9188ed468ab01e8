"""Read by mypy in a test: a runner's answers have the type that its tiers return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_type

from cascade_otel.runner import Runner


@dataclass
class Answer:
    confidence: float


def small(product: str) -> Answer | None:
    return None


def large(product: str) -> Answer:
    return Answer(1.0)


async def small_async(product: str) -> Answer:
    return Answer(1.0)


async def large_async(product: str) -> Answer:
    return Answer(1.0)


def plain() -> None:
    runner = Runner("cascade.toml", {"large": large}, confidence="confidence")
    assert_type(runner("organic", "oat milk"), Answer)


def cheap_may_return_nothing() -> None:
    runner = Runner("cascade.toml", {"small": small, "large": large}, confidence="confidence")
    assert_type(runner("organic", "oat milk"), Answer | None)


async def asynchronous() -> None:
    tiers = {"small": small_async, "large": large_async}
    runner = Runner("cascade.toml", tiers, confidence=lambda answer: answer.confidence)
    assert_type(await runner("organic", "oat milk"), Answer)
