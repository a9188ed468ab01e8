"""The live part of the demo: decorated functions that answer drawn calls, as an application would."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from opentelemetry import trace

from cascade_otel import cascade, feedback, tier
from cascade_otel.demo.history import CASCADE, CHEAP, REVIEWER, STRONG, VERSION
from cascade_otel.demo.tables import MODELS, Task
from cascade_otel.records import SECOND_NS

NANO = 1e9
Wait = Callable[[float], Awaitable[None]]
"""Waits as long as a model takes to answer, in seconds."""


@dataclass(frozen=True)
class Answer:
    """What a model answers: the attributes that the tiers read."""

    confidence: float | None
    cost: float
    usage: tuple[int, int]
    model: str | None
    seconds: float


@dataclass(frozen=True)
class Question:
    """One call as it was drawn, with the answers the models will give."""

    task: str
    segment: str
    input_size: int
    threshold: float
    cheap: Answer
    strong: Answer
    cheap_correct: bool | None
    """What a reviewer will say; None: nobody reviews this call."""
    strong_correct: bool | None


Extract = Callable[[Question], Awaitable[Answer]]


def questions(calls: pd.DataFrame) -> Iterator[Question]:
    """Drawn calls (see ``history.draw_calls``) as questions, in their order."""
    for call in calls.to_dict("records"):
        cheap, strong = (_answer(call, name) for name in ("cheap", "strong"))
        yield Question(
            task=call["task"],
            segment=call["segment"],
            input_size=call["input_size"],
            threshold=call["threshold"],
            cheap=cheap,
            strong=strong,
            cheap_correct=None if pd.isna(call["cheap_correct"]) else bool(call["cheap_correct"]),
            strong_correct=None if pd.isna(call["strong_correct"]) else bool(call["strong_correct"]),
        )


def cascade_of(task: Task, hide_models: bool = False, wait: Wait = asyncio.sleep) -> Extract:
    """The decorated cascade of one task."""

    @tier(
        CHEAP,
        model=task.alias,
        provider=MODELS[task.cheap].provider,
        threshold=lambda question: question.threshold,
        confidence="confidence",
        cost="cost",
        usage="usage",
    )
    async def small(question: Question) -> Answer:
        await wait(question.cheap.seconds)
        return question.cheap

    @tier(STRONG, model=task.strong, provider=MODELS[task.strong].provider, cost="cost", usage="usage")
    async def large(question: Question) -> Answer:
        await wait(question.strong.seconds)
        return question.strong

    @cascade(
        CASCADE,
        task=task.name,
        version=None if hide_models else VERSION,
        segment=lambda question: question.segment,
        input_size=lambda question: question.input_size,
    )
    async def extract(question: Question) -> Answer:
        answer = await small(question)
        if not sure(question):
            answer = await large(question)
        _review(question)
        return answer

    return extract


def sure(question: Question) -> bool:
    """Whether the cheap answer stands."""
    return question.cheap.confidence is not None and question.cheap.confidence >= question.threshold


async def answer_all(extracts: dict[str, Extract], asked: Iterable[tuple[float, Question]]) -> int:
    """Asks each question at its moment (seconds from now), all at once where need be. How many were asked."""

    async def ask(moment: float, question: Question) -> None:
        await asyncio.sleep(moment)
        await extracts[question.task](question)

    return len(await asyncio.gather(*(ask(moment, question) for moment, question in asked)))


def _answer(call: dict[Any, Any], name: str) -> Answer:
    return Answer(
        confidence=call.get(f"{name}_confidence"),
        cost=call[f"{name}_cost_nano"] / NANO,
        usage=(call[f"{name}_input_tokens"], call[f"{name}_output_tokens"]),
        model=call.get(f"{name}_response_model"),
        seconds=call[f"{name}_duration_ns"] / SECOND_NS,
    )


def _review(question: Question) -> None:
    if question.cheap_correct is None:
        return
    trace_id = trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)
    for name, correct in ((CHEAP, question.cheap_correct), (STRONG, question.strong_correct)):
        if correct is not None and (name == CHEAP or not sure(question)):
            feedback(trace_id, name, correct, source=REVIEWER, cascade=CASCADE, task=question.task)
