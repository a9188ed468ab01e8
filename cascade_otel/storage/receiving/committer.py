"""Group commit: what arrives while segments are written becomes the next ones, then is acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from cascade_otel.storage.otlp.decode import Decoded, MalformedError, Parsed, decode_parsed
from cascade_otel.storage.receiving import put_aside
from cascade_otel.storage.segments import Store

FULL_SPANS, LINGER_S = 2_048, 0.25
"""A commit starts when so many spans wait, or so long after the first of them."""
WAITING_SPANS, WAITING_BYTES = 100_000, 64 << 20
"""More than this is refused until there is room."""
TROUBLE_S = 30.0
IN_FLIGHT = 2
"""One batch is decoded while the one before it is synced."""
logger = logging.getLogger(__name__)


class TryLaterError(Exception):
    """A fault that passes: the sender should send the same again after ``after_s`` seconds."""

    def __init__(self, reason: str, after_s: int):
        super().__init__(reason)
        self.reason, self.after_s = reason, after_s


@dataclass
class Counts:
    """Spans since the start, by what became of them, and the time of the last commit (0: none yet)."""

    stored: int = 0
    rejected: int = 0
    passed: int = 0
    commits: int = 0
    put_off: int = 0
    """Requests that were told to come again, since they could not be stored."""
    last_commit_ns: int = 0

    def add(self, decoded: Decoded) -> None:
        """Counts a batch that is durable."""
        self.stored += decoded.table.num_rows
        self.rejected += sum(sum(reasons.values()) for reasons in decoded.rejected)
        self.passed += sum(decoded.passed)
        self.commits += 1
        self.last_commit_ns = time.time_ns()

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)


class _Waiting(NamedTuple):
    parsed: Parsed
    done: asyncio.Future[dict[str, int]]


class Committer:
    """Commits requests to a store, many at once; used on one event loop, where ``run`` is running."""

    def __init__(self, store: Store):
        self.counts = Counts()
        self._trouble, self._trouble_s = "", 0.0
        self._store = store
        self._waiting: list[_Waiting] = []
        self._spans = self._bytes = 0
        self._arrived, self._full = asyncio.Event(), asyncio.Event()
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._commits: set[asyncio.Task[None]] = set()
        self._decoding = ThreadPoolExecutor(1, "decode")
        self._writing = ThreadPoolExecutor(1, "write")

    @property
    def waiting(self) -> int:
        """Spans that have arrived and that no commit has begun with."""
        return self._spans

    @property
    def trouble(self) -> str:
        """Why the last batch was not stored, if that was lately; '' if all is well.

        It passes also without a batch that is stored: whoever is sent nothing for it would stay ill.
        """
        return self._trouble if time.monotonic() - self._trouble_s < TROUBLE_S else ""

    async def add(self, body: bytes) -> dict[str, int]:
        """Returns once every good span of the body is durable: how many were put aside, by reason.

        Raises MalformedError (also where decoding failed in an unforeseen way), TooManyError, and
        TryLaterError if there is no room or the disk refuses.
        """
        if self._spans >= WAITING_SPANS or self._bytes >= WAITING_BYTES:
            raise TryLaterError("more spans are waiting than can be stored at once", 1)
        parsed = Parsed(body)
        if not parsed.count:
            return {}
        done: asyncio.Future[dict[str, int]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(parsed, done))
        self._spans += parsed.count
        self._bytes += len(body)
        self._arrived.set()
        if self._spans >= FULL_SPANS:
            self._full.set()
        return await done

    async def run(self) -> None:
        """Commits what arrives, until cancelled; then what has arrived is committed still."""
        try:
            while True:
                await self._arrived.wait()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), LINGER_S)
                await self._room.acquire()
                self._start(self._commit(self._take()))
        finally:
            if self._waiting:
                await self._room.acquire()
                self._start(self._commit(self._take()))
            await asyncio.gather(*self._commits)
            self._decoding.shutdown()
            self._writing.shutdown()

    def _take(self) -> list[_Waiting]:
        batch, self._waiting = self._waiting, []
        self._spans = self._bytes = 0
        self._arrived.clear()
        self._full.clear()
        return batch

    def _start(self, commit: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(commit)
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)

    async def _commit(self, batch: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        try:
            requests = [waiting.parsed for waiting in batch]
            decoded, failed = await loop.run_in_executor(self._decoding, self._decode, requests)
            await loop.run_in_executor(self._writing, self._write, decoded)
        except Exception as error:
            # Whatever it was, nothing is acknowledged, and the senders keep what they have.
            reason = self._failed(error, len(batch))
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_exception(TryLaterError(reason, 5))
        else:
            if self._trouble:
                logger.warning("the store is written to again")
                self._trouble = ""
            self.counts.add(decoded)
            rejected = iter(decoded.rejected)
            for place, waiting in enumerate(batch):
                outcome = failed[place] if place in failed else next(rejected)
                if waiting.done.done():
                    continue
                if isinstance(outcome, MalformedError):
                    waiting.done.set_exception(outcome)
                else:
                    waiting.done.set_result(outcome)
        finally:
            self._room.release()

    def _failed(self, error: Exception, requests: int) -> str:
        """Why a batch was not stored; said in the log once, until one has been stored again."""
        is_foreseen = isinstance(error, OSError) and error.errno is not None
        why = os.strerror(error.errno or 0) if isinstance(error, OSError) else type(error).__name__
        reason = f"the store cannot be written to: {why}"
        if reason != self._trouble:
            logger.error("%s; senders are told to come again", reason, exc_info=not is_foreseen)
        self._trouble, self._trouble_s = reason, time.monotonic()
        self.counts.put_off += requests
        return reason

    def _decode(self, requests: list[Parsed]) -> tuple[Decoded, dict[int, MalformedError]]:
        """All at once, or one by one if that fails: a request that cannot be decoded must not keep the
        others of its batch from being stored, now and whenever their senders try again."""
        try:
            return decode_parsed(requests), {}
        except MemoryError:
            raise  # no request's fault, and it passes
        except Exception:
            logger.warning("a batch of %d requests could not be decoded; each is tried alone", len(requests))
        good: list[Parsed] = []
        failed: dict[int, MalformedError] = {}
        for place, request in enumerate(requests):
            try:
                decode_parsed([request])
            except MemoryError:
                raise
            except Exception as error:
                logger.exception("a request of %d spans could not be decoded and was refused", request.count)
                failed[place] = MalformedError(
                    f"the request could not be decoded ({type(error).__name__}); the receiver's log says more"
                )
            else:
                good.append(request)
        # Together once more: a span may have its weight from another request's.
        return decode_parsed(good), failed

    def _write(self, decoded: Decoded) -> None:
        if decoded.table.num_rows:
            self._store.append(decoded.table)
        put_aside.keep(self._store.root, decoded.put_aside, decoded.rejected)
