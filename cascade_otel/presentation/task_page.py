"""All that a task's page shows, read at once."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from cascade_otel.analysis.value import summary as value
from cascade_otel.presentation import labelled, moved, task_frames
from cascade_otel.presentation.periods import Period
from cascade_otel.presentation.source import Watch
from cascade_otel.presentation.verdicts import Verdict, verdict
from cascade_otel.storage.reading.rollup import Reader
from cascade_otel.storage.state import Baseline


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
    streams: pd.DataFrame
    """What the detector judges, one row per stream: see ``moved.streams``."""
    members: pd.DataFrame
    """Of a group its affected tasks: see ``moved.members``. Of a task empty."""
    baseline: Baseline | None
    """What it is compared with, and why that."""


def task_page(reader: Reader, watch: Watch, task: str, period: Period) -> TaskPage:
    """The page of a task; empty frames where it has no calls."""
    own = watch.of(task)
    one = verdict(own, task)
    tier = task_frames.first_tier(reader, one, period)
    return TaskPage(
        verdict=one,
        calls=int(tier.rows.loc[tier.rows["hour"] >= period.start_hour, "decided"].sum()),
        escalation=task_frames.escalation(tier, one, period),
        confidence=task_frames.confidence(reader, tier, one, period),
        latency=task_frames.latency(reader, task, period),
        last_calls=task_frames.last_calls(reader, task),
        tier=tier,
        streams=moved.streams(own.findings),
        members=moved.members(watch.findings, one.lead) if one.lead else pd.DataFrame(),
        baseline=next(iter(own.baselines), None),
    )


@dataclass(frozen=True)
class Labelled:
    """What labels tell about one task."""

    deferral: labelled.Deferral
    reliability: labelled.Reliability
    pays: str
    """The verdict with its reason, the summary's."""


def labelled_page(reader: Reader, page: TaskPage, period: Period) -> Labelled:
    """What needs labels: two charts and whether it pays. It reads single rows, so it is kept longer."""
    labels = labelled.of_task(reader, page.verdict.task, period)
    threshold = page.confidence.thresholds[-1] if page.confidence.thresholds else None
    *found, _ = value.summarise(reader, period.start_hour, period.end_hour, page.verdict.task)
    pays = found[0] if found else None
    return Labelled(
        labelled.deferral(labels, page.tier, threshold, period),
        labelled.calibration(labels, page.tier, period),
        f"{value.ANSWERS[pays.pays].capitalize()}: {pays.pays_reason}." if pays else "",
    )
