"""A task's calls as a choice of threshold needs them: decision, confidence, and whether they were wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cascade_otel.analysis.money import CURRENCY, NANO
from cascade_otel.analysis.threshold.paths import ENOUGH_AUDITS, TRACE, Paths, paths
from cascade_otel.statistics.risk.risk_control import ALWAYS, NEVER
from cascade_otel.storage import schema
from cascade_otel.storage.reading.rollup import Reader

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
WrongMeans = Literal["disagrees", "labelled wrong", "unknown"]

NEWEST = 200
"""The threshold in force is the commonest of so many newest calls."""
MOST_RATES = 8
"""Audit rates told apart; of more, those within half an octave count as one."""
TIER_COLUMNS = [
    *TRACE, "hour", "start_ns", "duration_ns", "tier", "tier_index", "purpose", "escalated", "agreed",
    "threshold", "confidence_nano", "cost_nano", "currency",
]  # fmt: skip


@dataclass(frozen=True)
class Calls:
    """N decided production calls of a task's first tier, oldest first. nan: unknown."""

    tier: str
    hour: Ints
    confidence: Floats
    threshold: Floats
    """(N,) in force at the call."""
    escalated: Bools
    wrong: Floats
    """(N,) 1 or 0."""
    stratum: Ints
    """(N,) calls that had the same chance that ``wrong`` becomes known; 0 are the escalated ones."""
    wrong_means: WrongMeans
    paths: Paths
    audit_rate: float | None
    """Share of accepted calls audited lately; None without audits."""
    thresholds: dict[str, float]
    """τ in force of every tier that records one, in the order of the tiers."""
    currency: str

    @property
    def unscored(self) -> Bools:
        """(N,) has no confidence, or no threshold is known."""
        return np.asarray(np.isnan(self.confidence) | np.isnan(self.threshold))

    @property
    def explained(self) -> Bools:
        """(N,) decided as confidence < threshold says."""
        return np.asarray(((self.confidence < self.threshold) == self.escalated) & ~self.unscored)

    @property
    def score(self) -> Floats:
        """(N,) the confidence; where it did not decide, what is accepted or escalated at every threshold."""
        return np.where(self.explained, self.confidence, np.where(self.escalated, NEVER, ALWAYS))

    @property
    def threshold_now(self) -> float | None:
        """The threshold in force; None where none is known."""
        return _commonest(self.threshold)

    def part(self, rows: Bools) -> Calls:
        """Some of the calls."""
        names = ("hour", "confidence", "threshold", "escalated", "wrong", "stratum")
        return replace(
            self, **{name: getattr(self, name)[rows] for name in names}, paths=self.paths.part(rows)
        )


def read(
    reader: Reader, task: str, start_hour: int, end_hour: int, declared: float | None = None
) -> Calls | None:
    """The task's calls in [start_hour, end_hour); None where none is decided.

    Args:
        reader: of the store.
        task: its name.
        start_hour: since 1970 UTC.
        end_hour: likewise.
        declared: τ of calls that record none. Without it, they are taken to have the τ that best explains
            which of them escalated.
    """
    tiers = reader.rows(task, start_hour, end_hour, kind=schema.TIER, columns=TIER_COLUMNS)
    production = tiers[(tiers["purpose"].fillna("") == "") & tiers["tier"].notna()]
    production = production.assign(tier=production["tier"].astype(str))
    order = _tiers_in_order(production)
    first = production[production["tier"] == order[0]] if order else production
    rows = first[first["escalated"].notna()].reset_index(drop=True)
    if rows.empty:
        return None
    rows = _with_checks(rows, reader, task, order[0], start_hour, end_hour)
    wrong, means = _wrong(rows)
    stratum, rate = _strata(rows, means)
    cascades = reader.rows(
        task,
        start_hour,
        end_hour,
        kind=schema.CASCADE,
        columns=[*TRACE, "purpose", "duration_ns", "cost_nano"],
    )
    named = rows["currency"].dropna()
    return Calls(
        tier=order[0],
        hour=rows["hour"].to_numpy(np.int64),
        confidence=rows["confidence_nano"].to_numpy(float) / NANO,
        threshold=_thresholds(rows, declared),
        escalated=rows["escalated"].to_numpy(bool),
        wrong=wrong,
        stratum=stratum,
        wrong_means=means,
        paths=paths(rows, first, cascades[cascades["purpose"].fillna("") == ""]),
        audit_rate=rate,
        thresholds=_in_force(production, order),
        currency=str(named.mode().iloc[0]) if len(named) else CURRENCY,
    )


