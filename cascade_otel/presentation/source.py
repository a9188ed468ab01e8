"""Where a page gets what it shows: the store, and what the drift job has written into the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cascade_otel.records import HOUR_NS, Alert, Finding
from cascade_otel.storage.reading.rollup import Reader
from cascade_otel.storage.state import Baseline, State, default_path

JOB = "drift"
"""Under this name the drift job notes its ticks."""


@dataclass(frozen=True)
class Source:
    """The folder of the telemetry and the file of the findings; neither needs to be there."""

    store: Path
    state: Path

    @property
    def version(self) -> str:
        """Another text whenever a segment came or went; no file is opened."""
        # Days alone: the folder itself changes whenever somebody opens a state file in it.
        return "-".join(
            f"{path.name}:{path.stat().st_mtime_ns:x}" for path in sorted(self.store.glob("day=*"))
        )

    @property
    def exists(self) -> bool:
        """Whether there is a store at all."""
        return self.store.is_dir()


@dataclass(frozen=True)
class Watch:
    """What the drift job says. Empty where it has never run."""

    findings: tuple[Finding, ...] = ()
    alerts: tuple[Alert, ...] = ()
    """Open ones: pending, firing or no data."""
    baselines: tuple[Baseline, ...] = ()
    last_tick_ns: int | None = None

    @property
    def next_hour(self) -> int | None:
        """When the hour of the last tick is over, which is when what is new is judged; None: no job ticks."""
        return None if self.last_tick_ns is None else self.last_tick_ns // HOUR_NS + 1

    def of(self, task: str) -> Watch:
        """The part about one task."""
        return Watch(
            tuple(one for one in self.findings if one.task == task),
            tuple(one for one in self.alerts if one.task == task),
            tuple(one for one in self.baselines if one.task == task),
            self.last_tick_ns,
        )


@dataclass(frozen=True)
class Reach:
    """How far the data reach: the hours of the oldest and newest span, and when the last one ended."""

    first_hour: int
    last_hour: int
    last_ns: int


def from_environment(environment: Mapping[str, str]) -> Source:
    """What CASCADE_OTEL_STORE and CASCADE_OTEL_STATE name, with the defaults of the command line."""
    store = Path(environment.get("CASCADE_OTEL_STORE") or "cascade-store")
    state = environment.get("CASCADE_OTEL_STATE")
    return Source(store, Path(state) if state else default_path(store))


def watch(state: State) -> Watch:
    """The drift job's findings and open alerts."""
    return Watch(
        tuple(state.findings()),
        tuple(alert for alert in state.alerts() if alert.status != "resolved"),
        tuple(state.baselines().values()),
        state.last_tick(JOB),
    )


def reach(reader: Reader) -> Reach | None:
    """How far the store's data reach; None where it has none."""
    hours = reader.span_hours()
    if hours is None:
        return None
    first, last = hours
    return Reach(first, last, int(reader.last_seen((last + 1) * HOUR_NS)["last_end_ns"].max()))
