"""The sentences of a threshold advice: why none is given, what thresholds nearby do, what is assumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cascade_otel.analysis.threshold.calls import Calls, behaves_like
from cascade_otel.records import ThresholdPoint
from cascade_otel.statistics.risk.risk_control import RiskCurve

Floats = NDArray[np.float64]

BIG = 0.1
"""A confidence that so many calls share is named."""
FEW, WORTH_SAYING = 0.01, 0.05
"""Smaller shares are passed over."""
MOST_NAMED = 3


def no_calls(task: str, tasks: Sequence[str], days: int) -> str:
    """The store has no decided calls of the task."""
    known = ", ".join(sorted(tasks)[:12]) or "none"
    return (
        f"{task!r} has no decided calls in the last {days} days; wanted: a task of this store; "
        f"type one of: {known}"
    )


def nothing_known() -> str:
    """Nobody has checked accepted answers."""
    return (
        "no accepted answer was checked, so nobody knows how many are wrong. Switch on audits, "
        "@cascade(..., agree=same, audit=Audit(RATE, strong)), or label a random share of accepted answers, "
        "feedback(trace_id, tier, correct)"
    )


def no_confidence(tier: str) -> str:
    """Nothing to set a threshold on."""
    return (
        f"tier {tier} records no confidence, or none that a threshold is known for: @tier(..., confidence=)"
    )


def unexplained(calls: Calls, share: float) -> str:
    """Something else than τ decides."""
    scored = ~calls.unscored
    like = behaves_like(calls.confidence[scored], calls.escalated[scored])
    now = calls.threshold_now
    told = f"τ {now:g}" if now is not None else "τ"
    hint = "" if like is None or like == now else f" (the closest single threshold would be {like:g})"
    return (
        f"{share:.0%} of the decisions contradict confidence < {told}{hint}: something else decides, "
        "so another τ would not do what is computed here"
    )


def too_few(labelled: int, needed: int, alpha: float, delta: float) -> str:
    """Even right answers throughout would not certify anything."""
    return (
        f"{labelled:,} accepted answers were checked; below {needed:,} nothing can be certified "
        f"at alpha {alpha:g} with {1 - delta:.0%} confidence, even if all were right"
    )


def none_passes(curve: RiskCurve, alpha: float) -> str:
    """The best threshold already lets through too much."""
    finite = np.flatnonzero(np.isfinite(curve.threshold))
    if not len(finite):
        return "no decision follows a confidence, so no threshold would change one"
    best = int(finite[np.argmin(curve.upper[finite])])
    return (
        f"even confidence {curve.threshold[best]:.4g} and above ({curve.accepted[best]:.0%} of calls) has "
        f"{curve.estimate[best]:.1%}, possibly {curve.upper[best]:.1%}, wrong answers accepted: "
        f"more than {alpha:.1%}"
    )


def remarks(
    calls: Calls, judged: Calls, levels: Floats, now: ThresholdPoint | None, advised: ThresholdPoint | None
) -> Iterator[str]:
    """What to know beside the numbers.

    Args:
        calls: of the window.
        judged: those of them on which the bound rests.
        levels: their distinct confidences, ascending.
        now: at the threshold in force.
        advised: at the advised one.
    """
    if now is not None:
        yield from _interval("τ now", now.threshold, levels)
    if advised is not None and (now is None or advised.escalation != now.escalation):
        yield from _interval("the advised τ", advised.threshold, levels)
    yield from _atoms(judged, levels)
    unscored, contrary = calls.unscored.mean(), (~calls.explained & ~calls.unscored).mean()
    if unscored > FEW:
        yield f"{unscored:.0%} of calls have no confidence; no threshold decides over them"
    if contrary > FEW:
        yield (
            f"{contrary:.0%} of calls were not decided by confidence < τ (another rule, an error); "
            "they are taken to be decided the same way at every τ"
        )
    cut = 1 - len(judged.hour) / len(calls.hour)
    if cut > WORTH_SAYING:
        yield f"{cut:.0%} of calls lie before the first or after the last audit and are left out"
    used = np.unique(calls.threshold[~np.isnan(calls.threshold)])
    if len(used) > 1:
        yield (
            f"τ was not the same throughout ({used[0]:g} to {used[-1]:g}); "
            "each call counts with the τ it was decided by"
        )
    yield from _assumed(judged)


def _interval(name: str, threshold: float, levels: Floats) -> Iterator[str]:
    """Which other thresholds do the same, where that is worth knowing."""
    below, above = levels[levels < threshold], levels[levels >= threshold]
    if len(below) and len(above) and above[0] - below[-1] >= 0.02 - 1e-9:
        yield f"any τ above {below[-1]:.4g} and up to {above[0]:.4g} does the same as {name}, {threshold:.4g}"


def _atoms(calls: Calls, levels: Floats) -> Iterator[str]:
    """Confidences that many calls share: a threshold past one moves them all."""
    score = calls.score
    _, times = np.unique(score[np.isfinite(score)], return_counts=True)
    share = times / len(score)
    for place in sorted(np.argsort(-share)[:MOST_NAMED]):
        if share[place] >= BIG and place + 1 < len(levels):
            yield (
                f"{share[place]:.0%} of the traffic has confidence {levels[place]:.4g}: "
                f"τ from {levels[place]:.4g} to {levels[place + 1]:.4g} moves all of it"
            )


def _assumed(calls: Calls) -> Iterator[str]:
    if calls.wrong_means == "disagrees":
        yield "wrong means that the strong tier's answer disagrees; it may itself be wrong"
        known = ~np.isnan(calls.wrong[calls.escalated])
        if len(known) and known.mean() < 1 - WORTH_SAYING:
            yield f"of {1 - known.mean():.0%} of escalated calls it is not known whether the answers agree"
    if calls.wrong_means == "labelled wrong":
        yield "labels are taken for a random share of the accepted, and of the escalated, calls"
