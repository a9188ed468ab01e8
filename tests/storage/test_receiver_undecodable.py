"""A request that the decoder cannot take in an unforeseen way is refused alone."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from cascade_otel.storage.receiving import committer
from cascade_otel.storage.receiving.committer import Committer, TryLaterError
from cascade_otel.storage.receiving.intake import Intake, RefusedError
from cascade_otel.storage.segments import Store
from tests.storage.receiver_process import PROGRAM, PROTOBUF, Receiver, body, free_port, ids, stored_ids

decode_parsed = committer.decode_parsed
POISONED = 5
"""So many spans has the request that the decoder of these tests fails on."""
FAILING = f"""
from cascade_otel.storage.receiving import committer
decode_parsed = committer.decode_parsed
def decode(requests):
    if any(request.count == {POISONED} for request in requests):
        raise ZeroDivisionError("of the decoder")
    return decode_parsed(requests)
committer.decode_parsed = decode
"""


def failing(error):
    def decode(requests):
        if any(request.count == POISONED for request in requests):
            raise error
        return decode_parsed(requests)

    return decode


async def added(root, bodies):
    """What became of each of the bodies, which arrive in one batch."""
    running_in = Committer(Store(root))
    running = asyncio.create_task(running_in.run())
    outcomes = await asyncio.gather(*map(running_in.add, bodies), return_exceptions=True)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    return outcomes, running_in.counts


@pytest.mark.parametrize("place", range(4))
def test_the_others_of_its_batch_are_stored(tmp_path, monkeypatch, caplog, place):
    monkeypatch.setattr(committer, "decode_parsed", failing(ZeroDivisionError("of the decoder")))
    bodies = [body(2, seed=seed) for seed in range(3)]
    bodies.insert(place, body(POISONED, seed=9))
    outcomes, counts = asyncio.run(added(tmp_path, bodies))
    refused = outcomes.pop(place)
    assert outcomes == [{}, {}, {}]
    assert isinstance(refused, committer.MalformedError)
    assert "could not be decoded (ZeroDivisionError)" in str(refused)
    assert set(stored_ids(tmp_path)) == set().union(*(ids(body(2, seed=seed)) for seed in range(3)))
    assert (counts.stored, counts.commits) == (6, 1)
    (traceback,) = [record for record in caplog.records if record.exc_info]
    assert "a request of 5 spans could not be decoded" in traceback.getMessage()


def test_what_each_had_put_aside_is_told_to_its_own_sender(tmp_path, monkeypatch):
    monkeypatch.setattr(committer, "decode_parsed", failing(ZeroDivisionError("of the decoder")))

    def spoil(span):
        span.trace_id = b""

    bodies = [body(2, seed=1), body(POISONED, seed=2), body(2, spoil, seed=3), body(2, seed=4)]
    outcomes, counts = asyncio.run(added(tmp_path, bodies))
    assert outcomes[0] == outcomes[3] == {}
    assert sum(outcomes[2].values()) == 1
    assert (counts.stored, counts.rejected) == (5, 1)


def test_where_memory_is_short_all_are_asked_to_come_again(tmp_path, monkeypatch):
    """It is no request's fault, and it passes."""
    monkeypatch.setattr(committer, "decode_parsed", failing(MemoryError()))
    outcomes, _ = asyncio.run(added(tmp_path, [body(2, seed=1), body(POISONED, seed=2)]))
    assert all(isinstance(outcome, TryLaterError) for outcome in outcomes)
    assert not stored_ids(tmp_path)


def test_its_sender_is_told_that_it_is_of_no_use_to_send_it_again(tmp_path, monkeypatch):
    monkeypatch.setattr(committer, "decode_parsed", failing(ZeroDivisionError("of the decoder")))

    async def main():
        async with Intake(tmp_path) as intake:
            with pytest.raises(RefusedError) as refused:
                await intake.take("traces", body(POISONED))
            assert await intake.take("traces", body(1)) == {}
        return refused.value

    refused = asyncio.run(main())
    assert (refused.status, refused.retry_after_s) == (400, None)


def test_a_receiver_refuses_it_once_and_serves_on(tmp_path):
    with open(tmp_path / "log", "w+") as log:
        receiver = Receiver(tmp_path / "store", free_port(), log=log, program=FAILING + PROGRAM)
        try:
            refused = receiver.ask("POST", "/v1/traces", gzip.compress(body(POISONED)), PROTOBUF)
            assert refused[0] == 400
            assert b"ZeroDivisionError" in refused[1]
            assert receiver.send(body(2))[0] == 200
        finally:
            assert receiver.stop() == 0
        log.seek(0)
        assert log.read().count("could not be decoded and was refused\nTraceback") == 1
