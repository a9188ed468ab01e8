"""A small application that is wired by ``configure`` may use thread pools, its own and a library's."""

from __future__ import annotations

from pathlib import Path

from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store
from tests.instrumentation.toys import run_python

PROGRAM = """
from concurrent.futures import ThreadPoolExecutor
from cascade_otel import cascade, configure, tier

telemetry = configure(store={store!r})

@tier("small", threshold=0.8, confidence=lambda answer: 0.4)
def small(x): return x

@tier("large")
def large(x): return x

@cascade("extract", task="organic")
def extract(x):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(small, [x, x, x]))
        return pool.submit(large, x).result()

extract(1)
assert telemetry.flush(20)
"""


def test_tier_calls_in_a_pool_belong_to_the_cascade_that_uses_it(tmp_path: Path) -> None:
    run_python(PROGRAM.format(store=str(tmp_path)))
    with open_reader(Store(tmp_path)) as reader:
        (call,) = reader.last_calls("organic", 10).to_dict("records")
    assert call["escalated"]
    assert sorted(call["tiers"]) == ["large", "small", "small", "small"]
    assert call["final_tier"] == "large"


def test_where_the_instrumentation_is_not_installed_nothing_fails(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['opentelemetry.instrumentation.threading'] = None\n"
    said = run_python(hidden + PROGRAM.format(store=str(tmp_path)) + "print('done')")
    assert said == "done"
    with open_reader(Store(tmp_path)) as reader:
        (call,) = reader.last_calls("organic", 10).to_dict("records")
    assert len(call["tiers"]) == 0
