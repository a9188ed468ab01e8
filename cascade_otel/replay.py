"""An old log becomes telemetry: each row is recorded as a two-tier cascade would have recorded it."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cascade_otel.records import DAY_NS, UserError
from cascade_otel.storage import schema
from cascade_otel.storage.calls import two_tier_rows
from cascade_otel.storage.manifest import Live
from cascade_otel.storage.segments import Store

NEEDED = ("task", "cheap_model", "cheap_confidence", "strong_model")
TIERS = ("cheap", "strong")
OPTIONAL = (
    *(
        f"{tier}_{what}"
        for tier in TIERS
        for what in ("correct", "cost_usd", "tokens_in", "tokens_out", "latency_ms")
    ),
    "timestamp",
    "input_chars",
)
NAME = "replay"
"""Cascade and service of every row, so that replayed calls can be told from live ones."""
CALLS_AT_ONCE = 100_000
"""Calls whose rows are held in memory at a time."""
AGAIN = "then type the command again"
LONGEST_DAYS = 3650.0
MOST_USD, MOST_TOKENS, MOST_MS, MOST_CHARS = 1e6, 2e9, 1e9, 1e15
"""Of one call. More is a mistake in the log, and would not fit into sums."""
EARLIEST, FAR_S = pd.Timestamp(0, tz="UTC"), 9e9
"""Seconds after 1970 that fit into nanoseconds of 64 bits."""
KNOWN = pa.schema(
    [
        schema.SCHEMA.field(name)
        for name in ("span_id", "trace_lo", "kind", "start_ns", "task", "tier", "model", "threshold")
    ]
)
"""What is read of the rows that a store has already."""
_TRUE, _FALSE = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no")


class ReplayError(UserError):
    """The file or the options cannot be replayed; nothing was written."""


@dataclass(frozen=True)
class Replayed:
    """What a replay did; as text, one sentence."""

    calls: int
    escalated: int
    rows_added: int
    rows_present: int
    store: Path

    def __str__(self) -> str:
        rate = f"{self.escalated} of {self.calls} calls escalate ({self.escalated / self.calls:.1%})"
        if not self.rows_added:
            return f"{rate}; nothing added: {self.store} has these rows already"
        present = f", {self.rows_present} were there" if self.rows_present else ""
        return f"{rate}; {self.rows_added} rows added to {self.store}{present}"


def replay(
    file: Path,
    store: Path,
    cheap: str,
    strong: str,
    threshold: float,
    where: Mapping[str, str] | None = None,
    over_days: float = 14.0,
    now_ns: int | None = None,
) -> Replayed:
    """Records each row of ``file`` (Parquet or CSV) for the pair ``cheap`` → ``strong`` that meets ``where``.

    A call escalates if its confidence is < ``threshold`` or missing. The strong outcome of an accepted
    call, where the log has it, is kept with purpose ``audit``. A row's time is its ``timestamp``; rows
    without one are spread evenly, each task's over the last ``over_days``. Ids follow from the file's
    content and the row's number, and rows that the store has already are left out: a second replay adds
    nothing, unless the first was cut off and it completes it. Raises ReplayError, also where the store has
    these tasks of the file with another threshold or pair, and then has written nothing.
    """
    _check_options(threshold, over_days)
    if store.exists() and not store.is_dir():
        raise ReplayError(f"--store {store} is a file; wanted: a folder; type another --store DIR")
    log = _read(Path(file))
    missing = [name for name in NEEDED if name not in log]
    if missing:
        raise ReplayError(
            f"{file} has the columns {_listed(log.columns)}; wanted: {', '.join(NEEDED)}, and where known "
            f"{', '.join(OPTIONAL)}; add or rename {', '.join(missing)}, {AGAIN}"
        )
    chosen = _choose(log, file, cheap, strong, where or {})
    calls = _calls(
        chosen, _file_hash(Path(file)), threshold, over_days, time.time_ns() if now_ns is None else now_ns
    )
    is_new = not store.exists()
    known = KNOWN.empty_table() if is_new else _known(Store(store), int(calls["trace_hi"].iloc[0]))
    _check_known(known, calls, {"--threshold": threshold, "--cheap": cheap, "--strong": strong}, store)
    calls = _at_known_times(calls, known)
    present = known["span_id"].combine_chunks()
    rows = 0

    def new_rows() -> Iterator[pa.Table]:
        nonlocal rows
        for start in range(0, len(calls), CALLS_AT_ONCE):
            table = two_tier_rows(calls.iloc[start : start + CALLS_AT_ONCE])
            rows += table.num_rows
            new = table.filter(pc.invert(pc.is_in(table["span_id"], value_set=present)))
            if new.num_rows:
                yield new

    target = Store(store)
    try:
        added = target.publish(new_rows())
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):
                target.tmp.rmdir()
                target.root.rmdir()
        raise
    return Replayed(
        calls=len(calls),
        escalated=int(calls["escalated"].sum()),
        rows_added=added,
        rows_present=rows - added,
        store=Path(store),
    )


def conditions(text: str) -> dict[str, str]:
    """``dataset=mmlu,split=test`` as a dictionary. Raises ReplayError."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    pairs = [part.partition("=") for part in parts]
    for part, (name, sign, value) in zip(parts, pairs, strict=True):
        if not (name.strip() and sign and value.strip()):
            raise ReplayError(
                f"--where {part!r} arrived; wanted: COLUMN=VALUE; type for example --where split=test"
            )
    return {name.strip(): value.strip() for name, _, value in pairs}