def behaves_like(confidence: Floats, escalated: Bools) -> float | None:
    """The threshold that contradicts the fewest decisions; None where no call has a confidence.

    Args:
        confidence: (N,) nan where missing.
        escalated: (N,)
    """
    scored = ~np.isnan(confidence)
    if not scored.any():
        return None
    levels, row = np.unique(confidence[scored], return_inverse=True)
    sent = np.bincount(row, escalated[scored], len(levels))
    kept = np.bincount(row, ~escalated[scored], len(levels))
    # With the i-th level as τ: what lies below and was kept, what lies at or above it and was sent on.
    contradictions = np.append(0, np.cumsum(kept)) + np.append(np.cumsum(sent[::-1])[::-1], 0)
    best = int(np.argmin(contradictions))
    return float(levels[best]) if best < len(levels) else float(np.nextafter(levels[-1], 2))


def _tiers_in_order(production: pd.DataFrame) -> list[str]:
    """Tiers by index; of several with the same, the most used first."""
    index = production["tier_index"].fillna(np.inf)
    found = production.assign(index=index).groupby("tier").agg(index=("index", "min"), n=("tier", "size"))
    ordered = found.reset_index().sort_values(["index", "n", "tier"], ascending=[True, False, True])
    return [str(name) for name in ordered["tier"]]


def _with_checks(
    rows: pd.DataFrame, reader: Reader, task: str, tier: str, start_hour: int, end_hour: int
) -> pd.DataFrame:
    """The rows with the audit and the label about them; of several calls in a trace, they mean the last.

    Columns more: audit_agreed, audit_weight, audit_cost_nano, correct.
    """
    audits = reader.audits(start_hour, end_hour, task)
    labels = reader.labels(start_hour, end_hour, task)
    audits = audits[audits["tier"] == tier].drop_duplicates(TRACE, keep="last")
    labels = labels[(labels["tier"] == tier) & (labels["purpose"] == "")]
    named = {"agreed": "audit_agreed", "weight": "audit_weight", "cost_nano": "audit_cost_nano"}
    found = rows.merge(audits[[*TRACE, *named]].rename(columns=named), "left", TRACE)
    found = found.merge(labels.drop_duplicates(TRACE, keep="last")[[*TRACE, "correct"]], "left", TRACE)
    last = ~found.duplicated(TRACE, keep="last")
    return found.assign(**{name: found[name].where(last) for name in (*named.values(), "correct")})


def _wrong(rows: pd.DataFrame) -> tuple[Floats, WrongMeans]:
    """Audits are a random sample by themselves: labels speak only where audits are few."""
    escalated = rows["escalated"].to_numpy(bool)
    agreed = np.where(escalated, _flags(rows["agreed"]), _flags(rows["audit_agreed"]))
    correct = _flags(rows["correct"])
    audited, labelled = (int((~np.isnan(one) & ~escalated).sum()) for one in (agreed, correct))
    if labelled > audited and audited < ENOUGH_AUDITS:
        return 1 - correct, "labelled wrong"
    return 1 - agreed, "unknown" if np.isnan(agreed).all() else "disagrees"


def _strata(rows: pd.DataFrame, means: WrongMeans) -> tuple[Ints, float | None]:
    """Escalated calls are stratum 0, accepted ones 1 or, under several audit rates, one more for each.

    The rate of a call that was not audited is that of the last audit before it.
    """
    accepted = ~rows["escalated"].to_numpy(bool)
    stratum = accepted.astype(np.int64)
    weight = rows["audit_weight"].astype(float)[accepted].ffill().bfill().to_numpy(float)
    if not len(weight) or np.isnan(weight).all():
        return stratum, None
    if means == "disagrees":
        kind = weight if len(np.unique(weight)) <= MOST_RATES else np.rint(2 * np.log2(weight))
        stratum[accepted] = 1 + np.unique(kind, return_inverse=True)[1]
    return stratum, round(float(1 / weight[-1]), 6)


def _thresholds(rows: pd.DataFrame, declared: float | None) -> Floats:
    threshold = rows["threshold"].to_numpy(float).copy()
    missing = np.isnan(threshold)
    if missing.any():
        unsaid = rows[missing]
        confidence = unsaid["confidence_nano"].to_numpy(float) / NANO
        like = (
            declared if declared is not None else behaves_like(confidence, unsaid["escalated"].to_numpy(bool))
        )
        threshold[missing] = np.nan if like is None else like
    return threshold


def _in_force(production: pd.DataFrame, order: list[str]) -> dict[str, float]:
    decided = production[production["escalated"].notna()]
    found = {
        tier: _commonest(decided.loc[decided["tier"] == tier, "threshold"].to_numpy(float)) for tier in order
    }
    return {tier: threshold for tier, threshold in found.items() if threshold is not None}


def _flags(column: pd.Series[bool]) -> Floats:
    return np.asarray(column.astype("boolean").to_numpy(float, na_value=np.nan), np.float64)


def _commonest(threshold: Floats) -> float | None:
    newest = threshold[~np.isnan(threshold)][-NEWEST:]
    if not len(newest):
        return None
    values, times = np.unique(newest, return_counts=True)
    return float(values[np.argmax(times)])
