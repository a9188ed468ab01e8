"""A decorated cascade's own metrics, as the official exporters encode them, are counted to the last call."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.instrumentation.wired import ROOT

APP = """
import os, sys
from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import Counter, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
delta = sys.argv[2] == "delta"
kinds = (Counter, ObservableCounter)
reader = InMemoryMetricReader(dict.fromkeys(kinds, AggregationTemporality.DELTA) if delta else {})
resource = Resource({"service.name": "shop"})
metrics.set_meter_provider(MeterProvider([reader], resource))
from cascade_otel import cascade, tier
from cascade_otel.storage.counters import Counters

@tier("small", model="m1", threshold=.8, confidence=lambda r: r)
def small(sure): return sure
@tier("large", model="m2")
def large(): return 1
@cascade("extract", task="organic")
def extract(sure): return small(sure) if sure > .8 else (small(sure), large())

def told(): return encode_metrics(reader.get_metrics_data()).SerializeToString()

sent = []
for round in range(4):
    for call in range(5): extract(.9 if call else .5)
    sent.append(told())
child = os.fork()
if not child:
    extract(.5)
    with Counters(sys.argv[1]) as counters: assert counters.add(told()) == {}
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
extract(.9)
sent.append(told())
with Counters(sys.argv[1]) as counters:
    for body in sent + sent[::-1]: assert counters.add(body) == {}, body
    found = counters.calls(0, 10**7)
    assert counters.counts.passed > 0
print(found.groupby(["service", "task", "tier", "purpose", "outcome"])["n"].sum().to_dict())
"""


@pytest.mark.parametrize("temporality", ["cumulative", "delta"])
def test_every_call_is_counted_once_whatever_is_sent_twice(tmp_path, temporality):
    """Also those of a forked child, which counts from 0 in a scope of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", APP, str(tmp_path), temporality],
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert ast.literal_eval(done.stdout) == {
        ("shop", "organic", "small", "", "accepted"): 17,
        ("shop", "organic", "small", "", "escalated"): 5,
        ("shop", "organic", "large", "", "accepted"): 5,
    }
