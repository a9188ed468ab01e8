"""What a host's SDK makes of our metrics: views that drop labels, exemplars that lead to a trace."""

from __future__ import annotations

from tests.instrumentation.toys import run_python

WITH_VIEWS = """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.trace import TracerProvider
delta = InMemoryMetricReader({ObservableCounter: AggregationTemporality.DELTA})
cumulative = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([cumulative, delta], views=[
    View(instrument_name="cascade.tier.calls", attribute_keys={"cascade.tier.name"}),
    View(instrument_name="cascade.tier.cost", aggregation=DropAggregation()),
    View(instrument_name="cascade.duration", attribute_keys=set(),
         aggregation=ExplicitBucketHistogramAggregation([1, 2])),
]))
trace.set_tracer_provider(TracerProvider())
from cascade_otel import cascade, tier
@tier("small", cost=.5)
def small(fail):
    if fail: raise KeyError
    return 1
@cascade(task=lambda fail, task: task)
def c(fail, task):
    try: return small(fail)
    except KeyError: return None
def points(reader, name):
    data = reader.get_metrics_data()
    return [p for rm in data.resource_metrics for sm in rm.scope_metrics for m in sm.metrics if m.name == name
            for p in m.data.data_points]
def calls(reader):
    return [(dict(p.attributes), p.value) for p in points(reader, "cascade.tier.calls")]
"""


def test_a_view_that_drops_labels_sums_over_them() -> None:
    """Four series become one, for cumulative and for delta readers, at every collection."""
    assert run_python(
        WITH_VIEWS
        + """
for task in ("a", "b"):
    for fail in (False, True, False): c(fail, task)
print(calls(cumulative), calls(delta))
c(True, "a"); c(False, "c")
print(calls(cumulative), calls(delta))
print(calls(cumulative), calls(delta))
"""
    ).split("\n") == [
        "[({'cascade.tier.name': 'small'}, 6)] [({'cascade.tier.name': 'small'}, 6)]",
        "[({'cascade.tier.name': 'small'}, 8)] [({'cascade.tier.name': 'small'}, 2)]",
        "[({'cascade.tier.name': 'small'}, 8)] [({'cascade.tier.name': 'small'}, 0)]",
    ]


def test_a_view_may_drop_a_metric_or_give_it_other_buckets() -> None:
    assert (
        run_python(
            WITH_VIEWS
            + """
c(False, "a"); c(False, "b")
(whole,) = points(cumulative, "cascade.duration")
print(points(cumulative, "cascade.tier.cost"), whole.count, whole.explicit_bounds, dict(whole.attributes))
"""
        )
        == "[] 2 (1, 2) {}"
    )


def test_histograms_keep_exemplars_of_the_very_call() -> None:
    """A bucket leads to a trace: its exemplar has the trace and the span that fell into it."""
    assert (
        run_python(
            WITH_VIEWS
            + """
with cascade("c") as whole:
    with tier("person", kind="human") as call: call.confidence = .5
data = cumulative.get_metrics_data()  # the SDK gives each exemplar once
metrics = {m.name: m for rm in data.resource_metrics for sm in rm.scope_metrics for m in sm.metrics}
wanted = {"cascade.duration": whole, "cascade.tier.duration": call, "cascade.tier.confidence": call}
for name, one in wanted.items():
    ((exemplar,),) = (point.exemplars for point in metrics[name].data.data_points)
    context = one.span.get_span_context()
    print(exemplar.trace_id == context.trace_id, exemplar.span_id == context.span_id)
"""
        ).split("\n")
        == ["True True"] * 3
    )
