"""From a store to the causes of a shift: each alone, two at once, and what else changed at that hour."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cascade_otel.analysis.causes import diagnosis
from cascade_otel.records import HOUR_NS, Cause, Finding, Window
from cascade_otel.storage.reading.rollup import Reader, open_reader
from tests.analysis import made_up
from tests.analysis.shifted_stores import cause, finding, hour_of, write
from tests.statistics.cause_worlds import HALF, SINGLE, Case, Change, Setting, both, simulated

CASES: dict[str, Case] = {
    **{name: simulated([2, number], change) for number, (name, change) in enumerate(SINGLE.items())},
    "silent": simulated([2, 8], Change(silent=0.6)),
    "none": simulated([2, 9]),
    "mix and model": simulated([2, 10], both("mix", "model")),
    "unasked": simulated([2, 11], SINGLE["model"], Setting(canaries=0)),
    "no kinds": simulated([2, 12], SINGLE["hidden"], Setting(canaries=0, strata=False)),
}
NAMES = {
    "threshold": "threshold",
    "mix": "inputs",
    "model": "model",
    "scale": "confidence_scale",
    "hidden": "hidden_inputs",
    "silent": "silent_decay",
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with open_reader(write(tmp_path_factory.mktemp("shifted"), CASES)) as found:
        yield found


@functools.cache
def diagnosed(reader: Reader, name: str) -> Cause:
    return cause(reader, CASES[name], name)


@pytest.mark.parametrize("name", NAMES)
def test_each_cause_is_named_with_its_probability(reader: Reader, name: str) -> None:
    found = diagnosed(reader, name)
    assert found.named == (NAMES[name],)
    assert found.name == NAMES[name]
    assert not found.unsure
    probabilities = {one.name: one.probability for one in found.probabilities}
    assert set(probabilities) == set(NAMES.values())
    assert probabilities[found.name] >= 0.6
    assert all(p < 0.6 for other, p in probabilities.items() if other != found.name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("threshold", "τ was moved: 0.7 → 0.77."),
        ("mix", "Inputs of segment kind"),
        ("model", "also on the same canary prompts"),
        ("scale", "answers are as good as before"),
        ("hidden", "not on the same canary prompts"),
        ("silent", "Answers got worse while confidences stayed as they were"),
        ("none", "No single cause"),
    ],
)
def test_the_note_says_what_was_seen(reader: Reader, name: str, words: str) -> None:
    assert words in diagnosed(reader, name).note


def test_a_window_without_a_change_has_no_cause(reader: Reader) -> None:
    found = diagnosed(reader, "none")
    assert (found.name, found.named, found.unsure, found.to_know) == ("unknown", (), (), ())


def test_two_causes_at_once_are_both_named_the_larger_first(reader: Reader) -> None:
    found = diagnosed(reader, "mix and model")
    assert set(found.named) == {"inputs", "model"}
    points = {"inputs": abs(found.inputs.points), "model": abs(found.model.points)}
    assert found.name == found.named[0] == max(points, key=lambda one: points[one])


def test_without_canaries_it_says_what_it_cannot_tell_and_what_would_tell_it(reader: Reader) -> None:
    found = diagnosed(reader, "unasked")
    assert found.name == "model_or_inputs"
    assert set(found.unsure) == {"model", "hidden_inputs"}
    assert found.to_know[0] == "canaries"
    assert "cannot tell between a model that answers worse or better and inputs that differ" in found.note
    assert "replay canary prompts" in found.note


def test_without_segments_it_asks_for_them(reader: Reader) -> None:
    assert "segments" in diagnosed(reader, "no kinds").to_know


def test_a_window_of_hours_is_compared_with_the_same_hours(tmp_path: Path) -> None:
    """Harder inputs that come at night are no change of a window that is the night's."""
    case = simulated([2, 13], setting=Setting(days=1, canaries=0))
    starts = []
    for calls in (case.before, case.now):
        random = np.random.default_rng(len(calls.day))
        hour = np.where(calls.stratum > 1, 0, 12) + random.integers(0, 12, len(calls.day))
        starts.append((hour_of(0) + calls.day * 24 + hour) * HOUR_NS)
    shift = finding(case, "t")
    assert shift.current is not None
    night = replace(shift, current=replace(shift.current, end_hour=shift.current.start_hour + 12))
    with open_reader(write(tmp_path, {"t": case}, start_ns=(starts[0], starts[1]))) as reader:
        found = diagnosis.cause(reader, night)
    assert found.named == ()
    assert abs(found.inputs.points) > 2


def test_a_diagnosis_changes_nothing_of_its_finding(reader: Reader) -> None:
    shift = finding(CASES["model"], "model")
    before = dataclasses.asdict(shift)
    assert isinstance(diagnosis.cause(reader, shift), Cause)
    assert dataclasses.asdict(shift) == before


def test_a_rollout_of_tau_to_a_part_of_the_calls_is_seen_though_the_median_stays(tmp_path: Path) -> None:
    case = simulated([3, 0])
    random = np.random.default_rng(4)
    new = random.random(len(case.now.day)) < 0.4
    threshold = np.where(new, 0.85, 0.7)
    escalated = case.now.confidence < threshold
    case = replace(case, now=replace(case.now, escalated=escalated))
    with open_reader(write(tmp_path, {"t": case}, threshold=(0.7, threshold))) as reader:
        found = cause(reader, case, "t")
    assert found.named == ("threshold",)
    assert "τ was moved for 4" in found.note
    assert "0.7 → 0.85" in found.note
    change = 100 * (escalated.mean() - case.before.escalated.mean())
    effects = (found.inputs, found.model, found.threshold)
    assert sum(effect.points for effect in effects) == pytest.approx(change, abs=1e-9)
    assert found.threshold.points == pytest.approx(change, abs=4)
    (tau,) = (one for one in found.changes if one.what == "threshold")
    assert (tau.before, tau.now, tau.hour) == (0.7, 0.85, hour_of(int(case.now.day.min())))
    assert tau.share == pytest.approx(0.4, abs=0.03)


