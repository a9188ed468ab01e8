"""A tier that returns a client's stream object lasts until that has been read; the object stays its own."""

from __future__ import annotations

import asyncio
import gc
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import openai
import pytest

from cascade_otel import cascade, semconv, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.shaped import inside
from tests.instrumentation.toys import total

WORDS = ["or", "ga", "nic"]
QUESTION: Any = {"model": "gpt-5-nano", "messages": [{"role": "user", "content": "organic?"}], "stream": True}


def chunk(**said: Any) -> bytes:
    body = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5-nano-2025", **said}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


class Provider(http.server.BaseHTTPRequestHandler):
    """Streams three words, then the usage."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        with suppress(ConnectionError):  # of a reader that has let go
            for word in WORDS:
                delta = {"index": 0, "delta": {"content": word}, "finish_reason": None}
                self.wfile.write(chunk(choices=[delta]))
            usage = {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23}
            self.wfile.write(chunk(choices=[], usage=usage) + b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()
        thread.join()


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as made:
        yield made


def texts(chunks: list[Any]) -> list[str]:
    return [each.choices[0].delta.content for each in chunks if each.choices]


def test_the_span_lasts_until_the_stream_has_been_read(seen: Recorded, client: openai.OpenAI) -> None:
    @tier("small", model="gpt-5-nano", cost=0.001)
    def small() -> Any:
        return client.chat.completions.create(**QUESTION)

    plain = client.chat.completions.create(**QUESTION)
    stream = small()
    assert type(stream) is type(plain)
    assert not seen.spans
    assert not inside()
    assert texts(list(stream)) == texts(list(plain)) == WORDS
    (only,) = seen.tiers
    assert (only.outcome, only.input_tokens, only.output_tokens) == ("accepted", 20, 3)
    assert only.response_model == "gpt-5-nano-2025"
    assert semconv.TIME_TO_FIRST_CHUNK in dict(seen.spans[0].attributes or {})


def test_a_cascade_that_gives_the_stream_back_lasts_as_long(seen: Recorded, client: openai.OpenAI) -> None:
    small = tier("small")(lambda: client.chat.completions.create(**QUESTION))
    stream = cascade("extract")(lambda: small())()
    assert not seen.spans
    assert texts(list(stream)) == WORDS
    assert seen.cascades[0].final_tier == "small"
    assert total(seen, semconv.CASCADE_DURATION) == 1


def test_a_stream_that_is_let_go_of_is_abandoned(seen: Recorded, client: openai.OpenAI) -> None:
    stream = tier("small")(lambda: client.chat.completions.create(**QUESTION))()
    assert texts([next(stream)]) == ["or"]
    stream.close()
    del stream
    gc.collect()
    assert [each.outcome for each in seen.tiers] == ["abandoned"]


def test_the_asynchronous_one_likewise(seen: Recorded, url: str) -> None:
    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

            @tier("small")
            async def small() -> Any:
                return await client.chat.completions.create(**QUESTION)

            stream = await small()
            assert isinstance(stream, openai.AsyncStream)
            assert not seen.spans
            assert texts([each async for each in stream]) == WORDS

    asyncio.run(main())
    assert [(each.outcome, each.output_tokens) for each in seen.tiers] == [("accepted", 3)]


class Stream:
    """Something else of that name."""

    def __init__(self, iterator: Any = None) -> None:
        self._iterator = iterator


class Sealed:
    __slots__ = ()

    @property
    def _iterator(self) -> Any:
        return (each for each in WORDS)


Sealed.__name__ = "Stream"


@pytest.mark.parametrize("make", [Stream, lambda: Stream([1, 2]), Sealed])
def test_anything_else_of_that_name_is_a_result_like_any_other(
    seen: Recorded, lenient: None, make: Any
) -> None:
    result = make()
    assert tier("small")(lambda: result)() is result
    assert [each.outcome for each in seen.tiers] == ["accepted"]
