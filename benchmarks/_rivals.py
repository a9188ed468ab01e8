"""What people use today, in small: tests, distances and charts on hourly counts, with usual thresholds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogi

Floats = NDArray[np.float64]
Counts = NDArray[np.integer[Any]]
Distance = Callable[[Floats, Floats], Floats]

DAY = 24
BINS = 10


class Watcher(Protocol):
    """What is compared: a task pages where its score is at least the threshold."""

    threshold: float

    def start(self, ref: Mapping[str, NDArray[Any]]) -> None: ...

    def __call__(self, t: int, n: Counts, k: Counts, hist: Counts) -> Floats: ...


class OfDistributions:
    """Compares the confidences of the last hours with those of the reference, once per so many hours."""

    def __init__(self, distance: Distance, threshold: float, hours: int) -> None:
        self.distance, self.threshold, self.hours = distance, threshold, hours

    def start(self, ref: Mapping[str, NDArray[Any]]) -> None:
        self._usual = np.asarray(ref["hist"]).sum(1, dtype=np.float64)
        self._recent: list[Counts] = []

    def __call__(self, t: int, n: Counts, k: Counts, hist: Counts) -> Floats:
        self._recent.append(hist)
        if len(self._recent) < self.hours:
            return np.full(len(n), -np.inf)
        seen = np.sum(self._recent, axis=0, dtype=np.float64)
        self._recent = []
        return np.where(seen.sum(1) > 0, self.distance(self._usual, seen), -np.inf)


def kolmogorov_smirnov(usual: Floats, seen: Floats) -> Floats:
    """Largest gap of the two distribution functions in units of its 5 % critical value, each (M,)."""
    gap = np.abs(_cumulative(usual) - _cumulative(seen)).max(1)
    worth = 1 / (1 / usual.sum(1) + 1 / np.maximum(seen.sum(1), 1))
    return np.asarray(gap * np.sqrt(worth) / kolmogi(0.05))


def population_stability(usual: Floats, seen: Floats) -> Floats:
    """Population stability index (M,) over the tenths of the reference."""
    tenth = np.minimum((BINS * (_cumulative(usual) - 1e-9)).astype(int), BINS - 1)
    inside = tenth[:, None] == np.arange(BINS)[:, None]
    before, now = (
        (inside * counts[:, None]).sum(2) / np.maximum(counts.sum(1, keepdims=True), 1)
        for counts in (usual, seen)
    )
    before, now = np.maximum(before, 1e-4), np.maximum(now, 1e-4)
    return np.asarray(((now - before) * np.log(now / before)).sum(1))


def wasserstein(usual: Floats, seen: Floats) -> Floats:
    """Wasserstein distance (M,) in standard deviations of the reference."""
    cell = np.arange(usual.shape[1])
    share = usual / usual.sum(1, keepdims=True)
    mean = (share * cell).sum(1)
    deviation = np.sqrt((share * cell**2).sum(1) - mean**2)
    return np.asarray(np.abs(_cumulative(usual) - _cumulative(seen)).sum(1) / deviation)


class Static:
    """Rate of the last 24 hours against that of the reference: more than a quarter off."""

    threshold: float = 0.25

    def start(self, ref: Mapping[str, NDArray[Any]]) -> None:
        self._usual = np.asarray(ref["k"]).sum(1) / np.maximum(np.asarray(ref["n"]).sum(1), 1)
        self._recent: list[tuple[Counts, Counts]] = []

    def __call__(self, t: int, n: Counts, k: Counts, hist: Counts) -> Floats:
        self._recent = [*self._recent[1 - DAY :], (n, k)]
        calls, hits = (np.sum(part, axis=0) for part in zip(*self._recent, strict=True))
        return np.asarray(np.abs(hits / np.maximum(calls, 1) / self._usual - 1))


class Cusum:
    """Two-sided cumulative sum of standardised hourly rates, allowance half a standard deviation."""

    threshold: float = 5.0
    allowance = 0.5

    def start(self, ref: Mapping[str, NDArray[Any]]) -> None:
        self._usual = np.asarray(ref["k"]).sum(1) / np.maximum(np.asarray(ref["n"]).sum(1), 1)
        self._sums = np.zeros((2, len(self._usual)))

    def __call__(self, t: int, n: Counts, k: Counts, hist: Counts) -> Floats:
        spread = np.sqrt(np.maximum(n * self._usual * (1 - self._usual), 1e-9))
        z = np.where(n > 0, (k - n * self._usual) / spread, 0.0)
        self._sums = np.maximum(self._sums + np.stack([z, -z]) - self.allowance, 0)
        return np.asarray(self._sums.max(0))


RIVALS: Mapping[str, Callable[[], Watcher]] = {
    "Kolmogorov-Smirnov p < .05, hourly": lambda: OfDistributions(kolmogorov_smirnov, 1.0, 1),
    "Kolmogorov-Smirnov p < .05, daily": lambda: OfDistributions(kolmogorov_smirnov, 1.0, DAY),
    "PSI > .2, hourly": lambda: OfDistributions(population_stability, 0.2, 1),
    "PSI > .2, daily": lambda: OfDistributions(population_stability, 0.2, DAY),
    "Wasserstein ≥ .1 sd, daily": lambda: OfDistributions(wasserstein, 0.1, DAY),
    "rate ± 25 % over 24 hours": Static,
    "CUSUM h = 5": Cusum,
}


def _cumulative(counts: Floats) -> Floats:
    return np.asarray(np.cumsum(counts, axis=1) / np.maximum(counts.sum(1, keepdims=True), 1))
