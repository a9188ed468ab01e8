"""``drift --also`` from the command line to the state, with a child in Evidently's place."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cascade_otel import cli
from cascade_otel.presentation import evidently_days, evidently_process, second_opinion
from cascade_otel.records import HOUR_NS
from cascade_otel.storage.state import State
from tests.presentation.small_store import build


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten days up to now, at midnight so that every day is whole."""
    midnight = 490_008
    monkeypatch.setattr(time, "time_ns", lambda: midnight * HOUR_NS + 1)
    built = build(tmp_path / "store", midnight)
    built.source.state.unlink()
    return built.source.store


def says_drift_every_day(
    arguments: Sequence[str], folder: Path, timeout_s: float, told: bool = False
) -> None:
    given = np.load(folder / arguments[1])
    names, done = [str(name) for name in given["methods"]], len(given["current"])
    answer = {
        "done": done,
        "thresholds": dict.fromkeys(names, 0.1),
        "drifted": dict.fromkeys(names, [True] * done),
    }
    (folder / arguments[2]).write_text(json.dumps(answer))


def test_the_count_is_printed_kept_and_in_the_json(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evidently_process, "run", says_drift_every_day)
    assert cli.main(["drift", "--store", str(store), "--also", "psi,ks"]) == 0
    said = capsys.readouterr()
    table = [line.split() for line in said.out.splitlines()]
    # Seven days are learned from, three are judged; the shift of the last two is one page of ours.
    assert ["shifted", "3", "1", "3", "3"] in table
    assert ["steady", "3", "0", "3", "3"] in table
    assert ["all", "1", "6", "6"] in table
    assert "the last 30 days are judged anew" in said.err
    with State(store / "state.sqlite") as state:
        kept = second_opinion.kept(state)
    assert kept is not None
    assert [one.task for one in kept[1].tasks] == ["shifted", "steady"]

    # The count itself is made once: it takes seconds.
    monkeypatch.setattr(evidently_days, "ask", lambda *_: kept[1])
    assert cli.main(["drift", "--store", str(store), "--also", "psi,ks", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    opinions = {one["task"]: one["second_opinion"] for one in told if "second_opinion" in one}
    assert opinions["shifted"]["methods"][0] == {"method": "psi", "pages": 3, "spells": 1, "days": 3}
    assert {one["stream"] for one in told if "second_opinion" in one} == {"escalation_rate"}


def test_a_wrong_name_is_told_before_anything_is_done(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["drift", "--store", str(store), "--also", "psy"]) == 2
    assert "has no method of Evidently's called 'psy'; wanted: some of anderson, " in capsys.readouterr().err
    assert not (store / "state.sqlite").exists()
