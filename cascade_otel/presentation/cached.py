"""What the dashboard reads, kept as long as neither store nor state changed, and a minute at most."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import streamlit as st

from cascade_otel.presentation import frames, source, task_frames, task_page
from cascade_otel.presentation import second_opinion as opinions
from cascade_otel.presentation.periods import Period, period
from cascade_otel.presentation.source import Source
from cascade_otel.storage.reading.rollup import Reader, open_reader
from cascade_otel.storage.segments import Store
from cascade_otel.storage.state import State

MINUTE, LABELS_S = 60, 600
F = TypeVar("F", bound=Callable[..., Any])


def refreshed(page: F) -> F:
    """Draws a part of a page anew every half minute."""
    return cast(F, st.fragment(run_every="30s")(page))


def _opened(place: Source) -> State | None:
    return _state(place.state, place.state.stat().st_ino) if place.state.is_file() else None


def _kept(seconds: int, entries: int) -> Callable[[F], F]:
    return cast(Callable[[F], F], st.cache_data(ttl=seconds, max_entries=entries, show_spinner=False))


def _shared(make: F) -> F:
    return cast(F, st.cache_resource(max_entries=2, show_spinner=False)(make))


@_shared
def reader(store: Path) -> Reader:
    """One reader for all visitors. Raises UserError where there is no store."""
    return open_reader(Store(store, create=False))


@_shared
def _state(path: Path, inode: int) -> State:
    # Kept open, since opening a state writes to it, and by inode, since a file may be replaced.
    return State(path)


def version(place: Source) -> str:
    """Another text whenever a segment came or the drift job ran. Raises UserError for no state file."""
    state = _opened(place)
    return f"{place.version} {state.last_tick(source.JOB) if state else None}"


@_kept(MINUTE, entries=4)
def reach(place: Source, version: str) -> source.Reach | None:
    """How far the store's data reach; None where there are none."""
    return source.reach(reader(place.store)) if place.exists else None


@_kept(MINUTE, entries=4)
def watch(place: Source, version: str) -> source.Watch:
    """What the drift job says."""
    state = _opened(place)
    return source.watch(state) if state else source.Watch()


@_kept(MINUTE, entries=2)
def second_opinion(place: Source, version: str) -> tuple[int, opinions.SecondOpinions] | None:
    """Evidently's pages beside the detector's, as last counted, and in which hour; None: never."""
    state = _opened(place)
    return opinions.kept(state) if state else None


def shown(place: Source, version: str, chosen: str, now_hour: int) -> Period:
    """The hours of the chosen range."""
    known = reach(place, version)
    return period(chosen, now_hour, known.last_hour if known else None)


@_kept(MINUTE, entries=16)
def now(place: Source, version: str, over: Period) -> frames.Now:
    """The first screen."""
    return frames.now(reader(place.store), watch(place, version), over)


@_kept(MINUTE, entries=16)
def tasks(place: Source, version: str, over: Period) -> tuple[str, ...]:
    """Every task, worst first."""
    return task_frames.tasks(reader(place.store), watch(place, version), over)


@_kept(MINUTE, entries=32)
def task(place: Source, version: str, name: str, over: Period) -> task_page.TaskPage:
    """One task's page."""
    return task_page.task_page(reader(place.store), watch(place, version), name, over)


@_kept(LABELS_S, entries=32)
def labelled(place: Source, name: str, over: Period, _page: task_page.TaskPage) -> task_page.Labelled:
    """What labels tell about the task; it takes single rows, so it may be ten minutes old."""
    return task_page.labelled_page(reader(place.store), _page, over)
