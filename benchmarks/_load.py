"""Many clients that post the same bodies to a receiver, over HTTP or gRPC, each waiting for its answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import grpc
import grpc.aio

GRACE_S, AGAIN_S = 60.0, 0.5
"""How long answers are waited for at the end; how long a client that was refused waits."""
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
CHANNELS = 8


@dataclass
class Sent:
    """Seconds until each acknowledgement, seconds from the start to the last of them, and refusals."""

    latencies: list[float] = field(default_factory=list)
    wall: float = 0.0
    refused: int = 0

    def at(self, share: float) -> float:
        """Latency, in ms, that this share of the requests did not exceed."""
        return sorted(self.latencies)[min(int(len(self.latencies) * share), len(self.latencies) - 1)] * 1e3


Post = Callable[[bytes], Awaitable[bool]]
Open = Callable[[int], contextlib.AbstractAsyncContextManager[Post]]


def http(port: int, source: Iterator[bytes], clients: int, seconds: float, headers: dict[str, str]) -> Sent:
    """Posts gzipped bodies, taken in turn from one source, until it or the time is at its end."""
    head = "POST /v1/traces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-protobuf\r\n"
    head += "Content-Encoding: gzip\r\n" + "".join(f"{name}: {text}\r\n" for name, text in headers.items())

    @contextlib.asynccontextmanager
    async def connected(_: int) -> AsyncIterator[Post]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def post(body: bytes) -> bool:
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            said = await reader.readexactly(length)
            if answer[9:12] not in (b"200", b"429", b"503"):
                raise RuntimeError(f"answered {answer.splitlines()[0]!r}: {said[:200]!r}")
            return answer[9:12] == b"200"

        try:
            yield post
        finally:
            writer.close()

    return asyncio.run(_load(connected, source, clients, seconds))


def over_grpc(port: int, source: Iterator[bytes], clients: int, seconds: float) -> Sent:
    """The same with bodies that are not zipped: the channel does it, as an exporter's does."""

    async def loaded() -> Sent:
        async with contextlib.AsyncExitStack() as open_channels:
            options = [("grpc.use_local_subchannel_pool", 1)]
            channels = [
                await open_channels.enter_async_context(
                    grpc.aio.insecure_channel(f"127.0.0.1:{port}", options, grpc.Compression.Gzip)
                )
                for _ in range(min(clients, CHANNELS))
            ]

            @contextlib.asynccontextmanager
            async def connected(number: int) -> AsyncIterator[Post]:
                export = channels[number % len(channels)].unary_unary(EXPORT)

                async def post(body: bytes) -> bool:
                    try:
                        await export(body)
                    except grpc.aio.AioRpcError as error:
                        if error.code() not in (
                            grpc.StatusCode.UNAVAILABLE,
                            grpc.StatusCode.RESOURCE_EXHAUSTED,
                        ):
                            raise
                        return False
                    return True

                yield post

            return await _load(connected, source, clients, seconds)

    return asyncio.run(loaded())


async def _load(connected: Open, source: Iterator[bytes], clients: int, seconds: float) -> Sent:
    sent, start = Sent(), time.monotonic()

    async def client(number: int) -> None:
        async with connected(number) as post:
            for body in source:
                asked = time.monotonic()
                if asked - start >= seconds:
                    return
                if await post(body):
                    sent.latencies.append(time.monotonic() - asked)
                    sent.wall = time.monotonic() - start
                else:
                    sent.refused += 1
                    await asyncio.sleep(AGAIN_S)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds + GRACE_S):
            await asyncio.gather(*(client(number) for number in range(clients)))
    if not sent.latencies:
        raise RuntimeError(f"nothing was acknowledged in {seconds + GRACE_S:.0f} s, {sent.refused} refused")
    return sent
