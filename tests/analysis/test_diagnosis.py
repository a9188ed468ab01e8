import functools
from dataclasses import replace

import pytest

from cascade_otel.analysis.causes import diagnosis
from cascade_otel.records import Cause, Finding, Stream, TaskHours, Window
from cascade_otel.storage.reading.rollup import Reader
from tests.analysis.made_up import END

SINCE = END - 48


@functools.cache
def hours_of(reader: Reader) -> TaskHours:
    return reader.task_hours(END - 504, END)


def finding(reader: Reader, task: str, stream: Stream = "escalation_rate") -> Finding:
    """The finding of a shift 48 hours ago, as the detector would report it."""
    history = hours_of(reader)
    index = history.tasks.index(task)

    def window(start: int, end: int) -> Window:
        part = (history.hours >= start) & (history.hours < end)
        return Window(
            start, end, int(history.calls[index, part].sum()), int(history.escalated[index, part].sum())
        )

    return Finding(
        task, "small", stream, "drifting", END - 1, log_evidence=14.0, log_needed=11.6,
        reference=window(END - 504, END - 168), current=window(SINCE, END),
        since_hour=SINCE, since_low_hour=SINCE - 2, since_high_hour=SINCE + 1,
    )  # fmt: skip


def cause(reader: Reader, task: str, stream: Stream = "escalation_rate") -> Cause:
    return diagnosis.cause(reader, finding(reader, task, stream))


@pytest.mark.parametrize("task", ["model", "version", "hidden", "inputs", "threshold", "steady"])
def test_the_effects_add_up_to_the_change_and_lie_in_their_intervals(reader: Reader, task: str) -> None:
    found, shift = cause(reader, task), finding(reader, task)
    assert shift.reference is not None
    assert shift.current is not None
    effects = (found.inputs, found.model, found.threshold)
    change = 100 * (shift.current.rate - shift.reference.rate)
    assert sum(effect.points for effect in effects) == pytest.approx(change, abs=1e-9)
    assert all(effect.low <= effect.points <= effect.high for effect in effects)


def test_confidences_that_fell_when_the_model_changed_are_the_models_doing(reader: Reader) -> None:
    found = cause(reader, "model")
    assert found.name == "model"
    assert "the answering model changed: small-1 → small-2" in found.note
    assert found.model.low > 8
    assert abs(found.inputs.points) < 2


def test_so_are_those_that_fell_with_a_new_version(reader: Reader) -> None:
    found = cause(reader, "version")
    assert found.name == "model"
    assert "the version changed: 7 → 8" in found.note


def test_a_model_that_changed_at_another_time_is_not_blamed(reader: Reader) -> None:
    found = cause(reader, "hidden")
    assert found.name == "model_or_inputs"
    assert "no recorded model" in found.note


def test_a_segment_that_grew_is_named(reader: Reader) -> None:
    found = cause(reader, "inputs")
    assert found.name == "inputs"
    assert found.note == "Inputs of segment hard grew from 30% to 60% of calls."
    assert found.inputs.low > 10


def test_a_moved_threshold_is_named(reader: Reader) -> None:
    found = cause(reader, "threshold")
    assert found.name == "threshold"
    assert found.note == "τ was moved: 0.8 → 0.92."
    assert found.threshold.low > 25
    assert abs(found.model.points) < 3


def test_chance_earns_no_name(reader: Reader) -> None:
    found = cause(reader, "steady")
    assert found.name == "unknown"
    assert "No single cause" in found.note


def test_another_shape_without_a_recorded_change_means_that_the_threshold_lost_its_meaning(
    reader: Reader,
) -> None:
    found = cause(reader, "shape", "confidence_shape")
    assert found.name == "model_or_inputs"
    assert "τ no longer means what it did" in found.note
    assert abs(found.inputs.points + found.model.points + found.threshold.points) < 2


def test_another_shape_with_another_model_is_the_models_doing(reader: Reader) -> None:
    found = cause(reader, "shape by model", "confidence_shape")
    assert found.name == "model"
    assert "small-1 → small-2" in found.note


def test_another_shape_from_other_inputs_is_the_inputs_doing(reader: Reader) -> None:
    assert cause(reader, "inputs", "confidence_shape").name == "inputs"


def test_a_model_that_changed_nothing_is_not_a_cause(reader: Reader) -> None:
    assert cause(reader, "moved elsewhere").name == "unknown"


def test_without_calls_the_cause_is_unknown(reader: Reader) -> None:
    empty = replace(finding(reader, "steady"), reference=Window(0, 24, 0, 0))
    assert diagnosis.cause(reader, empty).name == "unknown"
    assert diagnosis.cause(reader, replace(empty, since_hour=None)).name == "unknown"


def test_the_same_finding_has_the_same_cause(reader: Reader) -> None:
    assert cause(reader, "model") == cause(reader, "model")
