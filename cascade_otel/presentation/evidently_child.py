"""Evidently's drift report of two tables, in a process of its own: slow to import, not to phone home.

Arguments: two Parquet files that are read, reference and current; an HTML and a JSON file that are written.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DRIFT_OF_A_COLUMN = "evidently:metric_v2:ValueDrift"


def main(arguments: Sequence[str]) -> None:
    """Writes the report and, per column, method, score, threshold and whether Evidently calls it drifted."""
    reference, current, html, scores = map(Path, arguments)
    os.environ["DO_NOT_TRACK"] = "1"
    warnings.filterwarnings("ignore")
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    snapshot = Report([DataDriftPreset()]).run(
        current_data=pd.read_parquet(current), reference_data=pd.read_parquet(reference)
    )
    snapshot.save_html(str(html))
    scores.write_text(json.dumps(columns(snapshot.dict())), encoding="utf-8")


def columns(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One dict per column of a result: column, method, score, threshold, drifted."""
    found = []
    for metric in result["metrics"]:
        config = metric["config"]
        if config["type"] != DRIFT_OF_A_COLUMN:
            continue
        score, threshold, method = float(metric["value"]), float(config["threshold"]), str(config["method"])
        # A distance drifts when it is large, a p-value when it is small.
        drifted = score < threshold if "p_value" in method else score >= threshold
        found.append(
            {
                "column": config["column"],
                "method": method,
                "score": score,
                "threshold": threshold,
                "drifted": drifted,
            }
        )
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
