"""Which alerts get Evidently's report, one between two looks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cascade_otel import job
from cascade_otel.records import ALL_TASKS, AlertStatus, UserError
from cascade_otel.storage.segments import Store
from cascade_otel.storage.state import State
from tests.presentation.small_store import alert, findings

SHIFTED = findings()[2]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tasks that a report was asked for; nothing is written."""
    asked: list[str] = []

    def write(reader: Any, about: Any, reference: Any, current: Any, folder: Path) -> Path:
        asked.append(about.task)
        if about.task == "few":
            raise UserError("too few calls")
        return folder / "one.html"

    monkeypatch.setattr("cascade_otel.presentation.drift_report.write", write)
    return asked


def attach(root: Path, failed: set[str]) -> bool:
    return job.attach_report(root, root / "state.sqlite", failed)


@pytest.mark.parametrize(
    ("status", "done"), [("pending", True), ("firing", True), ("resolved", False), ("no_data", False)]
)
def test_a_suspect_has_a_report_like_one_that_fires(
    tmp_path: Path, written: list[str], status: AlertStatus, done: bool
) -> None:
    Store(tmp_path)
    with State(tmp_path / "state.sqlite") as state:
        state.put_alert(alert(SHIFTED, status=status))
    failed: set[str] = set()
    assert [attach(tmp_path, failed) for _ in range(2)] == [done, False]
    assert written == ["shifted"] * done
    with State(tmp_path / "state.sqlite") as state:
        assert [one.report for one in state.alerts()] == ["reports/one.html" if done else None]


def test_a_suspect_with_too_few_calls_is_tried_again_once_it_fires(
    tmp_path: Path, written: list[str]
) -> None:
    Store(tmp_path)
    few = alert(replace(SHIFTED, task="few"), status="pending")
    failed: set[str] = set()
    for status in ("pending", "firing"):
        with State(tmp_path / "state.sqlite") as state:
            state.put_alert(replace(few, status=status))  # type: ignore[arg-type]  # one of the four
        assert [attach(tmp_path, failed) for _ in range(2)] == [True, False]
    assert written == ["few", "few"]


def test_a_group_has_no_calls_and_no_report(tmp_path: Path, written: list[str]) -> None:
    Store(tmp_path)
    with State(tmp_path / "state.sqlite") as state:
        state.put_alert(alert(replace(SHIFTED, task=ALL_TASKS, group=ALL_TASKS, tasks=("a", "b"))))
    assert not attach(tmp_path, set())
    assert written == []