def _check_options(threshold: float, over_days: float) -> None:
    if not 0 <= threshold <= 1:
        raise ReplayError(f"--threshold {threshold} arrived; wanted: a number from 0 to 1; type e.g. 0.9")
    if not 0 < over_days <= LONGEST_DAYS:
        raise ReplayError(
            f"--over {over_days:g} arrived; wanted: days, more than 0 and at most {LONGEST_DAYS:g}; "
            "type e.g. --over 14"
        )


def _read(file: Path) -> pd.DataFrame:
    wanted = "wanted: a table in Parquet or CSV with a header; type cascade-otel replay FILE …"
    if not file.is_file():
        raise ReplayError(f"{file} is no file; {wanted}")
    with open(file, "rb") as opened:
        start = opened.read(4)
    nested: list[str] = []
    try:
        if start == b"PAR1":
            # Rows count as they lie in the file, whatever index pandas once saved with them.
            table = pq.read_table(file)
            nested = [field.name for field in table.schema if pa.types.is_nested(field.type)]
            log: pd.DataFrame = table.to_pandas(ignore_metadata=True)
        else:
            log = pd.read_csv(file, float_precision="round_trip", low_memory=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise ReplayError(f"{file} ({file.stat().st_size} bytes) is no table: {reason}; {wanted}") from error
    if not isinstance(log.index, pd.RangeIndex):
        raise ReplayError(f"{file} has rows with more fields than its header; {wanted} that names them all")
    for name in nested:
        if name in (*NEEDED, *OPTIONAL):
            raise ReplayError(f"{name} of {file} holds several values a row; wanted: one; change it, {AGAIN}")
    if log.empty:
        raise ReplayError(f"{file} has no rows; {wanted} that has some")
    return log


def _choose(log: pd.DataFrame, file: Path, cheap: str, strong: str, where: Mapping[str, str]) -> pd.DataFrame:
    """Rows of the pair that meet the conditions; their index is the row's number in the file."""
    for name, value in where.items():
        if name not in log:
            raise ReplayError(
                f"--where {name}={value} arrived; wanted: a column of {file}; "
                f"type one of {_listed(log.columns)}"
            )
        found = log[log[name].astype(str) == value]
        if found.empty:
            raise ReplayError(
                f"--where {name}={value} arrived, and no row has it; wanted: a value of {name}; "
                f"type one of {_listed(log[name])}"
            )
        log = found
    for option, name, value in (("--cheap", "cheap_model", cheap), ("--strong", "strong_model", strong)):
        found = log[log[name].astype(str) == value]
        if found.empty:
            raise ReplayError(
                f"{option} {value} arrived, and no row has it; wanted: a {name} of these rows; "
                f"type one of {_listed(log[name])}"
            )
        log = found
    return log


def _calls(
    log: pd.DataFrame, file_hash: bytes, threshold: float, over_days: float, now_ns: int
) -> pd.DataFrame:
    confidence = _numbers(log, "cheap_confidence", 0.0, 1.0)
    nameless = log["task"].isna() | (log["task"].astype(str).str.strip() == "")
    if nameless.any():
        raise ReplayError(f"{_where_is(nameless)} has no task; wanted: a name; fill it in, {AGAIN}")
    row = log.index.to_numpy(np.uint64)
    strong_known = np.zeros(len(log), bool)
    columns: dict[str, Any] = {
        "trace_hi": np.full(len(log), int.from_bytes(file_hash[:8], "little", signed=True)),
        "trace_lo": (np.uint64(int.from_bytes(file_hash[8:16], "little")) ^ row).view(np.int64),
        "start_ns": _times(log, over_days, now_ns),
        "service": NAME,
        "cascade": NAME,
        "task": log["task"].astype(str).to_numpy(),
        "cheap_tier": "cheap",
        "strong_tier": "strong",
        "cheap_model": log["cheap_model"].to_numpy(),
        "strong_model": log["strong_model"].to_numpy(),
        "cheap_confidence": confidence,
        "threshold": threshold,
        "escalated": ~(confidence >= threshold),
        "confidence_source": NAME,
        "feedback_source": NAME,
    }
    if "input_chars" in log:
        columns["input_size"] = _numbers(log, "input_chars", 0.0, MOST_CHARS)
    for tier in TIERS:
        columns[f"{tier}_duration_ns"] = np.rint(_numbers(log, f"{tier}_latency_ms", 0.0, MOST_MS) * 1e6)
        columns[f"{tier}_cost_nano"] = np.rint(_numbers(log, f"{tier}_cost_usd", 0.0, MOST_USD) * 1e9)
        columns[f"{tier}_input_tokens"] = np.rint(_numbers(log, f"{tier}_tokens_in", 0.0, MOST_TOKENS))
        columns[f"{tier}_output_tokens"] = np.rint(_numbers(log, f"{tier}_tokens_out", 0.0, MOST_TOKENS))
        columns[f"{tier}_correct"] = _truths(log, f"{tier}_correct")
    for what in ("correct", "cost_nano", "duration_ns"):
        strong_known |= pd.notna(columns[f"strong_{what}"])
    texts = ["service", "cascade", "task", "cheap_tier", "strong_tier", "cheap_model", "strong_model"]
    texts += ["confidence_source", "feedback_source"]
    calls = pd.DataFrame(columns | {"audited": strong_known}).sort_values("start_ns", kind="stable")
    return calls.astype(dict.fromkeys(texts, "category"))


def _times(log: pd.DataFrame, over_days: float, now_ns: int) -> NDArray[np.int64]:
    number, count = log.groupby("task").cumcount(), log.groupby("task")["task"].transform("size")
    share = ((number + 0.5) / count).to_numpy(float)
    spread = now_ns - np.rint((1 - share) * over_days * DAY_NS).astype(np.int64)
    if "timestamp" not in log:
        return spread
    given = log["timestamp"]
    known = given.notna().to_numpy()
    times = _nanoseconds(given)
    wrong = pd.Series(known & ~((times >= 0) & (times <= now_ns + DAY_NS)), log.index)
    if wrong.any():
        raise ReplayError(
            f"timestamp of {_where_is(wrong)} is {str(given[wrong].iloc[0])!r}; wanted: a time from 1970 to "
            f"tomorrow, like 2026-05-31T12:00:00Z or as seconds since 1970; change it, {AGAIN}"
        )
    return np.where(known, times, spread)


def _nanoseconds(given: pd.Series[Any]) -> NDArray[np.int64]:
    """Times, or seconds, as nanoseconds since 1970; -1 for what is neither and what is far from now."""
    if pd.api.types.is_bool_dtype(given) or pd.api.types.is_timedelta64_dtype(given):
        return np.full(len(given), -1)
    if pd.api.types.is_numeric_dtype(given):
        seconds = given.to_numpy(float, na_value=np.nan)
        near = (seconds >= 0) & (seconds < FAR_S)
        return np.where(near, np.rint(np.where(near, seconds, 0) * 1e9), -1).astype(np.int64)
    try:
        times = pd.to_datetime(given, utc=True, errors="coerce", format="ISO8601")
    except (TypeError, ValueError):  # of a type that is no time at all
        return np.full(len(given), -1)
    times = times.where((times >= EARLIEST) & (times < EARLIEST + pd.Timedelta(seconds=FAR_S)))
    return np.where(times.notna(), times.dt.as_unit("ns").astype("int64"), -1)


def _numbers(log: pd.DataFrame, name: str, low: float, high: float) -> NDArray[np.float64]:
    """A column as floats within bounds, nan where it is missing; all nan where there is no such column."""
    if name not in log:
        return np.full(len(log), np.nan)
    numbers = pd.to_numeric(log[name], errors="coerce")
    wrong = (numbers.isna() & log[name].notna()) | (numbers < low) | (numbers > high) | np.isinf(numbers)
    if wrong.any():
        raise ReplayError(
            f"{name} of {_where_is(wrong)} is {log[name][wrong].iloc[0]}; wanted: a number from {low:g} to "
            f"{high:g}, or nothing; change it, {AGAIN}"
        )
    return numbers.to_numpy(float, na_value=np.nan)


def _truths(log: pd.DataFrame, name: str) -> pd.arrays.BooleanArray:
    if name not in log:
        return pd.arrays.BooleanArray(np.zeros(len(log), bool), np.ones(len(log), bool))
    said = log[name].astype(str).str.lower()
    known = log[name].notna()
    wrong = known & ~said.isin([*_TRUE, *_FALSE])
    if wrong.any():
        raise ReplayError(
            f"{name} of {_where_is(wrong)} is {log[name][wrong].iloc[0]}; wanted: true or false, or nothing; "
            f"change it, {AGAIN}"
        )
    return pd.arrays.BooleanArray(said.isin(_TRUE).to_numpy(bool), ~known.to_numpy(bool))


def _file_hash(file: Path) -> bytes:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()


def _known(store: Store, trace_hi: int) -> pa.Table:
    """Rows that the store has of the file whose traces begin so, in ``KNOWN``."""

    def query(days: list[Live]) -> pa.Table:
        paths = [path for day in days for path in day.rows()]
        if not paths:
            return KNOWN.empty_table()
        return ds.dataset(paths, schema=schema.SCHEMA, format="parquet").to_table(
            columns=KNOWN.names, filter=ds.field("trace_hi") == trace_hi
        )

    try:
        return store.read(query)
    except pa.ArrowException as error:
        raise ReplayError(
            f"--store {store.root} cannot be read ({str(error).splitlines()[0]}); wanted: whole files; "
            f"type cascade-otel doctor --store {store.root}"
        ) from error


def _check_known(
    known: pa.Table, calls: pd.DataFrame, wanted: Mapping[str, float | str], store: Path
) -> None:
    """Raises ReplayError where the store has tasks of these calls as another threshold or pair made them."""
    rows = known.filter(pc.equal(known["kind"], schema.TIER)).to_pandas()
    rows = rows[rows["task"].isin(calls["task"].unique())]
    cheap, strong = (rows[rows["tier"] == tier] for tier in TIERS)
    there = {"--threshold": cheap["threshold"], "--cheap": cheap["model"], "--strong": strong["model"]}
    for option, found in there.items():
        others = [value for value in found.dropna().unique() if value != wanted[option]]
        if others:
            raise ReplayError(
                f"{option} {wanted[option]} arrived, and {store} has tasks of this file with {option} "
                f"{others[0]}; wanted: one threshold and pair for a task; type another --store DIR"
            )


def _at_known_times(calls: pd.DataFrame, known: pa.Table) -> pd.DataFrame:
    """The calls, those of which the store has a part at the time it has them."""
    rows = known.filter(pc.equal(known["kind"], schema.CASCADE)).to_pandas().drop_duplicates("trace_lo")
    if rows.empty:
        return calls
    place = pd.Index(rows["trace_lo"]).get_indexer(pd.Index(calls["trace_lo"]))
    there = rows["start_ns"].to_numpy(np.int64)[place]
    return calls.assign(start_ns=np.where(place >= 0, there, calls["start_ns"]))


def _where_is(wrong: pd.Series[bool]) -> str:
    return f"row {int(wrong.index[wrong.to_numpy()][0]) + 1}"


def _listed(values: Iterable[object], most: int = 12) -> str:
    names = list(dict.fromkeys(map(str, values)))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
