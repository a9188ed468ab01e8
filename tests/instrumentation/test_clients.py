"""Beside the official instrumentation of a model's client nothing is counted twice."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

from cascade_otel import cascade, semconv, tier
from cascade_otel.instrumentation import _clients
from cascade_otel.instrumentation._settings import settings
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import total

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5-nano-2025-08-07",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "organic"}}
    ],
    "usage": {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23},
}


class Provider(http.server.BaseHTTPRequestHandler):
    """Answers every chat completion alike."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as made:
            yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def official(seen: Recorded) -> Iterator[None]:
    OpenAIInstrumentor().instrument()
    yield
    OpenAIInstrumentor().uninstrument()


def ask(client: openai.OpenAI, **said: Any) -> None:
    @tier("small", model="gpt-5-nano", cost=0.001, **said)
    def small(question: str) -> Any:
        return client.chat.completions.create(
            model="gpt-5-nano", messages=[{"role": "user", "content": question}]
        )

    cascade("extract")(small)("is it organic?")


@pytest.mark.parametrize("provider", ["openai", "azure.ai.openai", None])
def test_the_clients_own_span_and_metrics_are_the_only_ones(
    seen: Recorded, official: None, client: openai.OpenAI, provider: str | None
) -> None:
    ask(client, provider=provider)
    ours = next(each for each in seen.spans if semconv.TIER_KIND in dict(each.attributes or {}))
    theirs = next(each for each in seen.spans if each.name == "chat gpt-5-nano")
    assert theirs.parent is not None
    assert ours.context is not None
    assert theirs.parent.span_id == ours.context.span_id
    assert ours.name == "cascade.tier small"
    said = dict(ours.attributes or {})
    assert not {semconv.OPERATION_NAME, semconv.INPUT_TOKENS, semconv.OUTPUT_TOKENS} & set(said)
    assert said[semconv.REQUEST_MODEL] == "gpt-5-nano"
    assert said[semconv.COST_AMOUNT] == 0.001
    assert dict(theirs.attributes or {})[semconv.INPUT_TOKENS] == 20
    assert total(seen, semconv.OPERATION_DURATION) == 0, "theirs, in their own scope"
    assert total(seen, semconv.TIER_DURATION) == 1
    assert total(seen, semconv.TIER_TOKENS) == 23, "by tier, which theirs does not know"


def test_without_it_the_tiers_span_is_the_operations(seen: Recorded, client: openai.OpenAI) -> None:
    ask(client, provider="openai")
    tier_span = next(each for each in seen.spans if semconv.TIER_KIND in dict(each.attributes or {}))
    assert tier_span.name == "chat gpt-5-nano"
    assert (seen.tiers[0].input_tokens, seen.tiers[0].output_tokens) == (20, 3)
    assert total(seen, semconv.OPERATION_DURATION) == 1


@pytest.mark.parametrize(
    ("said", "operations"), [({"instrumented": False}, 1), ({"provider": "anthropic"}, 1), ({}, 0)]
)
def test_it_can_be_said_and_another_providers_does_not_count(
    seen: Recorded, official: None, client: openai.OpenAI, said: dict[str, Any], operations: int
) -> None:
    ask(client, **said)
    assert total(seen, semconv.OPERATION_DURATION) == operations


def test_said_without_any_being_active(seen: Recorded, client: openai.OpenAI) -> None:
    ask(client, instrumented=True)
    assert total(seen, semconv.OPERATION_DURATION) == 0


def test_opt_in_token_usage_is_left_to_the_client(
    seen: Recorded, official: None, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "token_usage", True)
    ask(client)
    assert total(seen, semconv.TOKEN_USAGE) == 0


def test_a_general_instrumentation_of_aws_says_nothing_of_an_unknown_provider(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An application that stores files in S3 does not thereby ask Bedrock."""
    import sys
    from types import ModuleType, SimpleNamespace

    botocore = ModuleType("opentelemetry.instrumentation.botocore")
    active = SimpleNamespace(_instance=SimpleNamespace(_is_instrumented_by_opentelemetry=True))
    botocore.BotocoreInstrumentor = active  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, botocore.__name__, botocore)
    assert _clients.instrumented("aws.bedrock")
    assert not _clients.instrumented(None)
    assert not _clients.instrumented("openai")
