"""Whether the drift job runs, and whether what it has to tell arrives."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from cascade_otel.records import HOUR_NS, UserError
from cascade_otel.storage.health.place import is_full
from cascade_otel.storage.health.remarks import Remark, noted, utc, when, wrong
from cascade_otel.storage.state import State

STOPPED_NS = HOUR_NS
"""The job looks every minute; one that has not for so long does not run."""


def remarks(state_path: Path, now_ns: int) -> Iterator[Remark]:
    """What is to be said of the state; none is made where there is none."""
    ticks: dict[str, int] = {}
    if state_path.exists():
        try:
            with State(state_path) as state:
                ticks, given_up = state.ticks(), state.undelivered()
        except (UserError, sqlite3.Error) as error:
            said = f"{state_path}: no findings and alerts can be read or written: {error}."
            yield wrong("state", said + _what_to_do(state_path, error), {"path": str(state_path)})
            return
        for message in given_up:
            yield wrong(
                "undelivered",
                f"given up: a message to {message.sink}; its last error: {message.error}. Nobody was "
                "told. Mend the sink, and look at the alert in the dashboard or with: cascade-otel drift",
                {"sink": message.sink, "error": message.error, "attempts": message.attempts},
            )
    if not ticks:
        yield noted("job", "The drift job has not run on this store.")
    for name, at_ns in ticks.items():
        about = {"name": name, "at_ns": at_ns}
        if name.endswith(" judged"):
            yield noted("job", f"{name}: up to {utc(at_ns)}.", about)
        elif now_ns - at_ns > STOPPED_NS:
            yield wrong(
                "job",
                f"job {name}: last ran {when(now_ns, at_ns)}, and should every minute: nothing is "
                "watched, merged or dropped meanwhile. Start it: cascade-otel serve",
                about,
            )
        else:
            yield noted("job", f"job {name}: last ran {when(now_ns, at_ns)}.", about)


def _what_to_do(state_path: Path, error: Exception) -> str:
    if is_full(state_path.parent):
        return " Its disk is full: make room, and it can be read again. Nothing in it is lost."
    if isinstance(error, UserError):  # which says so itself
        return ""
    if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return " Another process holds it: run cascade-otel doctor again when that one is done."
    return (
        " Look whether its disk is well, and whether this user may write to its folder. If neither helps, "
        "move the file away: a new one is made, without the shifts that were accepted and the alerts that "
        "are open."
    )
