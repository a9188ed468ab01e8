"""The adapter for other people's harnesses, on data that is not as tidy as ours."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "drift_adapter.py"
STREAMS = ["rate", "shape"]


@pytest.fixture(scope="module")
def adapter() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("drift_adapter", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["drift_adapter"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["drift_adapter"]


def counts(
    tasks: int, hours: np.ndarray, seed: int, threshold: int = 80, to: float | None = None
) -> dict[str, np.ndarray]:
    """Confidences on every cell, a fifth of them below the threshold; from day 17 on a share of ``to``."""
    random = np.random.default_rng(seed)
    calls = random.poisson(40, (tasks, len(hours)))
    shifted = (hours >= (14 + 3) * 24) & (to is not None)
    hist = np.zeros((tasks, len(hours), 101), np.int16)
    cells = np.arange(101)
    for rate, when in ((0.2, ~shifted), (to or 0.2, shifted)):
        law = np.where(cells < threshold, rate / threshold, (1 - rate) / (101 - threshold))
        hist[:, when] = random.multinomial(calls[:, when], law / law.sum())
    return {"n": calls, "k": hist[:, :, :threshold].sum(2), "hist": hist, "hours": hours}


def split(data: dict[str, np.ndarray], hours: int) -> dict[str, np.ndarray]:
    return {name: array[:hours] if name == "hours" else array[:, :hours] for name, array in data.items()}


def run(detector: object, data: dict[str, np.ndarray], start: int) -> np.ndarray:
    """Scores (M, T) after the reference."""
    detector.start(split(data, start))
    places = range(start, len(data["hours"]))
    return np.stack(
        [
            detector(int(data["hours"][at]), data["n"][:, at], data["k"][:, at], data["hist"][:, at])
            for at in places
        ],
        axis=1,
    )


@pytest.mark.parametrize("stream", STREAMS)
def test_a_shift_is_found_and_quiet_days_are_quiet(adapter: ModuleType, stream: str) -> None:
    """.20 to .40 at a threshold that nobody tells."""
    detector = adapter.make(stream)
    found = run(detector, counts(12, np.arange(20 * 24), 1, to=0.4), 14 * 24) >= detector.threshold
    assert not found[:, : 3 * 24].any()
    assert found[:, 3 * 24 + 24].all()


@pytest.mark.parametrize(("stream", "weight"), [("rate", 0.5), ("shape", 0.2)])
def test_the_threshold_is_that_of_all_streams_on(adapter: ModuleType, stream: str, weight: float) -> None:
    detector = adapter.make(stream)
    detector.start(split(counts(3, np.arange(96), 2), 96))
    assert detector.threshold == pytest.approx(math.log(3 * 720 / weight))


@pytest.mark.parametrize("days", [1, 2, 3])
@pytest.mark.parametrize("stream", STREAMS)
def test_one_task_and_a_short_reference_will_do(adapter: ModuleType, stream: str, days: int) -> None:
    detector = adapter.make(stream)
    score = run(detector, counts(1, np.arange((days + 4) * 24), 3), days * 24)
    assert score.shape == (1, 96)
    assert np.isfinite(score).all()


@pytest.mark.parametrize("stream", STREAMS)
def test_empty_hours_silent_tasks_and_missing_confidences_are_borne(adapter: ModuleType, stream: str) -> None:
    """Task 0 never calls, 1 tells no confidence, 2 tells half, 3 falls silent; nights are empty."""
    data = counts(6, np.arange(18 * 24), 4)
    for name in ("n", "k", "hist"):
        data[name][0] = 0
        data[name][3, 10 * 24 :] = 0
        data[name][:, data["hours"] % 24 < 6] = 0
    data["hist"][1] = 0
    data["hist"][2] //= 2
    detector = adapter.make(stream)
    score = run(detector, data, 14 * 24)
    assert np.isfinite(score).all()
    assert not (score >= detector.threshold).any()


@pytest.mark.parametrize("stream", STREAMS)
def test_hours_may_jump(adapter: ModuleType, stream: str) -> None:
    """Two days are missing in the reference, ten in the watch."""
    hours = np.arange(40 * 24)
    kept = hours[(hours // 24 != 5) & (hours // 24 != 6) & ((hours < 16 * 24) | (hours >= 26 * 24))]
    detector = adapter.make(stream)
    score = run(detector, counts(6, kept, 5), 12 * 24)
    assert np.isfinite(score).all()
    assert not (score >= detector.threshold).any()
