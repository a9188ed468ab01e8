"""What ``doctor`` says of a store: what is wrong with it, what that means, and what to do."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cascade_otel.storage.health import files, sampling, sources, watching
from cascade_otel.storage.health.remarks import Remark
from cascade_otel.storage.segments import Store

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
    seen = files.look(store)
    remarks: Iterable[Remark] = [
        *files.remarks(store, seen, now_ns),
        *sources.remarks(store, now_ns),
        *sampling.remarks(store, seen.broken, now_ns),
        *watching.remarks(Path(state_path), now_ns),
    ]
    return Health(str(store.root), now_ns, tuple(sorted(remarks, key=lambda remark: not remark.is_wrong)))


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
