"""Evidently's drift report of one task: a window against its reference, made by a child process."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cascade_otel.presentation import evidently_process, words
from cascade_otel.presentation.evidently_child import EFFECT_SIZES
from cascade_otel.records import Finding, UserError, Window
from cascade_otel.storage import schema
from cascade_otel.storage.reading.rollup import Reader

COLUMNS = ("confidence", "escalated", "latency_s", "cost")
SCORES = ["column", "method", "score", "threshold", "drifted", *EFFECT_SIZES]
MOST_ROWS = 20_000
FEWEST_VALUES = 30
TIMEOUT_S = 180
FOLDER = "reports"
"""Beside the state file."""


@dataclass(frozen=True)
class DriftReport:
    """A report on disk."""

    html: Path
    columns: pd.DataFrame
    """Of each column what the method that Evidently chooses says: column, method, score, threshold, drifted;
    and the effect sizes psi, wasserstein, jensenshannon."""
    note: str
    """Which windows and how many calls were compared, and what was left out."""


def write(
    reader: Reader,
    about: Finding | str,
    reference: Window,
    current: Window,
    folder: Path,
    timeout_s: float = TIMEOUT_S,
) -> Path:
    """Compares the calls of a finding's (or a task's) first tier in two windows; the path of the HTML.

    Confidence and escalation (0 or 1) are the first tier's; latency, in seconds, and cost are those of the
    whole call. At most ``MOST_ROWS`` calls a side are drawn. A column with too few values on either side is
    left out. Beside the HTML there is a JSON file of the scores. Raises UserError where there is nothing to
    compare, or Evidently fails or takes too long.
    """
    task = about if isinstance(about, str) else about.task
    tier = None if isinstance(about, str) else about.tier
    before, after = (_calls(reader, task, tier, window) for window in (reference, current))
    enough = [name for name in COLUMNS if min(before[name].count(), after[name].count()) >= FEWEST_VALUES]
    if not enough:
        raise UserError(
            f"{len(before)} calls in the reference, {len(after)} in the window of {words.name(task)} came; "
            f"wanted: {FEWEST_VALUES} on either side with a confidence, latency or cost; wait for more calls"
        )
    left_out = [name for name in COLUMNS if name not in enough]
    note = f"{_window(current, after)} against {_window(reference, before)}." + (
        f" Left out, too few values: {', '.join(left_out)}." if left_out else ""
    )
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{_stem(task)}-{current.start_hour}"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as scratch:
        made = Path(scratch)
        before[enough].to_parquet(made / "reference.parquet")
        after[enough].to_parquet(made / "current.parquet")
        files = ("reference.parquet", "current.parquet", "report.html", "scores.json")
        evidently_process.run(("report", *files), made, timeout_s)
        scores = {"note": note, "columns": json.loads((made / "scores.json").read_text(encoding="utf-8"))}
        (made / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
        (made / "scores.json").replace(folder / f"{name}.json")
        (made / "report.html").replace(folder / f"{name}.html")
    return folder / f"{name}.html"


def newest(state: Path, task: str) -> DriftReport | None:
    """The last report about a task that lies beside the state file; None where there is none."""
    found = sorted(
        (state.parent / FOLDER).glob(f"{_stem(task)}-*.html"), key=lambda path: path.stat().st_mtime
    )
    for html in reversed(found):
        scores = html.with_suffix(".json")
        if scores.is_file():
            told = json.loads(scores.read_text(encoding="utf-8"))
            return DriftReport(html, pd.DataFrame(told["columns"], columns=SCORES), str(told["note"]))
    return None


def _window(window: Window, drawn: pd.DataFrame) -> str:
    calls = words.count(len(drawn))
    return f"{words.hour(window.start_hour)} to {words.hour(window.end_hour)} ({calls} calls drawn)"


def _stem(task: str) -> str:
    # A task's name is somebody else's text: no path is built from it.
    return f"{schema.text_hash(task):016x}"


def _calls(reader: Reader, task: str, tier: str | None, window: Window) -> pd.DataFrame:
    """Calls of the window with ``COLUMNS``, at most ``MOST_ROWS``."""
    keys = ["trace_hi", "trace_lo"]
    hours = window.start_hour, window.end_hour
    tiers = reader.rows(
        task, *hours, schema.TIER, [*keys, "tier", "tier_index", "purpose", "escalated", "confidence_nano"]
    )
    tiers = tiers[tiers["purpose"].isna() & tiers["escalated"].notna()]
    if tier is None and len(tiers):
        tier = str(tiers.sort_values("tier_index", kind="stable")["tier"].iloc[0])
    first = tiers[tiers["tier"] == tier].drop_duplicates(keys)
    calls = reader.rows(task, *hours, schema.CASCADE, [*keys, "purpose", "duration_ns", "cost_nano"])
    calls = calls[calls["purpose"].isna()].drop_duplicates(keys)
    joined = first.merge(calls[[*keys, "duration_ns", "cost_nano"]], on=keys, how="left")
    if len(joined) > MOST_ROWS:
        joined = joined.sample(MOST_ROWS, random_state=0)
    return pd.DataFrame(
        {
            "confidence": joined["confidence_nano"].to_numpy(float) / 1e9,
            "escalated": joined["escalated"].to_numpy(float),
            "latency_s": joined["duration_ns"].to_numpy(float) / 1e9,
            "cost": joined["cost_nano"].to_numpy(float) / 1e9,
        }
    )
