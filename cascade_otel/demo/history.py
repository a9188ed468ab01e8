"""Calls drawn from a plan: every confidence is a real answer's, arrival, cost and latency are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import expit, logit

from cascade_otel.demo.answers import Pool, Pools
from cascade_otel.demo.plan import Kind, Plan, Shift
from cascade_otel.demo.tables import (
    CHARS_PER_TOKEN,
    LATENCY_SPREAD,
    LENGTH_SPREAD,
    MODELS,
    MOST_SECONDS,
    PROMPT_TOKENS,
    QUESTIONS,
    Task,
)
from cascade_otel.records import DAY_NS, HOUR_NS, SECOND_NS
from cascade_otel.storage.calls import two_tier_rows

SERVICE, CASCADE, VERSION = "product-attributes", "extract", "2"
CHEAP, STRONG, REVIEWER = "small", "large", "reviewer"
TEXTS = (
    "service", "cascade", "task", "version", "segment", "confidence_source", "feedback_source",
    "cheap_tier", "cheap_model", "cheap_response_model", "cheap_provider",
    "strong_tier", "strong_model", "strong_response_model", "strong_provider",
)  # fmt: skip
REVIEWED = 0.03
"""Share of calls, drawn at random, that are reviewed; of an accepted one the strong answer is had too."""


def write(plan: Plan, pools: Pools, hide_models: bool) -> Iterator[pa.Table]:
    """Rows of the history, one table a day."""
    hours = np.arange(plan.first_hour, plan.live_hour)
    calls = draw_calls(plan, pools, hours, hide_models)
    days = calls["start_ns"].to_numpy() // DAY_NS
    for day in np.unique(days):
        yield two_tier_rows(calls[days == day])


def draw_calls(
    plan: Plan, pools: Pools, hours: NDArray[np.int64], hide_models: bool, share: float = 1.0, draw: int = 0
) -> pd.DataFrame:
    """Calls of all tasks in ``hours``, as ``two_tier_rows`` takes them.

    ``share`` thins the traffic out; another ``draw`` gives other calls of the same hours.
    """
    random = np.random.default_rng([plan.seed, int(hours[0]), len(hours), draw])
    drawn = [_of_task(plan, pools, task, hours, share, random) for task in range(len(plan.tasks))]
    calls = pd.concat(drawn, ignore_index=True)
    calls[list(TEXTS)] = calls[list(TEXTS)].astype("category")
    if hide_models:
        return calls.drop(columns=["version", "cheap_response_model", "strong_response_model"])
    return calls


def _of_task(
    plan: Plan, pools: Pools, index: int, hours: NDArray[np.int64], share: float, random: np.random.Generator
) -> pd.DataFrame:
    task = plan.tasks[index]
    hour = np.repeat(hours, random.poisson(plan.calls_per_hour[index, plan.column(hours)] * share))
    wobble = plan.wobble[index, plan.column(hour)]
    state = _state(task, plan.shift_of(index), hour)
    hard = random.random(len(hour)) < state.hard
    weaker = random.random(len(hour)) < state.weaker

    cheap_models = [task.cheap, task.weaker]
    cheap = _answers(task, pools, cheap_models, hard, weaker, wobble, state.piled, random)
    nobody = np.zeros(len(hour), bool)
    strong = _answers(task, pools, [task.strong], hard, nobody, np.zeros(len(hour)), nobody, random)
    escalated = cheap.confidence < state.threshold
    reviewed = random.random(len(hour)) < REVIEWED
    ids = random.integers(1, 2**63, (2, len(hour)))
    return pd.DataFrame(
        {
            "trace_hi": ids[0],
            "trace_lo": ids[1],
            "start_ns": hour * HOUR_NS + random.integers(0, HOUR_NS, len(hour)),
            "service": SERVICE,
            "cascade": CASCADE,
            "task": task.name,
            "version": VERSION,
            "segment": np.where(hard, task.hard, task.main),
            "input_size": cheap.input_chars,
            "threshold": state.threshold,
            "cheap_confidence": cheap.confidence,
            "confidence_source": "result",
            "escalated": escalated,
            "audited": reviewed,
            "cheap_tier": CHEAP,
            "strong_tier": STRONG,
            "cheap_model": task.alias,
            "strong_model": task.strong,
            "cheap_correct": pd.arrays.BooleanArray(cheap.correct, ~reviewed),
            "strong_correct": pd.arrays.BooleanArray(strong.correct, ~reviewed),
            "feedback_source": REVIEWER,
            **_made("cheap", cheap_models, weaker, cheap.input_chars, random),
            **_made("strong", [task.strong], nobody, cheap.input_chars, random),
        }
    )


@dataclass(frozen=True)
class _State:
    """How a task is at the time of each call. Arrays (N,)."""

    hard: NDArray[np.float64]
    weaker: NDArray[np.float64]
    threshold: NDArray[np.float64]
    piled: NDArray[np.bool_]


def _state(task: Task, shift: Shift | None, hour: NDArray[np.int64]) -> _State:
    shifted = np.zeros(len(hour), bool) if shift is None else hour >= shift.hour

    def now(kind: Kind, otherwise: float) -> NDArray[np.float64]:
        of_this_kind = shift is not None and shift.kind == kind
        return np.where(shifted & of_this_kind, shift.to if shift else 0.0, otherwise)

    return _State(
        hard=now("inputs", task.hard_share),
        weaker=now("model", 0.0),
        threshold=now("threshold", task.threshold),
        piled=now("shape", 0.0) > 0,
    )


def _answers(
    task: Task,
    pools: Pools,
    models: list[str],
    hard: NDArray[np.bool_],
    second_model: NDArray[np.bool_],
    wobble: NDArray[np.float64],
    piled: NDArray[np.bool_],
    random: np.random.Generator,
) -> Pool:
    """One real answer for each call (N,), of the pool of its segment and model.

    A rate wobbles because the answers below the task's usual τ are drawn more or less often than they stand
    in the pool; where confidences pile up, only the surer half of the others is drawn.
    """
    confidence, correct = np.empty(len(hard)), np.empty(len(hard), bool)
    input_chars = np.empty(len(hard), np.int64)
    for segment, in_segment in ((task.main, ~hard), (task.hard, hard)):
        for number, model in enumerate(models):
            chosen = np.flatnonzero(in_segment & (second_model == bool(number)))
            pool = pools[QUESTIONS[segment], model]
            row = _rows_of(pool, task.threshold, wobble[chosen], piled[chosen], random)
            confidence[chosen], correct[chosen] = pool.confidence[row], pool.correct[row]
            input_chars[chosen] = pool.input_chars[row]
    return Pool(confidence, correct, input_chars)


def _rows_of(
    pool: Pool,
    threshold: float,
    wobble: NDArray[np.float64],
    piled: NDArray[np.bool_],
    random: np.random.Generator,
) -> NDArray[np.int64]:
    below, size = pool.below(threshold), len(pool.confidence)
    low = random.random(len(wobble)) < expit(logit(below / size) + wobble)
    middle = np.searchsorted(pool.confidence, np.median(pool.confidence[below:])) if below < size else below
    first = np.where(low, 0, np.where(piled, middle, below))
    return random.integers(first, np.where(low, below, size))


def _made(
    tier: str,
    models: list[str],
    second_model: NDArray[np.bool_],
    input_chars: NDArray[np.int64],
    random: np.random.Generator,
) -> dict[str, Any]:
    """Columns of the tier that no answer knows: tokens, cost and latency from the tables."""
    which = second_model.astype(np.int64)
    tables = [MODELS[model] for model in models]

    def of(name: str) -> NDArray[Any]:
        return np.array([getattr(table, name) for table in tables])[which]

    read = PROMPT_TOKENS + input_chars // CHARS_PER_TOKEN
    written = np.rint(of("output_tokens") * random.lognormal(0, LENGTH_SPREAD, len(which))).astype(np.int64)
    seconds = np.minimum(of("latency_s") * random.lognormal(0, LATENCY_SPREAD, len(which)), MOST_SECONDS)
    # USD per million tokens is 1,000 nanodollars a token.
    cost = np.rint((read * of("input_price") + written * of("output_price")) * 1000).astype(np.int64)
    return {
        f"{tier}_provider": tables[0].provider,
        f"{tier}_response_model": np.array(models)[which],
        f"{tier}_input_tokens": read,
        f"{tier}_output_tokens": written,
        f"{tier}_duration_ns": np.rint(seconds * SECOND_NS).astype(np.int64),
        f"{tier}_cost_nano": cost,
    }
