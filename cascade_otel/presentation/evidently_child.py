"""Evidently at work, in a process of its own: slow to import, not to phone home.

``report``: two Parquet files are read, reference and current; an HTML and a JSON file are written.
``days``: an NPZ file of counts is read; a JSON file of scores is written, and progress to standard output.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DRIFT_OF_A_COLUMN = "evidently:metric_v2:ValueDrift"
EFFECT_SIZES = ("psi", "wasserstein", "jensenshannon")
"""Asked for beside the test that Evidently chooses by itself."""
DAYS_S = 300.0
"""So long days are compared; what is not done by then is left out."""
TELL_EVERY_S = 5.0


def main(arguments: Sequence[str]) -> None:
    """Does what its first argument names with the files that the others name."""
    os.environ["DO_NOT_TRACK"] = "1"
    warnings.filterwarnings("ignore")
    what, *files = arguments
    if what == "report":
        report(*map(Path, files))
    else:
        days(*map(Path, files))


def report(reference: Path, current: Path, html: Path, scores: Path) -> None:
    """Writes the report and, per column, what the method that Evidently chooses says and the effect sizes."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift
    from evidently.presets import DataDriftPreset

    before, after = pd.read_parquet(reference), pd.read_parquet(current)
    names = list(before)
    told = DataDefinition(numerical_columns=names)
    effects = [ValueDrift(column=name, method=method) for name in names for method in EFFECT_SIZES]
    snapshot = Report([DataDriftPreset(columns=names), *effects]).run(
        current_data=Dataset.from_pandas(after, data_definition=told),
        reference_data=Dataset.from_pandas(before, data_definition=told),
    )
    snapshot.save_html(str(html))
    scores.write_text(json.dumps(columns(snapshot.dict())), encoding="utf-8")


def columns(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One dict per column of a result: column, method, score, threshold, drifted, and its effect sizes."""
    found: dict[str, dict[str, Any]] = {}
    for metric in result["metrics"]:
        config = metric["config"]
        if config["type"] != DRIFT_OF_A_COLUMN:
            continue
        column, score, method = config["column"], float(metric["value"]), str(config["method"])
        # What Evidently chose by itself has its title, what it was asked for has the name it was asked by.
        if method in EFFECT_SIZES:
            found[column][method] = score
            continue
        threshold = float(config["threshold"])
        # A distance drifts when it is large, a p-value when it is small.
        drifted = score < threshold if "p_value" in method else score >= threshold
        found[column] = {
            "column": column, "method": method, "score": score, "threshold": threshold, "drifted": drifted,
        }  # fmt: skip
    return list(found.values())


def days(asked: Path, answered: Path) -> None:
    """Writes what each method says about each pair of samples, in order, until ``DAYS_S`` have passed.

    The file has ``reference`` (R, C) and ``current`` (K, C), calls per cell of .01; ``reference_of`` (K,),
    the row of ``reference`` that each pair has; ``methods``, and ``most``, the largest sample of each method.
    The answer has ``done``, how many pairs were compared, ``thresholds``, and per method ``drifted``: true,
    false, or null where the method cannot be computed.
    """
    import numpy as np
    from evidently.legacy.calculations.stattests.registry import get_registered_stattest
    from evidently.legacy.core import ColumnType

    given = np.load(asked)
    methods, most = [str(name) for name in given["methods"]], given["most"].tolist()
    tests = [get_registered_stattest(name, ColumnType.Numerical) for name in methods]
    pairs = [
        (given["reference"][row], now)
        for row, now in zip(given["reference_of"], given["current"], strict=True)
    ]
    drifted: dict[str, list[bool | None]] = {name: [] for name in methods}
    began = told = time.monotonic()
    done = 0
    for before, now in pairs:
        if time.monotonic() - began > DAYS_S:
            break
        for name, test, size in zip(methods, tests, most, strict=True):
            drifted[name].append(_says(test, _sample(before, size), _sample(now, size)))
        done += 1
        if time.monotonic() - told > TELL_EVERY_S:
            told = time.monotonic()
            print(f"{done:,} of {len(pairs):,} comparisons", flush=True)
    thresholds = {name: float(test.default_threshold) for name, test in zip(methods, tests, strict=True)}
    answer = {"done": done, "thresholds": thresholds, "drifted": drifted}
    answered.write_text(json.dumps(answer), encoding="utf-8")


def _says(test: Any, before: Any, now: Any) -> bool | None:
    import numpy as np
    from evidently.legacy.core import ColumnType

    # Some methods draw permutations from the global generator.
    np.random.seed(0)
    try:
        said = test(before, now, ColumnType.Numerical, None)
    except (ValueError, ZeroDivisionError, FloatingPointError):
        return None
    return bool(said.drifted) if np.isfinite(said.drift_score) else None


def _sample(counts: Any, most: int) -> Any:
    """Confidences of at most ``most`` of the calls that (C,) counts are of."""
    import numpy as np
    import pandas as pd

    if counts.sum() > most:
        counts = np.random.default_rng(0).multivariate_hypergeometric(counts, most)
    return pd.Series(np.repeat(np.arange(len(counts)) / 100, counts))


if __name__ == "__main__":
    main(sys.argv[1:])
