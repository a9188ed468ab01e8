"""Cascades that stream: the draft is shown at once, checked when complete or half-way, and replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from cascade_otel import annotate, cascade, semconv, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import outcomes


class Model:
    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text

    async def astream(self, prompt: str) -> AsyncIterator[str]:
        for word in self.text.split():
            await asyncio.sleep(0)
            yield word

    def stream(self, prompt: str) -> Iterator[str]:
        yield from self.text.split()


class Draft:
    """A library's streaming cascade: what of the draft is shown is taken back where it is not good enough."""

    def __init__(self, small: Model, large: Model, limit: float = 0.7) -> None:
        self.small, self.large, self.limit = small, large, limit

    def quality(self, words: list[str]) -> float:
        score = 0.9 if "sorry" not in words else 0.2
        annotate(confidence=score, threshold=self.limit)
        return score

    async def astream(self, prompt: str) -> AsyncIterator[str]:
        words = []
        async for word in self.small.astream(prompt):
            words.append(word)
            yield word
        if self.quality(words) < self.limit:
            yield "[switching]"
            async for word in self.large.astream(prompt):
                yield word

    def stream(self, prompt: str) -> Iterator[str]:
        words = []
        for word in self.small.stream(prompt):
            words.append(word)
            if word == "sorry":
                break  # half-way, before the draft is complete
            yield word
        if self.quality(words) < self.limit:
            yield from self.large.stream(prompt)


def observed() -> type[Draft]:
    """Both levels are generators, wrapped as the classes have them."""

    class ObservedModel(Model):
        astream = tier(lambda model, prompt: model.name)(Model.astream)
        stream = tier(lambda model, prompt: model.name)(Model.stream)

    class Observed(Draft):
        astream = cascade("draft")(Draft.astream)
        stream = cascade("draft")(Draft.stream)

        def __init__(self, small: str, large: str) -> None:
            super().__init__(ObservedModel("small", small), ObservedModel("large", large))

    return Observed


async def collected(stream: AsyncIterator[str]) -> list[str]:
    return [word async for word in stream]


def test_a_draft_that_is_good_enough_is_one_call_as_long_as_its_stream(seen: Recorded) -> None:
    library: Any = observed()
    assert asyncio.run(collected(library("a good one", "").astream("?"))) == ["a", "good", "one"]
    (call,) = seen.cascades
    assert (call.escalated, call.final_tier, call.tiers[0].confidence) == (False, "small", 0.9)
    assert all(semconv.TIME_TO_FIRST_CHUNK in (span.attributes or {}) for span in seen.spans[:1])
    assert call.duration_s >= call.tiers[0].duration_s


def test_a_draft_that_is_replaced_in_the_middle_of_the_stream(seen: Recorded) -> None:
    library: Any = observed()
    words = asyncio.run(collected(library("sorry no", "yes indeed").astream("?")))
    assert words == ["sorry", "no", "[switching]", "yes", "indeed"]
    (call,) = seen.cascades
    assert (call.escalated, call.final_tier) == (True, "large")
    assert (call.tiers[0].confidence, call.tiers[0].reason) == (0.2, "low_confidence")


def test_a_draft_that_is_broken_off_half_way(seen: Recorded) -> None:
    """The loop over the draft ends early; the draft's visit escalated all the same, with its score."""
    library: Any = observed()
    assert list(library("well sorry no", "yes").stream("?")) == ["well", "yes"]
    (call,) = seen.cascades
    assert (call.escalated, call.final_tier) == (True, "large")
    assert outcomes(seen) == {"small": ["escalated"], "large": ["accepted"]}
    assert (call.tiers[0].confidence, call.tiers[0].reason) == (0.2, "low_confidence")


@pytest.mark.parametrize("read", [0, 1, 4])
def test_a_reader_that_goes_away_leaves_the_decision_open(seen: Recorded, read: int) -> None:
    """Nobody knows whether the draft would have escalated, unless it had when the reader went."""
    library: Any = observed()

    async def partly() -> None:
        stream = library("sorry no", "yes indeed").astream("?")
        for _ in range(read):
            await anext(stream)
        await stream.aclose()

    asyncio.run(partly())
    if read == 0:
        assert not seen.spans
        return
    (call,) = seen.cascades
    assert call.outcome == "abandoned"
    assert call.escalated == (True if read == 4 else None)
    assert call.final_tier is None
