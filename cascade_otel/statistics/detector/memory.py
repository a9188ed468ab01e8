"""What the detector carries from hour to hour, as arrays that can be kept, divided and put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cascade_otel.statistics.detector.persistence import Standing

NO_HOUR = -1


@dataclass(frozen=True)
class Memory(Standing):
    """Of B streams of M tasks; with the null it was learned with, all that the next hour needs."""

    hour: int
    """Last hour taken in, since 1970-01-01 UTC; ``NO_HOUR`` before the first."""
    groups: NDArray[np.int64]
    """(B,) index of the task each stream belongs to, 0 to M-1."""
    state: NDArray[np.float32]
    """(B, S, X, Z) weights of the filter's states."""
    spiked: NDArray[np.float64]
    """(B, SPIKES_APART) probability that each of the last hours was a spike, the newest last."""
    cut: NDArray[np.float64]
    """(B,) nats of evidence that were cut off, and are told."""

    def take(self, tasks: ArrayLike) -> Memory:
        """The same of some tasks, in the order given."""
        tasks = np.asarray(tasks, np.int64)
        streams = streams_of(self.groups, tasks)
        taken: dict[str, Any] = {name: getattr(self, name)[tasks] for name in _OF_TASKS}
        taken |= {name: getattr(self, name)[streams] for name in _OF_STREAMS}
        sizes = np.bincount(self.groups, minlength=len(self.strong))[tasks]
        return Memory(hour=self.hour, groups=np.repeat(np.arange(len(tasks)), sizes), **taken)

    @classmethod
    def join(cls, parts: Sequence[Memory]) -> Memory:
        """The tasks of all parts, one part after the other.

        Raises:
            ValueError: no parts, or they are not of the same hour.
        """
        hours = {part.hour for part in parts}
        if len(hours) != 1:
            raise ValueError(f"memories of one and the same hour can be joined, not of {sorted(hours)}")
        offsets = np.cumsum([0, *(len(part.strong) for part in parts)])
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in _OF_TASKS + _OF_STREAMS
        }
        groups = np.concatenate([part.groups + offset for part, offset in zip(parts, offsets, strict=False)])
        return cls(hour=hours.pop(), groups=groups, **joined)


_OF_TASKS = tuple(field.name for field in fields(Standing))
_OF_STREAMS = ("state", "spiked", "cut")


def streams_of(groups: NDArray[np.int64], tasks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of the streams of some tasks, task by task, each in the order they have in ``groups`` (B,)."""
    order = np.argsort(groups, kind="stable")
    edges = np.searchsorted(groups[order], [tasks, tasks + 1])
    return np.concatenate([np.zeros(0, np.int64), *(order[start:end] for start, end in edges.T)])
