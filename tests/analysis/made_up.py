"""Made-up stores: a two-tier cascade with known rates, in which one thing can be changed at one hour."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cascade_otel.records import HOUR_NS
from cascade_otel.storage.calls import two_tier_rows
from cascade_otel.storage.segments import Store

END = 495_000 - 495_000 % 24 + 10
"""The hour in progress: ten o'clock of some day in 2026."""
TEXTS = (
    "service", "cascade", "task", "version", "segment", "cheap_tier", "strong_tier", "cheap_model",
    "strong_model", "cheap_response_model",
)  # fmt: skip
NOW_NS = END * HOUR_NS + HOUR_NS // 2


@dataclass(frozen=True)
class Traffic:
    """What one task's calls look like in a stretch of time."""

    threshold: float | None = 0.8
    hard: float = 0.3
    """Share of inputs in the segment ``hard``, two thirds of which have a low confidence."""
    easy_low: float = 0.15
    hard_low: float = 0.66
    accepted: tuple[float, ...] = (0.82, 0.9, 0.95, 1.0)
    low: tuple[float, ...] = (0.3, 0.5, 0.6, 0.75)
    response_model: str | None = "small-1"
    version: str | None = "7"
    strong_cost: int = 9_000_000
    labels: bool = False
    audited: float = 0.0


def calls(
    task: str, hours: np.ndarray, per_hour: float, traffic: Traffic, seed: int, wobble: float = 0.05
) -> pd.DataFrame:
    """Calls of one task, as ``two_tier_rows`` takes them."""
    random = np.random.default_rng([seed, int(hours[0]), len(hours)])
    hour = np.repeat(hours, random.poisson(per_hour, len(hours)))
    n = len(hour)
    segment = np.where(random.random(n) < traffic.hard, "hard", "easy")
    days = random.normal(0, wobble, 2000)
    odds = np.where(segment == "hard", traffic.hard_low, traffic.easy_low)
    odds = np.log(odds / (1 - odds)) + days[hour // 24 % 2000]
    is_low = random.random(n) < 1 / (1 + np.exp(-odds))
    confidence = np.where(is_low, random.choice(traffic.low, n), random.choice(traffic.accepted, n))
    threshold = np.nan if traffic.threshold is None else traffic.threshold
    decided_at = 0.8 if traffic.threshold is None else traffic.threshold
    frame = pd.DataFrame(
        {
            "trace_hi": random.integers(1, 2**62, n),
            "trace_lo": random.integers(1, 2**62, n),
            "start_ns": hour * HOUR_NS + random.integers(0, HOUR_NS, n),
            "service": "shop",
            "cascade": "extract",
            "task": task,
            "version": traffic.version,
            "segment": segment,
            "cheap_tier": "small",
            "strong_tier": "large",
            "cheap_model": "small-latest",
            "strong_model": "large-latest",
            "cheap_response_model": traffic.response_model,
            "cheap_confidence": confidence,
            "threshold": threshold,
            "escalated": confidence < decided_at,
            "cheap_duration_ns": random.integers(5 * 10**8, 10**9, n),
            "strong_duration_ns": random.integers(2 * 10**9, 4 * 10**9, n),
            "cheap_cost_nano": 1_000_000,
            "strong_cost_nano": traffic.strong_cost,
            "audited": random.random(n) < traffic.audited,
        }
    )
    if traffic.labels:
        frame["cheap_correct"] = random.random(n) < confidence
        frame["strong_correct"] = random.random(n) < 0.93
    return frame


def history(
    tasks: dict[str, tuple[Traffic, Traffic]],
    days: int = 21,
    changed_ago: int = 48,
    per_hour: float = 40,
    seed: int = 1,
    end: int = END,
    wobble: float = 0.05,
) -> list[pd.DataFrame]:
    """Of each task ``days`` of calls; the second traffic from ``changed_ago`` hours before ``end`` on."""
    hours = np.arange(end - days * 24, end)
    frames = []
    for number, (task, (before, after)) in enumerate(tasks.items()):
        cut = len(hours) - changed_ago
        frames.append(calls(task, hours[:cut], per_hour, before, seed * 1000 + number, wobble))
        frames.append(calls(task, hours[cut:], per_hour, after, seed * 1000 + number, wobble))
    return frames


def write(root: Path, frames: list[pd.DataFrame]) -> Store:
    """A store of these calls."""
    store = Store(root)
    if frames:
        whole = pd.concat(frames, ignore_index=True)
        texts = [name for name in TEXTS if name in whole]
        store.publish([two_tier_rows(whole.astype(dict.fromkeys(texts, "category")))])
    return store


def changed(**what: object) -> tuple[Traffic, Traffic]:
    """A task that changes."""
    return Traffic(), replace(Traffic(), **what)  # type: ignore[arg-type]  # names of fields


STEADY = (Traffic(), Traffic())
