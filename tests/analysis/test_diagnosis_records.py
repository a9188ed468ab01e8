"""Causes where part of what is wanted was never recorded."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cascade_otel.analysis.causes import diagnosis
from cascade_otel.analysis.causes.rollout import moved
from cascade_otel.records import Cause, Finding, Window
from cascade_otel.storage.reading.rollup import open_reader
from tests.analysis import made_up
from tests.analysis.made_up import END, Traffic, changed

SINCE = END - 48
FINDING = Finding(
    "t", "small", "escalation_rate", "drifting", END - 1,
    reference=Window(END - 504, END - 168, 1, 0), current=Window(SINCE, END, 1, 0),
    since_hour=SINCE, since_low_hour=SINCE - 1, since_high_hour=SINCE + 1,
)  # fmt: skip


def cause(folder: Path, frames: list[pd.DataFrame]) -> Cause:
    with open_reader(made_up.write(folder, frames)) as reader:
        return diagnosis.cause(reader, FINDING)


def test_without_thresholds_inputs_and_the_rest_are_still_told_apart(tmp_path: Path) -> None:
    bare = Traffic(threshold=None)
    found = cause(tmp_path / "inputs", made_up.history({"t": (bare, replace(bare, hard=0.6))}))
    assert (found.name, found.threshold.points) == ("inputs", 0)
    worse = replace(bare, easy_low=0.3, hard_low=0.8)
    found = cause(tmp_path / "model", made_up.history({"t": (bare, worse)}))
    assert (found.name, found.threshold.points) == ("model_or_inputs", 0)


def test_segments_that_began_to_be_recorded_are_no_change_of_inputs(tmp_path: Path) -> None:
    before, after = made_up.history({"t": changed(easy_low=0.3, hard_low=0.8)})
    before["segment"] = None
    found = cause(tmp_path, [before, after])
    assert found.name == "model_or_inputs"
    assert found.inputs.points == 0


def test_failed_calls_count_as_what_they_did(tmp_path: Path) -> None:
    """A call that escalated without a confidence is neither lost nor taken for an accepted one."""
    before, after = made_up.history({"t": made_up.STEADY})
    failing = np.random.default_rng(3).random(len(after)) < 0.3
    after.loc[failing, "cheap_confidence"] = np.nan
    after.loc[failing, "escalated"] = True
    found = cause(tmp_path, [before, after])
    assert found.model.points == pytest.approx(21, abs=4)


def test_a_model_that_takes_part_of_the_calls_is_named_with_its_share(tmp_path: Path) -> None:
    before, after = made_up.history({"t": changed(easy_low=0.3, hard_low=0.8)})
    after["cheap_response_model"] = np.where(
        np.random.default_rng(3).random(len(after)) < 0.4, "small-2", "small-1"
    )
    with open_reader(made_up.write(tmp_path, [before, after])) as reader:
        (found,) = moved(reader, FINDING)
        assert (found.old, found.new) == ("small-1", "small-2")
        assert "for 4" in str(found)
        # Five points are within what routing does every day.
        assert moved(reader, replace(FINDING, since_hour=None)) == ()


def test_a_change_just_outside_the_interval_counts_and_one_a_day_off_does_not(tmp_path: Path) -> None:
    with open_reader(
        made_up.write(tmp_path, made_up.history({"t": changed(response_model="small-2")}))
    ) as reader:
        for off, seen in ((0, True), (3, True), (-3, True), (8, False), (-8, False)):
            at = SINCE + off
            shifted = replace(FINDING, since_hour=at, since_low_hour=at - 1, since_high_hour=at + 1)
            assert bool(moved(reader, shifted)) == seen, off
