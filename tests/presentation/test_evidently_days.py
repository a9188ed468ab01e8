"""Pages by day: a fake child for the rules, one start of the real Evidently for all of its methods."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cascade_otel.analysis.watching.past import PastDay
from cascade_otel.presentation import evidently_days, evidently_process
from cascade_otel.presentation.evidently_days import DayCounts, compare, count
from cascade_otel.presentation.second_opinion import METHODS, SecondOpinions
from cascade_otel.storage.state import Baseline
from tests.presentation.small_store import NOW_HOUR, Built

START_DAY = 20_000
REFERENCE_DAYS, WATCH_DAYS = 10, 6
SHIFTED_DAYS = (13, 14)


def day_counts(shifted: Sequence[int] = SHIFTED_DAYS, calls: int = 400) -> DayCounts:
    """Task ``a``: many confidences, lower on some days; ``b`` has none, and escalates a quarter."""
    random = np.random.default_rng(5)
    usual = np.exp(-0.5 * ((np.arange(101) - 80) / 12.0) ** 2)
    lower = np.roll(usual, -25)
    days = range(REFERENCE_DAYS + WATCH_DAYS)
    shapes = [lower if day in shifted else usual for day in days]
    confidence = np.stack([random.multinomial(calls, shape / shape.sum()) for shape in shapes])
    escalated = np.zeros((len(days), 101), np.int64)
    escalated[:, 100] = calls // 4
    escalated[:, 0] = calls - calls // 4
    nothing = np.zeros_like(confidence)
    return DayCounts(
        START_DAY,
        {"confidence": {"a": confidence, "b": nothing}, "escalated": {"a": escalated, "b": escalated}},
    )


def past(tasks: Sequence[str] = ("a", "b"), paged: int | None = 13) -> list[PastDay]:
    reference = (START_DAY * 24, (START_DAY + REFERENCE_DAYS) * 24)
    baselines = {task: Baseline(task, *reference, "trailing", 0) for task in tasks}
    return [
        PastDay(START_DAY + day, baselines, frozenset({"a"} if day == paged else ()))
        for day in range(REFERENCE_DAYS, REFERENCE_DAYS + WATCH_DAYS)
    ]


class Child:
    """Stands for the child process: a day drifts where its mean confidence is low."""

    def __init__(self, done: int | None = None, unable: Sequence[str] = ()) -> None:
        self.done, self.unable, self.starts = done, unable, 0
        self.sizes: list[int] = []

    def __call__(self, arguments: Sequence[str], folder: Path, timeout_s: float, told: bool = False) -> None:
        self.starts += 1
        assert told
        given = np.load(folder / arguments[1])
        self.sizes = given["most"].tolist()
        mean = [(row * np.arange(101)).sum() / row.sum() for row in given["current"]]
        drifted = [bool(one < 70 and one > 30) for one in mean][: self.done]
        said = {
            str(name): [None] * len(drifted) if name in self.unable else drifted for name in given["methods"]
        }
        answer = {"done": len(drifted), "thresholds": dict.fromkeys(said, 0.1), "drifted": said}
        (folder / arguments[2]).write_text(json.dumps(answer))


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Child:
    made = Child()
    monkeypatch.setattr(evidently_process, "run", made)
    return made


def test_a_day_pages_once_whatever_drifts_and_days_in_a_row_are_one_spell(child: Child) -> None:
    found = compare(past(), day_counts(shifted=(11, 13, 14)), ["psi"])
    a, b = found.tasks
    assert (a.task, a.columns, a.days, a.ours) == ("a", ("confidence", "escalated"), WATCH_DAYS, 1)
    (method,) = a.methods
    assert (method.pages, method.spells, method.days) == (3, 2, WATCH_DAYS)
    assert (b.task, b.columns, b.ours, b.methods[0].pages) == ("b", ("escalated",), 0, 0)
    assert (found.start_day, found.end_day) == (START_DAY + REFERENCE_DAYS, START_DAY + 16)
    assert child.starts == 1


def test_a_method_that_cannot_be_computed_has_no_days(child: Child) -> None:
    child.unable = ["es"]
    (a,) = compare(past(["a"]), day_counts(), ["psi", "es"]).tasks
    assert [method.days for method in a.methods] == [WATCH_DAYS, 0]
    assert a.methods[1].pages == 0


def test_tasks_there_is_no_time_for_are_left_out_and_counted(child: Child) -> None:
    child.done = 2 * WATCH_DAYS + 1
    found = compare(past(), day_counts(), ["psi"])
    assert [one.task for one in found.tasks] == ["a"]
    assert found.left_out == 1


def test_days_with_few_calls_are_not_compared_and_start_nothing(child: Child) -> None:
    found = compare(past(), day_counts(calls=evidently_days.FEWEST_CALLS - 1), ["psi"])
    assert [one.days for one in found.tasks] == [0, 0]
    assert child.starts == 0


def test_a_method_of_quadratic_cost_gets_a_smaller_sample(child: Child) -> None:
    compare(past(), day_counts(), ["psi", "empirical_mmd"])
    assert child.sizes == [evidently_days.MOST_CALLS, 250]


def test_calls_are_counted_by_day_and_value(built: Built) -> None:
    first, last = NOW_HOUR // 24 - 9, NOW_HOUR // 24
    with built.reader() as reader:
        counts = count(reader, first, last)
    escalated, confidence = counts.of["escalated"]["steady"], counts.of["confidence"]["steady"]
    assert escalated[:, [0, 100]].tolist() == [[16 * 24, 4 * 24]] * 9
    # Escalated calls have a confidence of .5, the others .9.
    assert confidence[:, [50, 90]].tolist() == [[4 * 24, 16 * 24]] * 9
    assert confidence.sum() == escalated.sum()


@pytest.fixture(scope="session")
def by_evidently() -> SecondOpinions:
    """All of Evidently's methods over both tasks, by one start of the child."""
    return compare(past(), day_counts(calls=4000), METHODS)


@pytest.mark.timeout(170)
def test_evidentlys_methods_find_the_shifted_days(by_evidently: SecondOpinions) -> None:
    a, b = by_evidently.tasks
    found = {method.method: method for method in a.methods}
    assert {method.days for method in found.values()} == {WATCH_DAYS}
    # Evidently's mannw asks only whether values grew.
    assert {name for name, method in found.items() if method.pages < len(SHIFTED_DAYS)} == {"mannw"}
    assert found["psi"].pages == found["wasserstein"].pages == len(SHIFTED_DAYS)
    assert found["psi"].spells == 1
    by_rate = {method.method: method for method in b.methods}
    # Where half of all values are the same, es cannot be computed.
    assert by_rate["es"].days == 0
    assert by_rate["psi"].pages == 0


def test_every_method_tells_evidentlys_own_threshold(by_evidently: SecondOpinions) -> None:
    assert set(by_evidently.thresholds) == set(METHODS)
    assert by_evidently.thresholds["ks"] == 0.05
    assert by_evidently.thresholds["psi"] == 0.1
