"""What a runner takes from its file, and what of a file it refuses. The toys' answers are confidences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cascade_otel import runner as module
from cascade_otel.policy import PolicyError
from cascade_otel.runner import Runner
from cascade_otel.testing import record

TIERS = "tiers = ['small', 'large']\n"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Runner[float]]:
    """A runner over two toy tiers, as the text of a file says."""

    def made(text: str, **more: Callable[[], float]) -> Runner[float]:
        path = tmp_path / "cascade.toml"
        path.write_text(text)
        return Runner(path, {"small": lambda: 0.7, "large": lambda: 0.9} | more, confidence=float)

    return made


def test_a_task_of_no_table_is_run_as_the_defaults_say(run: Callable[..., Runner[float]]) -> None:
    runner = run(f"[defaults]\n{TIERS}threshold = 0.5\n[tasks.a]\nthreshold = 0.9")
    with record() as seen:
        runner("anything")
        runner("a")
    assert [(call.task, call.final_tier) for call in seen.cascades] == [("anything", "small"), ("a", "large")]


@pytest.mark.parametrize(
    ("text", "task"),
    [
        (f"[tasks.a]\n{TIERS}threshold = 0.5", "size"),
        (f"[tasks.a]\n{TIERS}threshold = 0.5\n[tasks.elsewhere]\nowner = 'another team'", "elsewhere"),
        (f"[defaults]\n{TIERS}[tasks.a]\nthreshold = 0.5", "size"),
    ],
    ids=["no defaults", "a task for others", "defaults without a threshold"],
)
def test_a_task_without_tiers_is_refused_when_called(
    run: Callable[..., Runner[float]], text: str, task: str
) -> None:
    with pytest.raises(
        PolicyError, match=rf"cascade.toml: task '{task}' has no tiers.* have: 'a'; wanted: t"
    ):
        run(text)(task)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "\n[tasks.a]\ntiers = ['small', 'huge']\nthreshold = 1",
            "3: tasks.a.tiers names 'huge', for which no",
        ),
        ("[defaults]\ntiers = ['huge']\n[tasks.a]", "2: defaults.tiers names 'huge', for which no function"),
        ("[tasks.a]\ntires = ['small']", "2: tasks.a.tires is an unknown key"),
        ("[tasks.a]\naudit_rate = 2", "2: tasks.a.audit_rate is 2"),
    ],
)
def test_a_file_that_cannot_be_run_is_refused_at_once_with_file_and_line(
    run: Callable[..., Runner[float]], tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(PolicyError) as error:
        run(text)
    assert str(error.value).startswith(f"{tmp_path / 'cascade.toml'}:{said}")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"none.toml cannot be read"):
        Runner(tmp_path / "none.toml", {}, confidence=float)


def test_a_tier_whose_name_no_exporter_can_encode_keeps_its_confidence(
    run: Callable[..., Runner[float]],
) -> None:
    runner = run('[tasks.a]\ntiers = ["sm\\nall", "large"]\nthreshold = 0.5', **{"sm\nall": lambda: 0.7})
    with record() as seen:
        runner("a")
    assert [(each.tier, each.confidence) for each in seen.tiers] == [("sm\ufffdall", 0.7)]


def test_audits_have_their_rate_and_budget_and_ask_the_last_tier_of_several(
    run: Callable[..., Runner[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one tier there is none that is stronger; without a rate there are no audits."""
    made: list[tuple[float, float | None, Any]] = []

    def noted(rate: float, strongest: Callable[..., Any], *, max_cost_per_day: float | None) -> None:
        made.append((rate, max_cost_per_day, strongest("a")))

    monkeypatch.setattr(module, "Audit", noted)
    run(
        "[defaults]\naudit_rate = 0.02\naudit_cost_per_day = 3\nthreshold = 0.5\n"
        f"[tasks.a]\n{TIERS}[tasks.one]\ntiers = ['small']\n[tasks.none]\naudit_rate = 0\n{TIERS}"
    )
    assert made == [(0.02, 3.0, 0.9)]
