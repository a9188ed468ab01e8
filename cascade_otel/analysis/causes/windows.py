"""The single calls of a finding's two windows, as arrays: what a diagnosis is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cascade_otel.records import Finding, Window
from cascade_otel.statistics.causes.decomposition import MOST_THRESHOLDS
from cascade_otel.statistics.causes.measurements import FEWEST_BEFORE, FEWEST_NOW, Calls, Canaries
from cascade_otel.storage import schema
from cascade_otel.storage.reading.rollup import Reader

MOST_CALLS = 200_000
"""Of each window; of more, evenly spaced ones are enough."""
MOST_SEGMENTS = 40
MOST_SIZED_SEGMENTS = 10
"""Of so many segments at most, each is divided by the size of inputs as well."""
SIZE_PARTS = 4
MOST_WITHOUT_SIZE = 0.1
SHORT_DAYS = 5
"""A shorter window is cut into blocks of six hours instead of days."""
FEWEST_TO_MATCH = 200
TRACE = ["trace_hi", "trace_lo"]
TRACE_MIX = 0x9E3779B97F4A7C15
COLUMNS = [
    "hour", "tier", "purpose", "escalated", "confidence_nano", "threshold", "segment", "input_size", "agreed",
    "canary_id", "error_type", *TRACE,
]  # fmt: skip

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Decided:
    """N decided production calls of a task's first tier in one window."""

    strata: Ints
    """(N,)"""
    score: Floats
    """(N,) confidence, or where it does not explain the decision one that does: below or above every τ."""
    confidence: Floats
    """(N,) nan where missing."""
    threshold: Floats
    """(N,) τ of each call; .5 throughout where none is recorded."""
    escalated: NDArray[np.bool_]
    """(N,)"""
    right: Floats
    """(N,) 1 where the answer was right, or a stronger tier agreed, 0 where not, nan where unknown."""
    failed: NDArray[np.bool_]
    """(N,) calls that ended in an error."""
    hour: Ints
    """(N,)"""
    of_how_many: int
    """Calls of the window, of which these are evenly spaced ones."""

    @property
    def block(self) -> Ints:
        """(N,) day or quarter of a day."""
        return self.hour // (24 if np.ptp(self.hour) + 1 >= SHORT_DAYS * 24 else 6)

    @property
    def tau(self) -> float:
        """Median of τ."""
        return float(np.median(self.threshold))


@dataclass(frozen=True)
class Windows:
    """The reference and what came after, and what was asked again in both."""

    before: Decided
    now: Decided
    names: list[tuple[str, str]]
    """Of the strata: segment and part of size, '' where not recorded."""
    canaries: Canaries | None

    @property
    def has_strata(self) -> bool:
        """Whether any kinds of input are told apart."""
        return len(self.names) > 1

    def kinds(self) -> tuple[list[str], Floats, Floats]:
        """Every segment and every part of size, with its share of calls before and now."""
        shares = [
            np.bincount(one.strata, minlength=len(self.names)) / len(one.strata)
            for one in (self.before, self.now)
        ]
        names: list[str] = []
        places = []
        for part in (0, 1):
            own = [name[part] for name in self.names]
            for name in dict.fromkeys(own) if len(set(own)) > 1 or part == 0 else ():
                names.append(name or "(unnamed)")
                places.append([one == name for one in own])
        found = [np.array([share[np.array(place)].sum() for place in places]) for share in shares]
        return names, found[0], found[1]

    def taus(self) -> tuple[Floats, Floats, Floats]:
        """Every τ, rounded where there are many, with the share of calls that had it before and now."""
        own = [one.threshold for one in (self.before, self.now)]
        levels = np.unique(np.concatenate(own))
        if len(levels) > MOST_THRESHOLDS:
            own, levels = [np.round(one, 2) for one in own], np.unique(np.round(levels, 2))
        shares = [np.bincount(np.searchsorted(levels, one), minlength=len(levels)) / len(one) for one in own]
        return levels, shares[0], shares[1]

    def calls(self) -> tuple[Calls, Calls]:
        """Both windows as evidence is measured on them.

        Of a window shorter than a day the reference is its own hours of the day, if they hold enough calls.
        """
        hours = np.unique(self.now.hour % 24)
        same = np.isin(self.before.hour % 24, hours)
        whole = len(hours) == 24 or np.count_nonzero(same) < FEWEST_TO_MATCH
        return _calls(self.before, np.ones_like(same) if whole else same), _calls(
            self.now, np.ones(len(self.now.hour), bool)
        )


