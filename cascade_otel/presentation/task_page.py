"""All that a task's page shows, read at once."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from cascade_otel.presentation import labelled, task_frames
from cascade_otel.presentation.periods import Period
from cascade_otel.presentation.source import Watch
from cascade_otel.presentation.verdicts import Verdict, verdict
from cascade_otel.storage.rollup import Reader


@dataclass(frozen=True)
class TaskPage:
    """One task over one period."""

    verdict: Verdict
    calls: int
    """First-tier visits in the period, the unfinished hour included."""
    escalation: task_frames.Escalation
    confidence: task_frames.Confidence
    latency: task_frames.Latency
    last_calls: pd.DataFrame
    tier: task_frames.Tier


def task_page(reader: Reader, watch: Watch, task: str, period: Period) -> TaskPage:
    """The page of a task; empty frames where it has no calls."""
    one = verdict(watch.of(task), task)
    tier = task_frames.first_tier(reader, one, period)
    return TaskPage(
        verdict=one,
        calls=int(tier.rows.loc[tier.rows["hour"] >= period.start_hour, "decided"].sum()),
        escalation=task_frames.escalation(tier, one, period),
        confidence=task_frames.confidence(reader, tier, one, period),
        latency=task_frames.latency(reader, task, period),
        last_calls=task_frames.last_calls(reader, task),
        tier=tier,
    )


@dataclass(frozen=True)
class Labelled:
    """What labels tell about one task."""

    deferral: labelled.Deferral
    reliability: labelled.Reliability


def labelled_page(reader: Reader, page: TaskPage, period: Period) -> Labelled:
    """The two charts that need labels; they read single rows, so they are kept longer than the rest."""
    labels = labelled.of_task(reader, page.verdict.task, period)
    threshold = page.confidence.thresholds[-1] if page.confidence.thresholds else None
    return Labelled(
        labelled.deferral(labels, page.tier, threshold, period),
        labelled.calibration(labels, page.tier, period),
    )
