"""Made-up calls of many tasks, shaped like real ones, as columns of a segment.

A call goes through up to three tiers (of the tier calls 72, 21 and 7 % are the first's, the second's and the
last's), so that 42 % of the spans are cascades' and 58 % tiers'. Half of the tasks have confidences that a
model has said (a dozen favourite numbers), the other half probabilities of tokens. Costs and latencies are
lognormal, one call in a hundred is labelled, one in two hundred audited, one tier call in two hundred fails;
one label in fifty is about a call that was never stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cascade_otel.records import DAY_NS, HOUR_NS
from cascade_otel.storage import schema

SPANS_A_CALL = 2.4
TIERS, THRESHOLDS = ("small", "mid", "large"), (0.68, 0.7)
MODELS = ("gpt-5-nano", "gpt-5-mini", "gpt-5")
MEDIAN_COSTS = (1.5e-4, 7.5e-4, 4e-3)
SAID = np.array([0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0])
HOW_OFTEN_SAID = np.array([0.06, 0.12, 0.11, 0.08, 0.07, 0.12, 0.13, 0.14, 0.12, 0.03, 0.02])
LABELLED, LOST, AUDITED, FAILED = 0.01, 0.02, 0.005, 0.005
FIRST_DAY = 20_670

Columns = dict[str, Any]


def table(
    spans: int, day: int = FIRST_DAY, tasks: int = 1000, hours: tuple[int, int] = (0, 24), seed: int = 0
) -> pa.Table:
    """About ``spans`` spans, in ``schema.SCHEMA``, of calls that began within these hours of the day."""
    dice = np.random.default_rng([seed, day, *hours])
    calls = max(1, round(spans / SPANS_A_CALL))
    ids = dice.integers(-(2**63), 2**63 - 1, (3, calls))
    start = day * DAY_NS + np.sort(
        dice.integers(hours[0] * HOUR_NS, hours[1] * HOUR_NS - HOUR_NS // 60, calls)
    )
    call: Columns = {
        "trace_hi": ids[0],
        "trace_lo": ids[1],
        "root": ids[2],
        "task": (dice.beta(1, 3, calls) * tasks).astype(np.int32),
        "segment": dice.choice(4, calls, p=[0.6, 0.25, 0.1, 0.05]),
        "at": start + dice.integers(20_000, 200_000, calls),
    }
    reached = np.ones(calls, bool)
    final, cost, parts = np.zeros(calls, np.int64), np.zeros(calls, np.int64), []
    for tier in range(len(TIERS)):
        part = _tier(call, reached, tier, dice)
        parts.append(part)
        here = np.flatnonzero(reached)
        final[here] = tier
        cost[here] += part["cost_nano"]
        call["at"][here] += part["duration_ns"] + dice.integers(5_000, 50_000, len(here))
        reached = np.zeros(calls, bool)
        reached[here[part["escalated"]]] = True
    parts += [
        _cascades(call, start, final, cost, dice),
        _labels(call, final, dice),
        _audits(call, final, dice),
    ]
    return pa.concat_tables([schema.rows(_texts(part, tasks)) for part in parts]).combine_chunks()


def _tier(call: Columns, reached: NDArray[np.bool_], tier: int, dice: np.random.Generator) -> Columns:
    here = np.flatnonzero(reached)
    count, task = len(here), call["task"][reached]
    said = dice.choice(SAID, count, p=HOW_OFTEN_SAID)
    confidence = np.rint(np.where(task % 2 == 0, said, dice.beta(6, 2, count)) * 1e9).astype(np.int64)
    failed, last = dice.random(count) < FAILED, tier == len(TIERS) - 1
    doubtful = np.zeros(count, bool) if last else confidence < THRESHOLDS[tier] * 1e9
    escalated = (doubtful | failed) & (not last)
    tokens, answered = dice.lognormal(6.5, 0.8, count).astype(int), dice.lognormal(4, 1, count).astype(int)
    return {
        "kind": np.full(count, schema.TIER),
        **{name: call[name][here] for name in ("trace_hi", "trace_lo", "task", "segment")},
        "span_id": dice.integers(-(2**63), 2**63 - 1, count),
        "parent_id": call["root"][here],
        "start_ns": call["at"][here],
        "duration_ns": np.exp(dice.normal(20 + tier / 2, 0.6, count)).astype(np.int64),
        "tier": np.full(count, tier),
        "model": np.full(count, tier),
        "response_model": np.full(count, tier),
        "tier_index": np.full(count, tier),
        "escalated": escalated,
        "outcome": np.where(failed, 2, escalated),
        "reason": np.where(failed, 1, np.where(doubtful, 0, -1)),
        "error_type": np.where(failed, 0, -1),
        "confidence_source": np.where(failed, -1, task % 2),
        "threshold": pa.array(np.full(count, 0.0 if last else THRESHOLDS[tier]), mask=np.full(count, last)),
        "confidence_nano": pa.array(confidence, mask=failed),
        "cost_nano": _nano(dice.lognormal(np.log(MEDIAN_COSTS[tier]), 1, count)),
        "input_tokens": tokens,
        "output_tokens": answered,
    }


def _cascades(
    call: Columns,
    start: NDArray[np.int64],
    final: NDArray[np.int64],
    cost: NDArray[np.int64],
    dice: np.random.Generator,
) -> Columns:
    count = len(start)
    return {
        "kind": np.full(count, schema.CASCADE),
        **{name: call[name] for name in ("trace_hi", "trace_lo", "task", "segment")},
        "span_id": call["root"],
        "start_ns": start,
        "duration_ns": call["at"] - start,
        "final_tier": final,
        "tier_count": final + 1,
        "escalated": final > 0,
        "outcome": np.zeros(count, np.int64),
        "cost_nano": cost,
        "input_size": dice.lognormal(7, 1, count).astype(np.int64),
    }


def _labels(call: Columns, final: NDArray[np.int64], dice: np.random.Generator) -> Columns:
    """Judged some minutes later, within the same day for the most part."""
    chosen = np.flatnonzero(dice.random(len(final)) < LABELLED)
    ids = dice.integers(-(2**63), 2**63 - 1, (4, len(chosen)))
    lost = dice.random(len(chosen)) < LOST
    return {
        "kind": np.full(len(chosen), schema.LABEL),
        "trace_hi": ids[0],
        "trace_lo": ids[1],
        "span_id": ids[2],
        "linked_trace_hi": call["trace_hi"][chosen],
        "linked_trace_lo": np.where(lost, ids[3], call["trace_lo"][chosen]),
        "start_ns": call["at"][chosen] + dice.integers(10**9, 60 * 10**9, len(chosen)),
        "duration_ns": np.zeros(len(chosen), np.int64),
        "task": call["task"][chosen],
        "tier": final[chosen],
        "correct": dice.random(len(chosen)) < 0.85,
        "feedback_source": np.zeros(len(chosen), np.int64),
    }


def _audits(call: Columns, final: NDArray[np.int64], dice: np.random.Generator) -> Columns:
    """The strongest tier asked once more where another had been accepted."""
    chosen = np.flatnonzero((final < len(TIERS) - 1) & (dice.random(len(final)) < AUDITED))
    strongest = np.full(len(chosen), len(TIERS) - 1)
    return {
        "kind": np.full(len(chosen), schema.TIER),
        **{name: call[name][chosen] for name in ("trace_hi", "trace_lo", "task", "segment")},
        "span_id": dice.integers(-(2**63), 2**63 - 1, len(chosen)),
        "parent_id": call["root"][chosen],
        "start_ns": call["at"][chosen] + 10**6,
        "duration_ns": np.exp(dice.normal(21, 0.6, len(chosen))).astype(np.int64),
        "purpose": np.zeros(len(chosen), np.int64),
        "tier": strongest,
        "tier_index": strongest,
        "model": strongest,
        "response_model": strongest,
        "agreed": dice.random(len(chosen)) < 0.9,
        "weight_ppm": np.full(len(chosen), round(1e6 / AUDITED)),
        "cost_nano": _nano(dice.lognormal(np.log(MEDIAN_COSTS[-1]), 1, len(chosen))),
    }


def _texts(part: Columns, tasks: int) -> Columns:
    """The columns with names in place of numbers, and those that are the same everywhere."""
    count = len(part["kind"])
    everywhere, tier = np.zeros(count, np.int64), part["kind"][:1] == schema.TIER
    called: dict[str, tuple[Any, Sequence[str]]] = {
        "service": (part["task"] % 3, ("shop", "search", "support")),
        "cascade": (everywhere, ("extract",)),
        "task": (part["task"], [f"attribute-{number:05d}" for number in range(tasks)]),
        "version": (everywhere, ("2026-11-a",)),
    }
    if tier.all():
        called["tier_kind"] = (everywhere, ("model",))
        called["operation"] = (everywhere, ("chat",))
        called["provider"] = (everywhere, ("openai",))
        called["cost_source"] = (everywhere, ("genai-prices",))
    named = {
        "purpose": ("audit",),
        "segment": ("de", "en", "fr", "it"),
        "tier": TIERS,
        "final_tier": TIERS,
        "model": MODELS,
        "response_model": [f"{model}-2026-08-07" for model in MODELS],
        "outcome": ("accepted", "escalated", "error"),
        "reason": ("low_confidence", "error"),
        "error_type": ("TimeoutError",),
        "confidence_source": ("verbalized", "mean_logprob"),
        "feedback_source": ("review",),
    }
    called |= {name: (part[name], words) for name, words in named.items() if name in part}
    if "cost_nano" in part:
        called["currency"] = (everywhere, ("USD",))
    kept = {name: part[name] for name in part if name in schema.RECORDED and name not in called}
    return kept | {name: _words(numbers, words) for name, (numbers, words) in called.items()}


def _nano(dollars: NDArray[np.float64]) -> NDArray[np.int64]:
    """To eight digits, as prices of tokens give them."""
    return np.rint(dollars * 1e8).astype(np.int64) * 10


def _words(numbers: NDArray[np.int64], words: Sequence[str]) -> pa.DictionaryArray:
    indices = pa.array(np.asarray(numbers).astype(np.int32), mask=np.asarray(numbers) < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(words, pa.string()))
