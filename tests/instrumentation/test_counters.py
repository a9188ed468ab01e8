"""Counters that are observed: right for every reader, also in forked children."""

from __future__ import annotations

import os

import pytest

from tests.instrumentation.toys import WITH_SDK, run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")


def test_a_forked_child_counts_from_zero_for_cumulative_and_for_delta_readers() -> None:
    assert run_python(
        WITH_SDK
        + """
@tier("x")
def x(): pass
for _ in range(5): x()
print(calls(cumulative), calls(delta))
x(); x(); sys.stdout.flush()
if os.fork() == 0:
    x(); print(calls(cumulative), calls(delta)); sys.stdout.flush(); os._exit(0)
os.wait(); print(calls(cumulative), calls(delta))
"""
    ).split("\n") == ["5 5", "1 1", "7 2"]


def test_a_forked_child_does_not_join_its_parents_cascade() -> None:
    assert run_python(
        WITH_SDK
        + """
@tier("x")
def x(): pass
@cascade
def c():
    if os.fork() == 0:
        x()
        spans = SPANS.get_finished_spans()
        print(len(spans), spans[0].parent is not None, "cascade.name" in spans[0].attributes)
        sys.stdout.flush(); os._exit(0)
    os.wait()
c(); print(len(SPANS.get_finished_spans()))
"""
    ).split("\n") == ["1 True False", "1"]
