"""Each call of LiteLLM's Router is a cascade, and its model groups are the tiers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import litellm
import pytest
from litellm import Router

from cascade_otel import cascade, tier
from cascade_otel.adapters.litellm import Walk
from cascade_otel.testing import Recorded
from tests.adapters.litellm_routers import ASK, BUSY, LARGE, SMALL, ask, deployment, instrumented, router, run

WAYS = ("sync", "async", "sync in a loop")


@pytest.fixture(autouse=True)
def recording() -> Iterator[None]:
    with instrumented():
        yield


@pytest.mark.parametrize("way", WAYS)
def test_a_fallback_is_an_escalation(seen: Recorded, way: str) -> None:
    assert ask(router(), way).choices[0].message.content == "blue"
    (call,) = seen.cascades
    assert (call.name, call.task, call.outcome, call.escalated) == ("litellm", "small", "accepted", True)
    assert call.final_tier == "large"
    small, large = call.tiers
    assert (small.tier, small.model, small.outcome, small.reason) == ("small", SMALL, "escalated", "error")
    assert (small.error, small.cost, small.input_tokens) == ("RateLimitError", None, None)
    assert (large.tier, large.model, large.response_model) == ("large", LARGE, "gpt-4o")
    assert (large.outcome, large.escalated, large.reason) == ("accepted", False, None)
    assert (large.input_tokens, large.output_tokens) == (10, 20)
    assert len(seen.tiers) == 2


@pytest.mark.parametrize("way", WAYS)
def test_each_attempts_cost_goes_to_its_tier(seen: Recorded, way: str) -> None:
    answer = ask(router(), way)
    small, large = seen.tiers
    assert small.cost is None
    assert large.cost == answer._hidden_params["response_cost"] == pytest.approx(10 * 2.5e-6 + 20 * 10e-6)
    assert large.cost_source == "litellm"
    assert seen.cascades[0].cost == large.cost


@pytest.mark.parametrize("way", WAYS)
def test_without_a_failure_one_tier_answers(seen: Recorded, way: str) -> None:
    ask(router(small="green"), way)
    (call,) = seen.cascades
    assert (call.escalated, call.final_tier, len(call.tiers)) == (False, "small", 1)
    assert call.tiers[0].escalated is False


@pytest.mark.parametrize("way", WAYS)
def test_retries_of_a_group_are_one_visit(seen: Recorded, way: str) -> None:
    ask(router(of_small=2, num_retries=2, disable_cooldowns=True), way)
    (call,) = seen.cascades
    assert [(each.tier, each.outcome) for each in call.tiers] == [
        ("small", "repeated"),
        ("small", "repeated"),
        ("small", "escalated"),
        ("large", "accepted"),
    ]
    assert [each.escalated for each in call.tiers] == [None, None, True, False]


def test_the_user_may_name_the_task(seen: Recorded) -> None:
    ask(router(), "sync", metadata={"cascade_task": "colour"})
    ask(router(), "async", metadata={"cascade_task": "colour"})
    assert [each.task for each in seen.cascades] == ["colour", "colour"]
    assert {each.task for each in seen.tiers} == {"colour"}


@pytest.mark.parametrize("way", WAYS)
def test_when_all_fail_the_cascade_fails_as_the_host_sees_it(seen: Recorded, way: str) -> None:
    with pytest.raises(litellm.RateLimitError):
        ask(router(large=BUSY), way)
    (call,) = seen.cascades
    assert (call.outcome, call.final_tier) == ("error", None)
    assert [each.error for each in call.tiers] == ["RateLimitError", "RateLimitError"]


def test_a_timeout_is_told_as_such(seen: Recorded) -> None:
    late = deployment("small", SMALL, mock_timeout=True, timeout=0.01)
    asked = Router(
        model_list=[late, deployment("large", LARGE)], fallbacks=[{"small": ["large"]}], num_retries=0
    )
    ask(asked, "sync")
    assert (seen.tiers[0].error, seen.tiers[0].reason) == ("Timeout", "timeout")


@pytest.mark.parametrize("way", WAYS)
def test_a_group_without_a_free_deployment_has_failed(seen: Recorded, way: str) -> None:
    asked = router(of_small=2, allowed_fails=0, cooldown_time=60)
    for _ in range(6):
        ask(asked, way)
    last = seen.cascades[-1]
    assert [(each.tier, each.escalated, each.reason) for each in last.tiers] == [
        ("small", True, "error"),
        ("large", False, None),
    ]
    assert (last.tiers[0].error, last.tiers[0].model) == ("RouterRateLimitError", None)


def cooling(*groups: str, **options: Any) -> Router:
    """A Router whose groups have all had their failures, apart from the last one, which is called "huge"."""
    failing = [deployment(each, SMALL, BUSY, rpm=limit) for each in groups for limit in (100, 101)]
    options = {"num_retries": 0, "allowed_fails": 0, "cooldown_time": 60, **options}
    asked = Router(model_list=[*failing, deployment("huge", LARGE)], **options)
    for each in groups * 6:
        with contextlib.suppress(litellm.RateLimitError, ValueError):
            asked.completion(each, ASK, disable_fallbacks=True)
    return asked


@pytest.mark.parametrize("way", WAYS)
def test_each_group_without_a_free_deployment_is_told_once(seen: Recorded, way: str) -> None:
    asked = cooling("small", "large", fallbacks=[{"small": ["large", "huge"]}])
    assert ask(asked, way).choices[0].message.content == "blue"
    assert [(each.tier, each.escalated, each.error) for each in seen.cascades[-1].tiers] == [
        ("small", True, "RouterRateLimitError"),
        ("large", True, "RouterRateLimitError"),
        ("huge", False, None),
    ]


@pytest.mark.parametrize("way", WAYS)
def test_when_no_group_has_a_free_deployment_that_is_the_failure(seen: Recorded, way: str) -> None:
    asked = cooling("small")
    with pytest.raises(ValueError, match="No deployments available"):
        ask(asked, way)
    (small,) = seen.cascades[-1].tiers
    assert (seen.cascades[-1].outcome, small.tier, small.error) == ("error", "small", "RouterRateLimitError")


def test_where_attempts_are_unseen_what_a_call_says_of_them_is_told_once(seen: Recorded) -> None:
    def said(group: str, *failed: tuple[str, str]) -> dict[str, Any]:
        before = [
            {"model_group": each, "exception_type": error, "exception_string": ""} for each, error in failed
        ]
        return {"metadata": {"model_group": group, "previous_models": before}}

    own, none_free = ("small", "RateLimitError"), ("large", "RouterRateLimitError")
    with cascade("colour"), Walk("small"):
        with pytest.raises(litellm.RateLimitError):
            litellm.completion(SMALL, ASK, mock_response=BUSY, **said("small"))
        litellm.completion(LARGE, ASK, mock_response="blue", **said("huge", own, own, none_free))
        litellm.completion(LARGE, ASK, mock_response="blue", **said("huge", own, own, none_free))
    assert [(each.tier, each.model, each.error) for each in seen.tiers] == [
        ("small", SMALL, "RateLimitError"),
        ("large", None, "RouterRateLimitError"),
        ("huge", LARGE, None),
        ("huge", LARGE, None),
    ]


def test_a_call_without_a_model_fails_as_litellm_lets_it_fail(seen: Recorded) -> None:
    with pytest.raises(TypeError):
        router().completion(messages=ASK)
    assert not seen.tiers


def test_a_group_of_two_models_is_one_tier(seen: Recorded) -> None:
    asked = Router(
        model_list=[deployment("small", SMALL), deployment("small", "anthropic/claude-3-haiku-20240307")]
    )
    for _ in range(30):
        ask(asked, "sync")
    assert {each.tier for each in seen.tiers} == {"small"}
    assert {each.model for each in seen.tiers} == {SMALL, "anthropic/claude-3-haiku-20240307"}


def test_the_provider_is_called_as_opentelemetry_calls_it(seen: Recorded) -> None:
    asked = Router(model_list=[deployment("small", "azure/gpt-4o-mini", api_base="https://example.invalid")])
    ask(asked, "sync")
    (span,) = [each for each in seen.spans if each.name.startswith("chat")]
    assert dict(span.attributes or {})["gen_ai.provider.name"] == "azure.ai.openai"


def test_inside_a_cascade_of_ones_own_its_groups_are_that_ones_tiers(seen: Recorded) -> None:
    asked = router(small="green", fallbacks=[])

    @cascade(task="colour")
    def colour() -> str:
        asked.completion("small", ASK)
        return str(asked.completion("large", ASK).choices[0].message.content)

    assert colour() == "blue"
    (call,) = seen.cascades
    assert (call.name, call.task) == ("colour", "colour")
    assert [(each.tier, each.escalated, each.reason) for each in call.tiers] == [
        ("small", True, "policy"),
        ("large", False, None),
    ]


@pytest.mark.parametrize("way", WAYS)
def test_inside_a_tier_of_ones_own_nothing_is_added(seen: Recorded, way: str) -> None:
    asked = router()

    @tier("mine")
    def mine() -> object:
        return ask(asked, way)

    @cascade
    def colour() -> object:
        return mine()

    colour()
    (call,) = seen.cascades
    assert [each.tier for each in seen.tiers] == ["mine"]
    assert (call.tiers[0].input_tokens, call.tiers[0].response_model) == (10, "gpt-4o")


def test_mirrored_traffic_is_not_the_cascades(seen: Recorded) -> None:
    asked = Router(model_list=[deployment("small", SMALL, silent_model="trial"), deployment("trial", LARGE)])
    ask(asked, "async")
    assert [each.tier for each in seen.tiers] == ["small"]
    assert len(seen.cascades) == 1


def test_calls_at_once_are_kept_apart(seen: Recorded) -> None:
    asked = router()

    async def many() -> None:
        await asyncio.gather(
            *(asked.acompletion("small", ASK, metadata={"cascade_task": str(n)}) for n in range(20))
        )

    run(many)
    assert len(seen.cascades) == 20
    assert all([each.tier for each in call.tiers] == ["small", "large"] for call in seen.cascades)
    assert {call.task for call in seen.cascades} == {str(n) for n in range(20)}


def test_cancelling_is_passed_on_and_told(seen: Recorded) -> None:
    asked = router(small="green")

    async def cancelled() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asked.acompletion("small", ASK, mock_delay=5), 0.05)

    run(cancelled)
    (call,) = seen.cascades
    assert (call.outcome, [each.outcome for each in call.tiers]) == ("cancelled", ["cancelled"])
