"""A threshold advice, and days replayed under another threshold, as plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from cascade_otel.presentation import words
from cascade_otel.records import ThresholdAdvice, ThresholdDay, ThresholdPoint

WIDTH = 100
CURVE = (12, 9, 10, 9, 10, 9, 9)
DAYS = (12, 8, 9, 9, 8, 7, 7, 9, 11, 11)


def lines(advice: ThresholdAdvice) -> list[str]:
    """What is advised, the table it rests on, what to know beside it, and the lines to copy."""
    found = [*_head(advice), "", *_verdict(advice), "", *_curve(advice), "", *_audits(advice)]
    found += [line for remark in advice.remarks for line in _wrapped(f"{remark}.", "- ", "  ")]
    if advice.setting is not None:
        found += ["", "In cascade.toml (or in the program, @tier(..., threshold=…)):", ""]
        found += [f"    {line}" for line in advice.setting.splitlines()]
    return found


def day_lines(days: Sequence[ThresholdDay], threshold: float, currency: str) -> list[str]:
    """Each day as it was, and as it would have been under ``threshold``."""
    titles = ("day", "calls", "escalated", "then", "differ", "wrong", "then", "unknown", "cost", "then")
    found = [f"Each day as it was, and with τ = {threshold:g}:", "", _row(titles, DAYS)]
    for day in days:
        values = (
            words.hour(day.start_hour).rsplit(" ", 2)[0],
            words.count(day.calls),
            words.share(day.escalated / day.calls),
            words.share(day.escalated_then / day.calls),
            words.count(day.differ),
            words.count(day.wrong),
            words.count(day.wrong_then),
            words.count(day.unknown_then),
            words.money(day.cost, currency),
            words.money(day.cost_then, currency),
        )
        found.append(_row(values, DAYS))
    unknown, calls = sum(day.unknown_then for day in days), sum(day.calls for day in days)
    what = (
        "wrong: accepted answers known to be wrong. unknown: answers accepted then that nobody has checked, "
        f"{words.share(unknown / max(calls, 1))} of all calls; how many of those are wrong this table cannot "
        "say, the bound above does. Costs of paths not taken are estimated."
    )
    return [*found, "", *_wrapped(what)]


def _head(advice: ThresholdAdvice) -> Iterator[str]:
    means = {
        "disagrees": "checked (wrong: the strong tier disagrees)",
        "labelled wrong": "labelled (wrong: a label says so)",
        "unknown": "checked",
    }[advice.wrong_means]
    stretch = f"{words.hour(advice.start_hour)} to {words.hour(advice.end_hour)}"
    name = f"{words.name(advice.task)}, tier {words.name(advice.tier)}"
    yield f"{name}: {words.count(advice.calls)} calls, {stretch}"
    yield f"{words.count(advice.labelled)} of them {means}"


def _verdict(advice: ThresholdAdvice) -> list[str]:
    share = words.share(advice.alpha)
    limit = f"{share} of accepted calls are" if advice.selective else f"{share} of all calls are accepted and"
    sure = f"{1 - advice.delta:.0%}"
    if advice.advised is None:
        return _wrapped(f"No τ can be advised: {advice.reason}.")
    best, now = advice.advised, advice.now
    text = f"τ = {best.threshold:g} escalates {words.share(best.escalation)}"
    if now is not None and now.escalation == best.escalation:
        text = f"τ = {now.threshold:g} is right where it is: it escalates {words.share(now.escalation)}"
    elif now is not None:
        text += f" instead of {words.share(now.escalation)} at τ = {now.threshold:g} now"
        if best.cost is not None and now.cost is not None:
            change = best.cost - now.cost
            text += f", and costs {words.money(abs(change), advice.currency)} a call "
            text += "more" if change > 0 else "less"
    text += f". With {sure} confidence at most {limit} wrong"
    if now is not None and now.risk_upper is not None and now.risk_upper > advice.alpha:
        text += f"; τ now cannot promise that: estimated {words.share(now.risk)}, "
        text += f"at most {words.share(now.risk_upper)}"
    return _wrapped(f"{text}.")


def _curve(advice: ThresholdAdvice) -> Iterator[str]:
    bound = f"{1 - advice.delta:.0%} sure"
    yield _row(("τ", "escalated", "wrong", bound, "cost/call", "p50", "p95"), CURVE)
    present, best = advice.now, advice.advised
    points: list[ThresholdPoint] = list(advice.curve)
    if present is not None and all(point.threshold != present.threshold for point in points):
        points = sorted([*points, present], key=lambda point: -point.threshold)
    for point in points:
        marks = [
            name
            for name, one in (("now", present), ("advised", best))
            if one is not None and one.threshold == point.threshold
        ]
        values = (
            f"{point.threshold:g}",
            words.share(point.escalation),
            words.share(point.risk),
            words.share(point.risk_upper),
            words.money(point.cost, advice.currency),
            words.seconds(point.latency_p50_s),
            words.seconds(point.latency_p95_s),
        )
        yield _row(values, CURVE) + (f"  <- {', '.join(marks)}" if marks else "")


def _audits(advice: ThresholdAdvice) -> list[str]:
    audit = advice.audit
    now = "none are audited now" if audit.rate_now is None else f"now {words.share(audit.rate_now)}"
    if audit.rate is None or audit.escalation is None or audit.strong_calls is None:
        if audit.least > 1:
            return _wrapped(
                f"{words.count(advice.calls)} calls certify nothing, however many are audited: "
                "look at more days, or accept a larger alpha.",
                "- ",
                "  ",
            )
        return []
    assumed = ", if half of the calls could be accepted," if advice.wrong_means == "unknown" else ""
    strong = f"{100 * audit.strong_calls:.1f} strong calls per 100 with audits"
    text = (
        f"Audit {words.share(audit.rate)} of accepted answers ({now}): in as many calls again that is "
        f"expected{assumed} to certify {words.share(audit.escalation)} escalated, {strong}. "
        f"Below {words.share(audit.least)} nothing can be certified."
    )
    return _wrapped(text, "- ", "  ")


def _wrapped(text: str, first: str = "", others: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _row(values: Iterable[str], widths: Sequence[int]) -> str:
    first, *others = zip(values, widths, strict=True)
    return " ".join([f"{first[0]:<{first[1]}}", *(f"{value:>{width}}" for value, width in others)])
