"""A tier in a thread, outside any cascade: worth a warning only in a program that has cascades."""

from __future__ import annotations

import pytest

from tests.instrumentation.toys import WITH_SDK, run_python

PROGRAM = """
import logging, threading
logging.basicConfig(stream=sys.stdout, format="%(message)s")

@tier("small")
def small():
    return 1

def in_a_thread():
    thread = threading.Thread(target=small)
    thread.start()
    thread.join()

if {has_cascade}:
    cascade("extract")(in_a_thread)()
else:
    in_a_thread()
print(len(SPANS.get_finished_spans()), "spans")
"""


@pytest.mark.parametrize("has_cascade", [True, False])
def test_a_program_without_cascades_is_not_told_that_its_tiers_are_in_none(has_cascade: bool) -> None:
    said = run_python(WITH_SDK + PROGRAM.format(has_cascade=has_cascade))
    assert ("'small' was called outside any cascade, in a thread" in said) == has_cascade
    assert said.endswith("2 spans" if has_cascade else "1 spans")
