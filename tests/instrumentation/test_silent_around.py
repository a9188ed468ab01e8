"""A ``with`` block that began where nothing is recorded, around one of the same object that is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.context import attach, detach, set_value

from cascade_otel import tier
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import outcomes


@contextmanager
def suppressed(yes: bool) -> Iterator[None]:
    token = attach(set_value("suppress_instrumentation", yes))
    try:
        yield
    finally:
        detach(token)


def test_the_block_inside_ends_where_it_ends_and_the_silent_one_after_it(seen: Recorded) -> None:
    block = tier("x")
    with suppressed(True), block as silent:
        with suppressed(False):
            with block as call:
                assert (block.blocks, block.silent_blocks) == ([call], [silent])
            assert call.nanoseconds, "it has ended"
            assert outcomes(seen) == {"x": ["accepted"]}
        assert (block.blocks, block.silent_blocks) == ([], [silent])
    assert not block.silent_blocks
    assert outcomes(seen) == {"x": ["accepted"]}
