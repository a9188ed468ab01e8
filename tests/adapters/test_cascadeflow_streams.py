"""Streamed CascadeAgent runs: until their end, with the threshold that the gate used."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cascade_otel import cascade
from cascade_otel.adapters._inside import innermost
from cascade_otel.testing import Recorded
from tests.adapters.cascadeflow_agents import (
    ANSWER,
    PROVIDER_REGISTRY,
    QUESTION,
    CascadeAgent,
    ModelConfig,
    QualityConfig,
    StreamingProvider,
    instrumented,
)

GOOD, BAD = ANSWER, "Um, I am not sure."
PAUSE_S = StreamingProvider.pause_s


@contextmanager
def agent(
    monkeypatch: pytest.MonkeyPatch, small: Any, large: Any = GOOD, **options: Any
) -> Iterator[CascadeAgent]:
    own = type("Own", (StreamingProvider,), {"texts": {"small": small, "large": large}})
    monkeypatch.setitem(PROVIDER_REGISTRY, "custom", own)
    models = [ModelConfig(name, provider="custom", cost=0.001) for name in ("small", "large")]
    with instrumented():
        yield CascadeAgent(models=models, **options)


async def events(of: CascadeAgent, **options: Any) -> list[Any]:
    seen = []
    async for event in of.stream_events(QUESTION, **options):
        assert innermost() is None, "the consumer does not run within the agent's call"
        seen.append(event)
    return seen


def thresholds(of_all: float) -> dict[str, float]:
    return dict.fromkeys(("trivial", "simple", "moderate", "hard", "expert"), of_all)


STRICT = QualityConfig(confidence_thresholds=thresholds(0.9))
LAX = QualityConfig(confidence_thresholds=thresholds(0.2))


def test_the_event_that_ends_a_stream_tells_the_decision(
    seen: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    with agent(monkeypatch, BAD, quality_config=STRICT) as asked:
        last = asyncio.run(events(asked))[-1]
    facts = last.data["result"]
    assert (facts["draft_accepted"], facts["verifier_confidence"]) == (False, 0.95)
    (call,) = seen.cascades
    small, large = call.tiers
    assert (call.escalated, call.final_tier) == (True, "large")
    assert (small.confidence, small.threshold) == (facts["draft_confidence"], 0.9)
    assert (small.reason, large.confidence) == ("low_confidence", None), ".95 is what nobody has measured"
    assert large.duration_s >= 6 * PAUSE_S
    assert call.duration_s >= small.duration_s + large.duration_s


def test_tokens_and_costs_of_a_stream_are_not_made_up_of_words(
    seen: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    with agent(monkeypatch, GOOD, quality_config=LAX) as asked:
        last = asyncio.run(events(asked))[-1]
    assert last.data["result"]["draft_tokens"] > 0
    assert [(each.input_tokens, each.cost) for each in seen.tiers] == [(None, None)]


@pytest.mark.parametrize("method", ["stream", "run_streaming"])
def test_the_other_ways_to_stream_are_recorded_once(
    seen: Recorded, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    async def ask(asked: CascadeAgent) -> None:
        if method == "stream":
            async for _ in asked.stream(QUESTION):
                pass
        else:
            await asked.run_streaming(QUESTION, enable_visual=False)

    with agent(monkeypatch, BAD, quality_config=STRICT) as asked:
        asyncio.run(ask(asked))
    (call,) = seen.cascades
    assert [(each.tier, each.escalated, each.threshold) for each in call.tiers] == [
        ("small", True, 0.9),
        ("large", False, None),
    ]


def test_a_stream_that_is_routed_directly_is_one_tier(
    seen: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    with agent(monkeypatch, BAD) as asked:
        asyncio.run(events(asked, force_direct=True))
    (call,) = seen.cascades
    assert [(each.tier, each.threshold, each.confidence) for each in call.tiers] == [("large", None, None)]


def test_a_stream_that_fails_is_an_error_of_its_tier(seen: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    with agent(monkeypatch, ConnectionError()) as asked:
        last = asyncio.run(events(asked))[-1]
    assert last.type.value == "error", "cascadeflow swallows it"
    (call,) = seen.cascades
    assert [(each.tier, each.outcome, each.error) for each in call.tiers] == [
        ("small", "error", "ConnectionError")
    ]
    assert call.final_tier is None


def test_a_stream_that_its_consumer_breaks_off_is_abandoned(
    seen: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(asked: CascadeAgent) -> None:
        stream = asked.stream_events(QUESTION)
        async for event in stream:
            if event.type.value == "chunk":
                break
        await stream.aclose()

    with agent(monkeypatch, GOOD) as asked:
        asyncio.run(ask(asked))
    (call,) = seen.cascades
    assert (call.outcome, [each.tier for each in call.tiers]) == ("abandoned", ["small"])


def test_a_stream_within_a_cascade_of_the_users_own_is_its(
    seen: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    with agent(monkeypatch, BAD, quality_config=STRICT) as asked:

        @cascade(task="capitals")
        async def ask() -> None:
            async for _ in asked.stream_events(QUESTION):
                pass

        asyncio.run(ask())
    (call,) = seen.cascades
    assert (call.task, call.final_tier, call.tiers[0].threshold) == ("capitals", "large", 0.9)


def test_a_threshold_that_cascadeflow_moves_by_itself_is_seen_to_move(
    seen: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds an acceptance rate, so an escalation rate hides what the thresholds show."""
    monkeypatch.setattr(StreamingProvider, "pause_s", 0.0)

    async def ask(asked: CascadeAgent) -> set[float]:
        reported = [(await events(asked))[-1].data["result"]["quality_threshold"] for _ in range(70)]
        return set(reported)

    config = QualityConfig(confidence_thresholds=thresholds(0.3), enable_adaptive=True)
    with agent(monkeypatch, GOOD, quality_config=config) as asked:
        assert asyncio.run(ask(asked)) == {0.3}, "cascadeflow reports where it began"
    used = [round(each.threshold or 0.0, 2) for each in seen.tiers if each.tier == "small"]
    assert used == [0.3] * 30 + [0.31] * 30 + [0.32] * 10