def test_a_tau_that_differs_by_segment_is_no_cause(tmp_path: Path) -> None:
    case = simulated([3, 1])
    parts = []
    for calls in (case.before, case.now):
        parts.append(np.where(calls.stratum < 2, 0.6, 0.8))
    escalated = [calls.confidence < part for calls, part in zip((case.before, case.now), parts, strict=True)]
    case = replace(
        case,
        before=replace(case.before, escalated=escalated[0]),
        now=replace(case.now, escalated=escalated[1]),
    )
    with open_reader(write(tmp_path, {"t": case}, threshold=(parts[0], parts[1]))) as reader:
        assert cause(reader, case, "t").named == ()


def test_what_else_changed_at_that_hour_is_listed(tmp_path: Path) -> None:
    case = simulated([3, 2], replace(HALF["model"], mix=1.0), Setting(a_day=300))
    busy = simulated([3, 2], replace(HALF["model"], mix=1.0), Setting(a_day=900)).now
    case = replace(case, now=busy)
    failed = np.where(np.random.default_rng(5).random(len(busy.day)) < 0.1, "TimeoutError", None)
    columns = {"response_model": ("small-1", "small-2"), "version": "7", "error_type": (None, failed)}
    with open_reader(write(tmp_path, {"t": case}, **columns)) as reader:
        found = cause(reader, case, "t")
    changes = {one.what: one for one in found.changes}
    assert set(changes) == {"response_model", "error_rate", "volume", "segment"}
    assert (changes["response_model"].before, changes["response_model"].now) == ("small-1", "small-2")
    assert changes["response_model"].hour == hour_of(int(busy.day.min()))
    assert changes["error_rate"].now == pytest.approx(0.1, abs=0.03)
    assert changes["volume"].before == pytest.approx(300 / 24, rel=0.1)
    assert changes["volume"].now == pytest.approx(900 / 24, rel=0.1)
    assert changes["segment"].name.startswith("kind ")
    assert "the answering model changed: small-1 → small-2" in found.note


def test_nothing_else_changed_where_nothing_did(reader: Reader) -> None:
    assert diagnosed(reader, "none").changes == ()


def test_answers_are_judged_by_labels_where_nothing_agrees(tmp_path: Path) -> None:
    """A decay that only labels know of is found through them."""
    traffic = made_up.Traffic(labels=True)
    frames = made_up.history({"t": (traffic, traffic)}, per_hour=15)
    late = frames[1]
    wrong = np.random.default_rng(6).random(len(late)) < 0.4
    late["cheap_correct"] = late["cheap_correct"].to_numpy(bool) & ~wrong
    end, since = made_up.END, made_up.END - 48
    shift = Finding(
        "t", "small", "calibration_gap", "drifting", end - 1, since_hour=since,
        reference=Window(end - 504, end - 168, 1, 0), current=Window(since, end, 1, 0),
    )  # fmt: skip
    with open_reader(made_up.write(tmp_path, frames)) as reader:
        assert diagnosis.cause(reader, shift).named == ("silent_decay",)


def test_sizes_of_inputs_are_kinds_too(tmp_path: Path) -> None:
    """Longer inputs of the same segment are a change of inputs, not a hidden one."""
    case = simulated([3, 4], SINGLE["mix"], Setting(canaries=0))
    sizes = [10 + 100 * calls.stratum for calls in (case.before, case.now)]
    columns = {"segment": None, "input_size": (sizes[0], sizes[1])}
    with open_reader(write(tmp_path, {"t": case}, **columns)) as reader:
        found = cause(reader, case, "t")
    assert found.named == ("inputs",)
    assert "Inputs of size 210 or more grew" in found.note or "Inputs of size 310 or more grew" in found.note


def test_a_tau_that_adapts_by_itself_is_no_cause_and_one_that_adapts_elsewhere_is(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    for place, centre in enumerate((0.7, 0.8)):
        case = simulated([3, 5], setting=Setting(canaries=0))
        own = [random.normal(at, 0.01, len(one.day)) for one, at in ((case.before, 0.7), (case.now, centre))]
        sides = [one.confidence < tau for one, tau in zip((case.before, case.now), own, strict=True)]
        case = replace(
            case,
            before=replace(case.before, escalated=sides[0]),
            now=replace(case.now, escalated=sides[1]),
        )
        with open_reader(write(tmp_path / str(place), {"t": case}, threshold=(own[0], own[1]))) as reader:
            assert cause(reader, case, "t").named == ("threshold",) * place


def test_a_scale_that_changed_with_a_rollout_stands_under_the_model(tmp_path: Path) -> None:
    case = CASES["scale"]
    with open_reader(write(tmp_path, {"t": case}, response_model=("small-1", "small-2"))) as reader:
        found = cause(reader, case, "t")
    assert (found.name, found.named) == ("model", ("confidence_scale",))
    assert "answers are as good as before" in found.note
