"""Without an SDK, or with one that is switched off: the host sees what it would see undecorated."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.instrumentation.toys import run_python
from tests.instrumentation.wired import Collector, run_app

GRID = """
import sys
from tests.instrumentation.shaped import CANNOT, ENDINGS, KINDS, RAISED, SHAPES
from tests.instrumentation.shaped import drive, expected, plain, shaped
from cascade_otel import cascade, tier
from cascade_otel.instrumentation import _counters
DECORATED = [lambda f: tier("x")(f), lambda f: cascade("x")(f), lambda f: cascade("x")(tier("x")(f))]
done = 0
for shape in SHAPES:
    for ending in ENDINGS:
        for decorate in DECORATED if (shape, ending) not in CANNOT else []:
            function = shaped(shape, decorate, ending)
            assert [one(function) for one in KINDS] == [one(shaped(shape, plain, ending)) for one in KINDS]
            try:
                seen = drive(shape, function, ending)
            except BaseException as error:
                assert type(error) is RAISED.get(ending), (shape, ending, error)
            else:
                assert ending not in RAISED and seen == expected(shape, ending), (shape, ending, seen)
            done += 1
counted = [cell[0] for each in _counters.Counter.all for _, cell in each.cells.values()]
print(done, sum(counted), [name for name in sys.modules if name.startswith("opentelemetry.sdk")])
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_the_grid_of_shapes_and_endings_without_an_sdk() -> None:
    """As ``test_shapes.test_grid``, in a process of its own: nothing is counted, no SDK is loaded."""
    assert run_python(GRID) == "60 0 []"


def test_a_switched_off_sdk_is_sent_nothing(collector: Collector) -> None:
    printed, _ = run_app(
        f"endpoint={collector.url!r}", "print(extract(), handle.flush(9))", OTEL_SDK_DISABLED="true"
    )
    assert printed.splitlines()[-1] == "(0.5, 1) True"
    assert not collector.spans()
    assert not collector.metrics()