def read(reader: Reader, finding: Finding, reference: Window, current: Window) -> Windows | None:
    """Both windows of a finding; None where one holds no decided calls."""
    windows = reference, current
    rows = [
        reader.rows(finding.task, window.start_hour, window.end_hour, kind=schema.TIER, columns=COLUMNS)
        for window in windows
    ]
    purposes = [one["purpose"].fillna("") for one in rows]
    own = [
        one[(purpose == "") & (one["tier"] == finding.tier) & one["escalated"].notna()]
        for one, purpose in zip(rows, purposes, strict=True)
    ]
    if any(one.empty for one in own):
        return None
    sizes = [len(one) for one in own]
    own = [one.iloc[:: -(-len(one) // MOST_CALLS)] for one in own]
    checks = [one[purpose == "audit"] for one, purpose in zip(rows, purposes, strict=True)]
    asked = [
        one[(purpose == "canary") & (one["tier"] == finding.tier) & one["canary_id"].notna()]
        for one, purpose in zip(rows, purposes, strict=True)
    ]
    right, right_asked = _right(reader, finding, windows, own, checks, asked)
    strata, names = _strata(own)
    usable = all(one["threshold"].notna().any() for one in own)
    before, now = (
        _decided(one, stratum, known, size, usable)
        for one, stratum, known, size in zip(own, strata, right, sizes, strict=True)
    )
    return Windows(before, now, names, _canaries(asked, right_asked))


def _calls(window: Decided, part: NDArray[np.bool_]) -> Calls:
    return Calls(
        (window.hour // 24)[part],
        window.strata[part],
        window.confidence[part],
        window.escalated[part],
        window.right[part],
    )


def _decided(rows: pd.DataFrame, strata: Ints, right: Floats, size: int, usable: bool) -> Decided:
    escalated = rows["escalated"].to_numpy(bool)
    confidence = rows["confidence_nano"].to_numpy(float) / 1e9
    threshold = rows["threshold"].to_numpy(float)
    usual = float(np.nanmedian(threshold)) if usable else 0.5
    threshold = np.where(np.isnan(threshold), usual, threshold) if usable else np.full(len(rows), usual)
    explained = ((confidence < threshold) == escalated) & ~np.isnan(confidence)
    return Decided(
        strata=strata,
        # Above every τ, also above one of 1.
        score=np.where(explained & usable, confidence, np.where(escalated, -1.0, 2.0)),
        confidence=confidence,
        threshold=threshold,
        escalated=escalated,
        right=right,
        failed=rows["error_type"].notna().to_numpy(bool),
        hour=rows["hour"].to_numpy(np.int64),
        of_how_many=size,
    )


def _strata(frames: list[pd.DataFrame]) -> tuple[list[Ints], list[tuple[str, str]]]:
    """Of each call the number of its segment and part of size, and the names of these; the rarest are one."""
    segments = [frame["segment"].fillna("").astype(str) for frame in frames]
    unnamed = [(segment == "").mean() for segment in segments]
    if abs(unnamed[0] - unnamed[1]) > 0.5:
        # Recording of segments was switched on or off: that is no change of inputs.
        segments = [segment.where(segment == "", "") for segment in segments]
    common = pd.concat(segments).value_counts().index[:MOST_SEGMENTS]
    place = {name: number for number, name in enumerate(common)}
    names = [*common, "other"]
    numbers = [segment.map(place).fillna(len(common)).to_numpy(np.int64) for segment in segments]
    sizes = [frame["input_size"].to_numpy(float) for frame in frames]
    if len(common) > MOST_SIZED_SEGMENTS or any(np.isnan(size).mean() > MOST_WITHOUT_SIZE for size in sizes):
        edges, parts = np.array([]), [""]
    else:
        edges = np.unique(np.nanquantile(sizes[0], np.arange(1, SIZE_PARTS) / SIZE_PARTS))
        parts = [f"size below {edges[0]:.4g}", *(f"size {edge:.4g} or more" for edge in edges)]
    cells = [
        number * len(parts) + np.searchsorted(edges, size, side="right") * (len(parts) > 1)
        for number, size in zip(numbers, sizes, strict=True)
    ]
    # Only kinds that there are get a number.
    kinds = np.unique(np.concatenate(cells))
    strata = [np.searchsorted(kinds, cell).astype(np.int64) for cell in cells]
    return strata, [(names[kind // len(parts)], parts[kind % len(parts)]) for kind in kinds.tolist()]


def _right(
    reader: Reader,
    finding: Finding,
    windows: tuple[Window, Window],
    own: list[pd.DataFrame],
    checks: list[pd.DataFrame],
    asked: list[pd.DataFrame],
) -> tuple[list[Floats], list[Floats]]:
    """Whether answers were right, of calls and of canaries in each window.

    By a stronger tier's agreement where enough of that is known in both windows, else by labels: a mixture of
    both would change its meaning when either is given more often.
    """
    agreed = [_agreed(calls, check) for calls, check in zip(own, checks, strict=True)]
    canaries = [one["agreed"].to_numpy(float, na_value=np.nan) for one in asked]
    known = [int(np.isfinite(one).sum()) for one in agreed]
    if known[0] >= FEWEST_BEFORE and known[1] >= FEWEST_NOW:
        return agreed, canaries
    labels = [reader.labels(window.start_hour, window.end_hour, finding.task) for window in windows]
    labels = [one[one["tier"] == finding.tier] for one in labels]
    return (
        [_joined(calls, label, "correct") for calls, label in zip(own, labels, strict=True)],
        [_joined(calls, label, "correct") for calls, label in zip(asked, labels, strict=True)],
    )


def _agreed(calls: pd.DataFrame, audits: pd.DataFrame) -> Floats:
    """By the call itself where it escalated, by its audit where it did not."""
    own = calls["agreed"].to_numpy(float, na_value=np.nan)
    return np.where(np.isnan(own), _joined(calls, audits[audits["agreed"].notna()], "agreed"), own)


def _joined(calls: pd.DataFrame, found: pd.DataFrame, column: str) -> Floats:
    """(N,) what was found of each call's trace, nan for nothing."""
    if found.empty or calls.empty:
        return np.full(len(calls), np.nan)
    known = pd.Series(found[column].to_numpy(float, na_value=np.nan), index=_trace(found))
    known = known[~known.index.duplicated(keep="last")]
    return known.reindex(_trace(calls)).to_numpy(float)


def _trace(rows: pd.DataFrame) -> Ints:
    """(N,) 64 bits of each row's trace id."""
    high, low = (rows[name].to_numpy(np.int64).view(np.uint64) for name in TRACE)
    return (low ^ (high * np.uint64(TRACE_MIX))).view(np.int64)


def _canaries(asked: list[pd.DataFrame], right: list[Floats]) -> Canaries | None:
    """The stored prompts that were asked in both windows, of several replays the mean."""
    means = []
    for rows, known in zip(asked, right, strict=True):
        table = pd.DataFrame(
            {
                "prompt": rows["canary_id"].astype(str).to_numpy(),
                "confidence": rows["confidence_nano"].to_numpy(float) / 1e9,
                "right": known,
            }
        )
        means.append(table.groupby("prompt")[["confidence", "right"]].mean())
    both = means[0].join(means[1], how="inner", lsuffix="_before", rsuffix="_now")
    both = both[both["confidence_before"].notna() & both["confidence_now"].notna()]
    if len(both) < FEWEST_NOW:
        return None
    columns = ("confidence_before", "confidence_now", "right_before", "right_now")
    return Canaries(*(both[name].to_numpy(float) for name in columns))
