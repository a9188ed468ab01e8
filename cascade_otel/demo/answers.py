"""The shipped answers of real models, as pools to draw calls from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cascade_otel.serve import bundled


@dataclass(frozen=True)
class Pool:
    """Answers of one model to one set of questions, by rising confidence. All arrays (N,)."""

    confidence: NDArray[np.float64]
    correct: NDArray[np.bool_]
    input_chars: NDArray[np.int64]

    def below(self, threshold: float) -> int:
        """How many answers have a confidence < threshold: the pool's first ones."""
        return int(np.searchsorted(self.confidence, threshold, side="left"))

    def share_below(self, threshold: float) -> float:
        """The same as a share."""
        return self.below(threshold) / len(self.confidence)


Pools = dict[tuple[str, str], Pool]
"""By set of questions and model."""


def load() -> Pools:
    """All pools. Raises UserError where the file was not installed."""
    rows = pd.read_parquet(bundled("examples/data/answers.parquet"))
    pools: Pools = {}
    for (questions, model), own in rows.groupby(["task", "model"], observed=True):
        own = own.sort_values("confidence", kind="stable")
        pools[str(questions), str(model)] = Pool(
            own["confidence"].to_numpy(float),
            own["correct"].to_numpy(bool),
            own["input_chars"].to_numpy(np.int64),
        )
    return pools
