"""What ``doctor`` says of a store: what is wrong with it, what that means, and what to do."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cascade_otel.storage.health import files, place, sampling, sources, watching
from cascade_otel.storage.health.remarks import Remark
from cascade_otel.storage.segments import Store

READERS = ("cascade_otel.storage.reading.rollup", "cascade_otel.storage.segments")
"""Whose warnings say in other words what the report says."""
__all__ = ["Health", "Remark", "as_json", "lines", "report"]


@dataclass(frozen=True)
class Health:
    """A store and its state at one moment, in nanoseconds since 1970 UTC."""

    store: str
    at_ns: int
    remarks: tuple[Remark, ...]
    """What is wrong first."""

    @property
    def is_well(self) -> bool:
        """Nothing is wrong."""
        return not any(remark.is_wrong for remark in self.remarks)


def report(store: Store, state_path: str | Path, now_ns: int | None = None) -> Health:
    """Looks at every file of the store, inside too; changes nothing, and makes no state if there is none."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    state_path = Path(state_path)
    if nothing := place.no_store(store.root, state_path):
        return Health(str(store.root), now_ns, (nothing,))
    with _each_fault_told_once():
        seen = files.look(store)
        remarks = [
            *place.remarks(store, state_path),
            *files.remarks(store, seen, now_ns),
            *sources.remarks(store, now_ns),
            *sampling.remarks(store, seen.left_out, now_ns),
            *watching.remarks(state_path, now_ns),
        ]
    return Health(str(store.root), now_ns, tuple(sorted(remarks, key=lambda remark: not remark.is_wrong)))


@contextmanager
def _each_fault_told_once() -> Iterator[None]:
    """Nothing is logged meanwhile, by this thread, of files that are left out."""
    mine = threading.get_ident()

    def is_of_others(record: logging.LogRecord) -> bool:
        return record.thread != mine

    loggers = [logging.getLogger(name) for name in READERS]
    for logger in loggers:
        logger.addFilter(is_of_others)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_of_others)


def lines(health: Health) -> list[str]:
    """The remarks as sentences for a person; times in UTC."""
    return [remark.text for remark in health.remarks]


def as_json(health: Health) -> dict[str, Any]:
    """The report as one JSON object: store, at_ns, well, and remarks with check, is_wrong, text and about."""
    return {
        "store": health.store,
        "at_ns": health.at_ns,
        "well": health.is_well,
        "remarks": [asdict(remark) for remark in health.remarks],
    }
