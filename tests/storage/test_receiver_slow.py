"""Senders that begin and do not go on: cut off after a while, and others are served beside them."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest

from cascade_otel.storage.otlp import grpc_server as otlp_grpc
from cascade_otel.storage.otlp import http as otlp_http
from cascade_otel.storage.otlp.grpc_server import Listening
from cascade_otel.storage.otlp.http import Http
from cascade_otel.storage.receiving.intake import Intake
from tests.storage.otlp_requests import TRACES
from tests.storage.receiver_process import body, free_port

EXPORT = f"/{TRACES}/Export"


@contextlib.asynccontextmanager
async def served(root):
    """A channel to a server over gRPC in this process."""
    port = free_port()
    async with Intake(root) as intake:
        server = await otlp_grpc.start(intake, Listening("127.0.0.1", port))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
        await server.stop(1)


async def refusal(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


def test_calls_that_send_nothing_are_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(otlp_grpc, "MESSAGE_S", 0.3)

    async def main():
        async with served(tmp_path) as channel:
            silent = [channel.stream_unary(EXPORT)() for _ in range(4)]
            for call in silent:
                error = await refusal(call)
                assert error.code() == grpc.StatusCode.UNAVAILABLE
                assert error.details() == "the message did not arrive within 0.3 s"
            assert await channel.unary_unary(EXPORT)(body(1)) == b""

    asyncio.run(main())


def test_more_silent_calls_than_may_send_hold_nobody_up_for_good(tmp_path, monkeypatch):
    monkeypatch.setattr(otlp_grpc, "MESSAGE_S", 0.3)

    async def main():
        async with served(tmp_path) as channel:
            silent = [channel.stream_unary(EXPORT)() for _ in range(otlp_grpc.MESSAGES)]
            await asyncio.sleep(0.1)
            assert await channel.unary_unary(EXPORT)(body(1)) == b""
            for call in silent:
                call.cancel()

    asyncio.run(main())


def test_a_call_without_a_message_is_refused(tmp_path):
    async def main():
        async with served(tmp_path) as channel:
            error = await refusal(channel.stream_unary(EXPORT)(iter(())))
            assert (error.code(), error.details()) == (
                grpc.StatusCode.INVALID_ARGUMENT,
                "a call without a message arrived",
            )

    asyncio.run(main())


def test_more_calls_than_can_be_held_are_asked_to_come_again(tmp_path, monkeypatch):
    monkeypatch.setattr(otlp_grpc, "CALLS", 3)

    async def main():
        async with served(tmp_path) as channel:
            held = [channel.stream_unary(EXPORT)() for _ in range(3)]
            await asyncio.gather(*(call.wait_for_connection() for call in held))
            await asyncio.sleep(0.2)
            error = await refusal(channel.unary_unary(EXPORT)(body(1)))
            assert (error.code(), error.details()) == (
                grpc.StatusCode.UNAVAILABLE,
                "more than 3 calls are under way",
            )
            assert "google.rpc.retryinfo-bin" in dict(error.trailing_metadata())
            for call in held:
                call.cancel()
            await asyncio.sleep(0.2)
            assert await channel.unary_unary(EXPORT)(body(1)) == b""

    asyncio.run(main())


def test_a_body_that_does_not_arrive_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(otlp_http, "READ_S", 0.2)
    sent = []

    async def receive():
        if not received:
            received.append(True)
            return {"type": "http.request", "body": b"half", "more_body": True}
        await asyncio.sleep(60)
        raise AssertionError("was waited for")

    async def send(message):
        sent.append(message)

    async def main():
        async with Intake(tmp_path) as intake:
            headers = [(b"content-type", b"application/x-protobuf")]
            await Http(intake)(
                {"type": "http", "method": "POST", "path": "/v1/traces", "headers": headers}, receive, send
            )

    received: list[bool] = []
    asyncio.run(main())
    assert sent[0]["status"] == 408
    assert b"the body did not arrive within 0.2 s" in sent[1]["body"]
