"""What a look keeps of the past: references, groups, and who is restless."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cascade_otel.analysis.watching import look
from cascade_otel.analysis.watching.look import Watcher, judged_at
from cascade_otel.policy import Policy, Reference, TaskPolicy
from cascade_otel.records import Finding
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.state import Baseline
from tests.alerting.alert_samples import RATE, opened
from tests.analysis import made_up
from tests.analysis.made_up import END

DAY = END // 24


@pytest.fixture(scope="module")
def long_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty-four days of one quiet task, ten calls an hour."""
    root = tmp_path_factory.mktemp("long") / "store"
    made_up.write(root, made_up.history({"colour": made_up.STEADY}, days=64, per_hour=10))
    return root


def judged(root: Path, policy: Policy, previous: dict[str, Baseline]) -> tuple[list[Finding], Baseline]:
    with open_reader(made_up.Store(root)) as reader:
        findings, references = judged_at(reader, Watcher(), policy, previous, (), (), END)
    return findings, references["colour"]


def test_days_that_the_policy_names_hold_however_long_ago_they_are(long_store: Path) -> None:
    said = TaskPolicy(reference=Reference(start_day=DAY - 63, end_day=DAY - 55))
    findings, reference = judged(long_store, Policy(tasks={"colour": said}), {})
    assert (reference.reason, reference.start_hour) == ("chosen", (DAY - 63) * 24)
    assert {one.state for one in findings} <= {"quiet", "suspect", "drifting"}
    assert findings[0].reference is not None
    assert findings[0].reference.calls > 1000


def test_a_reference_that_is_held_still_does_not_creep_into_the_shift(long_store: Path) -> None:
    held = Baseline("colour", (DAY - 63) * 24, (DAY - 50) * 24, "pinned", 0)
    with open_reader(made_up.Store(long_store)) as reader:
        drifting = (replace(RATE, task="colour"),)
        _, references = judged_at(reader, Watcher(), Policy(), {"colour": held}, drifting, (), END)
    assert references["colour"] == held


def test_a_group_that_moves_no_longer_ends_its_alert() -> None:
    group = replace(RATE, task="tasks of nano", tier="", group="tasks of nano", tasks=("organic", "colour"))
    (quiet,) = look._lifted([opened(group)], [], Policy(), END)
    assert (quiet.task, quiet.state, quiet.tasks) == ("tasks of nano", "quiet", group.tasks)
    assert look._lifted([opened(group)], [group], Policy(), END) == []


@pytest.mark.parametrize(
    ("state", "evidence", "restless"),
    [("quiet", 1.0, False), ("quiet", 8.0, True), ("suspect", 1.0, True), ("no_data", 0.0, True)],
)
def test_a_task_with_half_the_evidence_is_restless(state: str, evidence: float, restless: bool) -> None:
    finding = replace(RATE, state=state, log_evidence=evidence, log_needed=12.0)  # type: ignore[arg-type]  # drawn
    assert look._is_restless(finding) is restless
