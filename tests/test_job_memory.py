"""What the detector remembers rests in the state, so a job may be killed between looks."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from cascade_otel import job
from cascade_otel.analysis.watching import look, tasks
from cascade_otel.analysis.watching.look import KEEP_EVERY_HOURS, MEMORY
from cascade_otel.analysis.watching.monitor import LATE_HOURS, USUALLY_LATE_HOURS, Monitor
from cascade_otel.policy import HOURS_PER_YEAR, PageBudget, Policy
from cascade_otel.records import HOUR_NS, Finding, HourCells
from cascade_otel.storage.reading.rollup import Reader
from cascade_otel.storage.state import State
from tests.analysis import made_up
from tests.analysis.made_up import END, NOW_NS, changed

POLICY = Policy(page_budget=PageBudget(1.0, HOURS_PER_YEAR))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two weeks of two tasks, one of which has moved; calls up to a day after ``END``."""
    folder = tmp_path_factory.mktemp("memory") / "store"
    tasks = {"moved": changed(easy_low=0.4, hard_low=0.9), "steady": made_up.STEADY}
    made_up.write(folder, made_up.history(tasks, days=14, changed_ago=60, per_hour=25, end=END + 30))
    return folder


@pytest.fixture(autouse=True)
def unexplained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Causes take longer than everything that is tested here."""
    monkeypatch.setattr(look, "_explained", lambda reader, findings: findings)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """First hours that the detector's escalations are asked for."""
    hours: list[int] = []
    hour_cells = Reader.hour_cells

    def asking(
        self: Reader, measure: object, tasks: object, tiers: object, start: int, end: int
    ) -> HourCells:
        hours.extend([start] if measure == "escalation" else [])
        return hour_cells(self, measure, tasks, tiers, start, end)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(Reader, "hour_cells", asking)
    return hours


def tick(
    root: Path, state: Path, hours: int = 0, watch: job.Watch | None = None, owner: str = "one"
) -> job.TickResult:
    return job.tick(root, state, POLICY, NOW_NS + hours * HOUR_NS, owner=owner, afresh=False, watch=watch)


def gist(findings: list[Finding]) -> list[tuple[object, ...]]:
    """What both a job that lived and one that was killed must say; of evidence not the last digits."""
    return [
        (
            one.task,
            one.stream,
            one.state,
            one.hour,
            one.since_hour,
            one.paged_hour,
            round(one.log_evidence, 1),
        )
        for one in findings
    ]


def test_a_job_killed_between_looks_goes_on_from_its_memory(
    root: Path, tmp_path: Path, asked: list[int]
) -> None:
    lived, killed = tmp_path / "lived.sqlite", tmp_path / "killed.sqlite"
    with job.watching(root) as watch:
        whole = [tick(root, lived, hour, watch) for hour in (0, 1, 2)]
    tick(root, killed)
    asked.clear()
    again = [tick(root, killed, hour) for hour in (1, 2)]
    assert [gist(one.findings) for one in again] == [gist(one.findings) for one in whole[1:]]
    assert any(one.state == "drifting" for one in again[-1].findings)
    with State(killed) as state:
        references = {one.start_hour for one in state.baselines().values()}
    assert not references & set(asked), "what was learned is not learned again"


def test_a_memory_that_cannot_be_read_is_learned_anew_and_logged(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, untouched = tmp_path / "state.sqlite", tmp_path / "untouched.sqlite"
    for one in (path, untouched):
        tick(root, one)
    with State(path) as state:
        state.put_memory(MEMORY, END, b"garbage")
    with caplog.at_level(logging.WARNING):
        found = tick(root, path, 1)
    assert "it learns anew" in caplog.text
    assert str(path) in caplog.text
    assert gist(found.findings) == gist(tick(root, untouched, 1).findings)


def test_memory_is_kept_once_a_day(root: Path, tmp_path: Path) -> None:
    path, kept_at = tmp_path / "state.sqlite", []
    with job.watching(root) as watch:
        for hour in (0, 1, KEEP_EVERY_HOURS - 1, KEEP_EVERY_HOURS, KEEP_EVERY_HOURS + 1):
            tick(root, path, hour, watch)
            with State(path) as state:
                kept_hour = state.memory_hour(MEMORY)
            assert kept_hour is not None
            kept_at.append(kept_hour - END)
    assert kept_at == [0, 0, 0, KEEP_EVERY_HOURS, KEEP_EVERY_HOURS]


def test_of_two_jobs_that_take_turns_each_finds_what_one_would(root: Path, tmp_path: Path) -> None:
    shared, alone = tmp_path / "shared.sqlite", tmp_path / "alone.sqlite"
    with job.watching(root) as one, job.watching(root) as two, job.watching(root) as single:
        for hour in range(3):
            watch, owner = (one, "one") if hour % 2 == 0 else (two, "two")
            found = tick(root, shared, hour, watch, owner)
            assert found.acted
            assert gist(found.findings) == gist(tick(root, alone, hour, single).findings)
            other = "two" if owner == "one" else "one"
            assert not tick(root, shared, hour, watch, other).acted, "the lease is held"
            with State(shared) as state:
                state.release(owner)


def test_a_look_takes_in_only_what_may_still_arrive(root: Path, tmp_path: Path, asked: list[int]) -> None:
    with job.watching(root) as watch:
        tick(root, tmp_path / "state.sqlite", 0, watch)
        watch.watcher.monitor = watch.watcher.monitor or Monitor()
        asked.clear()
        found = tick(root, tmp_path / "state.sqlite", 1, watch)
    moved = {one.since_hour for one in found.findings} | {
        one.reference and one.reference.end_hour for one in found.findings
    }
    # The last day is what windows show, and the whole of what may be late is counted now and then.
    fresh = {END - 1 - USUALLY_LATE_HOURS, END - LATE_HOURS, END + 1 - 24, END - tasks.LATE_HOURS}
    assert {hour for hour in asked if hour not in moved} <= fresh
