"""``cascade-otel threshold``: sentences for people, one object for programs, errors in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cascade_otel import cli
from tests.analysis.checked_calls import Log, write


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(
        tmp_path_factory.mktemp("stores") / "checked", Log(), Log(task="silent", agree=False, audit_rate=0)
    ).root


def test_a_table_with_sentences_and_the_days_replayed(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["threshold", "organic", "--store", str(store), "--replay"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("organic, tier small: 6,000 calls")
    assert "<- now" in told
    assert "Each day as it was, and with τ =" in told


def test_one_json_object(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["threshold", "organic", "--store", str(store), "--json", "--replay", "0.95"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["task"] == "organic"
    assert told["advised"]["threshold"] in {point["threshold"] for point in told["curve"]}
    assert told["replayed"] == 0.95
    assert sum(day["calls"] for day in told["days"]) == 6000


def test_no_advice_is_an_answer_not_an_error(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["threshold", "silent", "--store", str(store)]) == 0
    assert "No τ can be advised: no accepted answer was checked" in capsys.readouterr().out


def test_the_limit_comes_from_the_policy_unless_it_is_given(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "cascade.toml"
    policy.write_text("[tasks.organic]\nrisk_limit = 0.08\n")
    ask = ["threshold", "organic", "--json", "--store", str(store), "--policy", str(policy)]
    assert cli.main(ask) == 0
    assert json.loads(capsys.readouterr().out)["alpha"] == 0.08
    assert cli.main([*ask, "--alpha", "0.03"]) == 0
    assert json.loads(capsys.readouterr().out)["alpha"] == 0.03


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody"], "type one of: organic, silent"),
        (["organic", "--alpha", "5"], "--alpha 5.0 arrived; wanted: a share between 0 and 1"),
        (["silent", "--replay"], "--replay has no advised τ to replay"),
    ],
)
def test_mistakes_are_one_line(
    store: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert cli.main(["threshold", *arguments, "--store", str(store)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
