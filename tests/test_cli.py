"""The commands speak in one line when something is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade_otel import cli


@pytest.mark.parametrize("command", ["drift", "summary", "doctor"])
def test_a_missing_store_is_one_line_that_says_what_to_type(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, "--store", str(tmp_path / "absent")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "cascade-otel serve --store" in error
    assert not (tmp_path / "absent").exists()


def test_store_may_be_named_before_or_after_accept() -> None:
    before = cli.parser().parse_args(["drift", "--store", "a", "accept", "organic"])
    after = cli.parser().parse_args(["drift", "accept", "organic", "--store", "a"])
    assert before.store == after.store == Path("a")
    assert before.task == after.task == "organic"


@pytest.mark.parametrize("command", ["summary", "drift", "doctor"])
def test_an_empty_store_is_no_error(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--store", str(tmp_path)]) == 0
    capsys.readouterr()


def test_drift_says_so_where_there_is_nothing_to_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["drift", "--json", "--store", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "no full hour of calls in the last 49 days" in told.err


@pytest.mark.parametrize("seed", ["-1", "x", "1.5"])
def test_a_seed_is_a_whole_number_from_0_on(seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["demo", "--headless", f"--seed={seed}"])
    assert stopped.value.code == 2
    assert "wanted: a whole number from 0 on" in capsys.readouterr().err
