"""Where should τ be: the threshold that escalates least while wrong answers stay below a limit."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cascade_otel.analysis.threshold import words as say
from cascade_otel.analysis.threshold.calls import Calls, read
from cascade_otel.records import AuditAdvice, ThresholdAdvice, ThresholdPoint, UserError
from cascade_otel.statistics.risk import audit_plan
from cascade_otel.statistics.risk.repeated_looks import pocock
from cascade_otel.statistics.risk.risk_control import (
    ALWAYS,
    RiskCurve,
    certified,
    count,
    labels_needed,
    risk_curve,
    selective_start,
    thinned,
)
from cascade_otel.storage.reading.rollup import Reader

Floats = NDArray[np.float64]

ALPHA, DELTA, DAYS = 0.05, 0.1, 28
MOST_THRESHOLDS = 1_000
"""Tested; with more distinct confidences, those as far apart in calls as they come."""
SHOWN = 40
"""Points of the curve, about."""
FEW = 0.01
"""Up to this share of calls may lack a cost or a latency."""
MOST_UNEXPLAINED = 0.1
"""Of the calls with a confidence so many may be decided by something else than τ."""


@dataclass(frozen=True)
class _Judged:
    """What the calls say about every threshold."""

    calls: Calls
    """Those of the stretch in which answers were checked."""
    levels: Floats
    """Distinct confidences of calls that a threshold decides over, ascending."""
    curve: RiskCurve
    best: int
    """Place in the curve of the lowest certified threshold, -1 without one."""


def advise(
    reader: Reader,
    task: str,
    *,
    alpha: float = ALPHA,
    delta: float = DELTA,
    days: int = DAYS,
    end_hour: int | None = None,
    selective: bool = False,
    looks: int = 1,
    declared: float | None = None,
) -> ThresholdAdvice:
    """The threshold of a task's first tier that escalates least while P(risk > alpha) <= delta.

    Args:
        reader: of the store. Single rows of the task are read.
        task: its name.
        alpha: largest share of all calls that may be accepted and wrong.
        delta: probability that the advised threshold exceeds it nevertheless.
        days: of calls that are looked at.
        end_hour: end of the window; by default that of the store.
        selective: ``alpha`` is a share of the accepted calls instead.
        looks: how often advice is taken of the same growing log, as weekly; each look is then stricter.
        declared: τ of calls that record none.

    Raises:
        UserError: a number out of range, or the store has no decided calls of the task.
    """
    _check(alpha, delta, days, looks)
    end = (reader.span_hours() or (0, -1))[1] + 1 if end_hour is None else end_hour
    start = end - 24 * days
    calls = read(reader, task, start, end, declared)
    if calls is None:
        raise UserError(say.no_calls(task, _tasks(reader, start, end), days))
    level = pocock(delta, looks)
    judged = _judge(calls, alpha, level, selective)
    reason = _reason(judged, alpha, delta, level)
    now = calls.threshold_now
    chosen = None if reason else float(judged.curve.threshold[judged.best])
    points = {cut: _point(judged, cut) for cut in _shown(judged, chosen)}
    advised = None if chosen is None else points[chosen]
    present = None if now is None else replace(_point(judged, now), threshold=now)
    audit = _audit(judged, alpha, level, selective)
    return ThresholdAdvice(
        task=task,
        tier=calls.tier,
        start_hour=start,
        end_hour=end,
        calls=len(calls.hour),
        alpha=alpha,
        delta=delta,
        selective=selective,
        wrong_means=calls.wrong_means,
        now=present,
        advised=advised,
        reason=reason,
        curve=tuple(points.values()),
        labelled=int((~np.isnan(judged.calls.wrong)).sum()),
        needed=labels_needed(alpha, level),
        audit=audit,
        remarks=tuple(say.remarks(calls, judged.calls, judged.levels, present, advised)),
        setting=None if advised is None else setting(task, calls, advised.threshold),
        currency=calls.currency,
    )


def to_replay(advice: ThresholdAdvice, wanted: float | None) -> float | None:
    """The threshold to replay: ``wanted``, or the advised one where that is negative; None: replay nothing.

    Raises:
        UserError: none is advised, or ``wanted`` is no threshold.
    """
    if wanted is None:
        return None
    if wanted >= 0:
        if wanted > 1:
            raise UserError(
                f"--replay {wanted:g} arrived; wanted: a number from 0 to 1; type e.g. --replay .8"
            )
        return wanted
    if advice.advised is None:
        raise UserError(
            f"--replay has no advised τ to replay: {advice.reason}; name one, type e.g. --replay .8"
        )
    return advice.advised.threshold


def plain(below: float, at: float) -> float:
    """The shortest decimal in (below, at]; of those of one length the greatest."""
    for digits in range(10):
        scale = 10.0**digits
        shortened = math.floor(at * scale + 1e-9) / scale
        if below < shortened <= at:
            return shortened
    return at


def setting(task: str, calls: Calls, threshold: float) -> str:
    """The lines of ``cascade.toml`` that set the first tier's threshold and leave the others'."""
    others = {tier: one for tier, one in calls.thresholds.items() if tier != calls.tier}
    table = f"[tasks.{_quoted(task)}]"
    if not others:
        return f"{table}\nthreshold = {threshold:.10g}"
    each = ", ".join(
        f"{_quoted(tier)} = {one:.10g}" for tier, one in ({calls.tier: threshold} | others).items()
    )
    return f"{table}\nthresholds = {{{each}}}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _check(alpha: float, delta: float, days: int, looks: int) -> None:
    for option, value in (("--alpha", alpha), ("--delta", delta)):
        if not 0 < value < 1:
            raise UserError(
                f"{option} {value} arrived; wanted: a share between 0 and 1; type e.g. {option} .05"
            )
    for option, number in (("--days", days), ("--looks", looks)):
        if number < 1:
            raise UserError(
                f"{option} {number} arrived; wanted: a whole number from 1 on; type e.g. {option} 4"
            )


def _tasks(reader: Reader, start: int, end: int) -> Sequence[str]:
    return [str(name) for name in reader.sums_by(("task",), start, end, counts=("n",))["task"]]


def _judge(calls: Calls, alpha: float, level: float, selective: bool) -> _Judged:
    calls = _checked_stretch(calls)
    score = calls.score
    counts = thinned(count(score, calls.wrong, calls.stratum), MOST_THRESHOLDS)
    curve = risk_curve(counts, level, selective)
    first = selective_start(counts, alpha, level) if selective else 0
    return _Judged(calls, np.unique(score[np.isfinite(score)]), curve, certified(curve, alpha, first))


def _checked_stretch(calls: Calls) -> Calls:
    """The calls from the first to the last audit: accepted ones outside had no chance of one."""
    if calls.wrong_means != "disagrees":
        return calls
    audited = np.flatnonzero(~np.isnan(calls.wrong) & ~calls.escalated)
    if not len(audited):
        return calls
    place = np.arange(len(calls.hour))
    return calls.part((place >= audited[0]) & (place <= audited[-1]))


def _reason(judged: _Judged, alpha: float, delta: float, level: float) -> str:
    """Why nothing can be advised; '' where something can."""
    calls, curve = judged.calls, judged.curve
    checked, accepted = ~np.isnan(calls.wrong), ~calls.escalated
    if not checked.any() or (accepted.any() and not (checked & accepted).any()):
        return say.nothing_known()
    if calls.unscored.all():
        return say.no_confidence(calls.tier)
    unexplained = (~calls.explained & ~calls.unscored).sum() / max((~calls.unscored).sum(), 1)
    if unexplained > MOST_UNEXPLAINED:
        return say.unexplained(calls, float(unexplained))
    needed = labels_needed(alpha, level)
    passes = judged.best >= 0 and curve.threshold[judged.best] < ALWAYS
    told = int(curve.labelled[judged.best] if passes else (checked & accepted).sum())
    if told < needed:
        # What is certified without them is a share of calls below alpha, wrong or not.
        return say.too_few(told, needed, alpha, delta)
    return "" if passes else say.none_passes(curve, alpha)


def _shown(judged: _Judged, chosen: float | None) -> list[float]:
    """Thresholds of the curve that are shown, highest first: equal steps of calls, and the chosen one."""
    cuts = judged.curve.threshold
    step = np.minimum((judged.curve.accepted * SHOWN).astype(int), SHOWN - 1)
    last = np.append(np.flatnonzero(np.diff(step)), len(step) - 1) if len(step) else np.array([], int)
    place = {int(one) for one in last} | {judged.best, judged.best + 1}
    kept = {float(cuts[one]) for one in place if 0 <= one < len(cuts) and cuts[one] < ALWAYS}
    return sorted(kept | ({chosen} if chosen is not None else set()), reverse=True)


def _point(judged: _Judged, threshold: float) -> ThresholdPoint:
    """What the threshold would have done; named by the shortest number that does the same."""
    calls, curve, levels = judged.calls, judged.curve, judged.levels
    accepted = calls.score >= threshold
    place = int((curve.threshold >= threshold).sum()) - 1
    lower, ways = levels[levels < threshold], calls.paths
    known = calls.wrong_means != "unknown"
    cost = np.where(accepted, ways.cost_accepted, ways.cost_escalated)
    seconds = np.where(accepted, ways.seconds_accepted, ways.seconds_escalated)
    p50, p95 = np.nanquantile(seconds, [0.5, 0.95]) if _mostly_known(seconds) else (None, None)
    return ThresholdPoint(
        threshold=plain(float(lower[-1]) if len(lower) else -1.0, threshold),
        escalation=float(1 - accepted.mean()),
        risk=None if not known else float(curve.estimate[place]) if place >= 0 else 0.0,
        risk_upper=None if not known else float(curve.upper[place]) if place >= 0 else 0.0,
        labelled=int(curve.labelled[place]) if place >= 0 else 0,
        cost=float(np.nanmean(cost)) if _mostly_known(cost) else None,
        latency_p50_s=None if p50 is None else float(p50),
        latency_p95_s=None if p95 is None else float(p95),
    )


def _mostly_known(values: Floats) -> bool:
    return len(values) > 0 and float(np.isnan(values).mean()) <= FEW


def _audit(judged: _Judged, alpha: float, level: float, selective: bool) -> AuditAdvice:
    """What to audit in as many calls as were looked at."""
    calls, curve = judged.calls, judged.curve
    least = audit_plan.least_rate(len(calls.hour), alpha, level)
    if selective:
        return AuditAdvice(calls.audit_rate, None, least, None, None)
    known = bool((~np.isnan(calls.wrong) & ~calls.escalated).any())
    shares = (curve.accepted, curve.estimate) if known else audit_plan.typical_curve(alpha)
    plan = audit_plan.audit_plan(len(calls.hour), alpha, level, *shares)
    buys = least <= 1 and plan.escalation[plan.best] < 1
    return AuditAdvice(
        rate_now=calls.audit_rate,
        rate=float(plan.rate[plan.best]) if buys else None,
        least=least,
        escalation=float(plan.escalation[plan.best]) if buys else None,
        strong_calls=float(plan.strong_calls[plan.best]) if buys else None,
    )
