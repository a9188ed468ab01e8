from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cascade_otel.presentation import drift_report, evidently_child
from cascade_otel.records import UserError, Window
from tests.presentation.small_store import Built, findings

SHIFTED = findings()[2]


def windows() -> tuple[Window, Window]:
    assert SHIFTED.reference is not None
    assert SHIFTED.current is not None
    return SHIFTED.reference, SHIFTED.current


@pytest.mark.timeout(170)
def test_evidently_really_writes_its_report(built: Built, tmp_path: Path) -> None:
    folder = tmp_path / drift_report.FOLDER
    with built.reader() as reader:
        html = drift_report.write(reader, SHIFTED, *windows(), folder)
    assert html.stat().st_size > 100_000
    assert "<html" in html.read_text(encoding="utf-8")[:2000].lower()
    found = drift_report.newest(tmp_path / "state.sqlite", "shifted")
    assert found is not None
    assert found.html == html
    by_column = found.columns.set_index("column")
    # The share of low confidences doubled; every call has the same latency and cost within its path.
    assert bool(by_column.loc["confidence", "drifted"])
    assert set(by_column.index) == {"confidence", "escalated", "latency_s", "cost"}
    # Twice as many low confidences, as many calls of them escalate: the same sizes of effect.
    for size in ("psi", "wasserstein", "jensenshannon"):
        assert by_column.loc["confidence", size] == pytest.approx(by_column.loc["escalated", size])
        assert by_column.loc["confidence", size] > 0.1
    assert "960 calls drawn" in found.note
    assert sorted(path.suffix for path in folder.iterdir()) == [".html", ".json"]


def test_too_few_calls_are_an_error_that_helps(built: Built, tmp_path: Path) -> None:
    reference, _ = windows()
    nothing = Window(reference.start_hour - 500, reference.start_hour - 400, 0, 0)
    with built.reader() as reader, pytest.raises(UserError, match="wanted: 30 on either side"):
        drift_report.write(reader, "shifted", reference, nothing, tmp_path)


class Child:
    """Stands for the child process: writes what it would, and keeps what it was called with."""

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.columns: list[str] = []
        self.rows: list[int] = []

    def __call__(
        self, command: list[str], cwd: Path, env: dict[str, str], **_: Any
    ) -> subprocess.CompletedProcess[str]:
        import pandas as pd

        self.environment = env
        for name in command[-4:-2]:
            table = pd.read_parquet(cwd / name)
            self.columns = list(table)
            self.rows.append(len(table))
        (cwd / command[-2]).write_text("<html></html>")
        (cwd / command[-1]).write_text("[]")
        return subprocess.CompletedProcess(command, 0, "", "")


def test_the_child_may_not_phone_home_and_gets_a_sample(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = Child()
    monkeypatch.setattr(subprocess, "run", child)
    monkeypatch.setattr(drift_report, "MOST_ROWS", 500)
    with built.reader() as reader:
        drift_report.write(reader, "shifted", *windows(), tmp_path)
    assert child.environment["DO_NOT_TRACK"] == "1"
    assert child.rows == [500, 500]
    assert child.columns == ["confidence", "escalated", "latency_s", "cost"]


def test_a_column_without_values_is_left_out_and_told(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", Child())
    drawn = drift_report._calls

    def without_cost(*arguments: Any) -> Any:
        return drawn(*arguments).assign(cost=float("nan"))

    monkeypatch.setattr(drift_report, "_calls", without_cost)
    with built.reader() as reader:
        html = drift_report.write(reader, "shifted", *windows(), tmp_path)
    told = json.loads(html.with_suffix(".json").read_text())
    assert told["note"].endswith("Left out, too few values: cost.")


def test_a_child_that_fails_leaves_nothing_behind(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "Traceback\nModuleNotFoundError: evidently")

    monkeypatch.setattr(subprocess, "run", fail)
    with built.reader() as reader, pytest.raises(UserError, match="said: ModuleNotFoundError: evidently"):
        drift_report.write(reader, "shifted", *windows(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_hangs_is_stopped(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], timeout: float, **_: Any) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with built.reader() as reader, pytest.raises(UserError, match="more than 3 s"):
        drift_report.write(reader, "shifted", *windows(), tmp_path, timeout_s=3)


def test_no_path_is_built_from_a_name(tmp_path: Path) -> None:
    assert drift_report.newest(tmp_path / "state.sqlite", "../../etc/passwd") is None
    assert drift_report._stem("../x").isalnum()


def test_a_distance_drifts_when_large_and_a_p_value_when_small() -> None:
    def metric(column: str, method: str, value: float) -> dict[str, Any]:
        config = {
            "type": evidently_child.DRIFT_OF_A_COLUMN,
            "column": column,
            "method": method,
            "threshold": 0.1,
        }
        return {"config": config, "value": value}

    result = {
        "metrics": [
            {"config": {"type": "evidently:metric_v2:DriftedColumnsCount"}, "value": {"count": 1}},
            metric("confidence", "Wasserstein distance (normed)", 0.3),
            metric("cost", "K-S p_value", 0.3),
            metric("confidence", "psi", 0.7),
            metric("cost", "psi", 0.01),
        ]
    }
    found = evidently_child.columns(result)
    assert [(one["column"], one["drifted"], one["psi"]) for one in found] == [
        ("confidence", True, 0.7),
        ("cost", False, 0.01),
    ]


def test_a_report_of_before_without_effect_sizes_is_still_shown(tmp_path: Path) -> None:
    folder = tmp_path / drift_report.FOLDER
    folder.mkdir()
    stem = f"{drift_report._stem('shifted')}-1"
    (folder / f"{stem}.html").write_text("<html></html>")
    old = {"column": "cost", "method": "K-S p_value", "score": 0.3, "threshold": 0.05, "drifted": False}
    (folder / f"{stem}.json").write_text(json.dumps({"note": "n", "columns": [old]}))
    found = drift_report.newest(tmp_path / "state.sqlite", "shifted")
    assert found is not None
    assert found.columns["psi"].isna().all()
