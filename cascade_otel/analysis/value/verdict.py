"""Does it pay? Money, what is given up for it, and whether the confidence is what makes the difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cascade_otel.analysis.value.labels import FEWEST_ACCEPTED, MARGIN, Quality
from cascade_otel.analysis.value.savings import Spending

USELESS = 0.6
"""A confidence whose AUROC is surely below this is as good as none."""
WORTH = 0.05
"""What another τ must save to be worth a move."""
CHEAPER = 0.5
"""Where no costs are recorded a cheap call is taken to cost at most this share of a strong one."""
ASK = "call feedback(trace_id, tier, correct), also for a random share of accepted calls"
AUDIT = "audit a random share of accepted calls and label both answers"
Answer = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """Whether a task's cascade pays, and why."""

    pays: Answer
    reason: str
    as_it_runs: bool | None = None
    """Does it pay with the present τ? None: cannot tell. Where it does not, ``pays`` is yes if another τ
    would, and unknown if one may."""


@dataclass(frozen=True)
class _Half:
    """One half of the question: True, False, or None for cannot tell; with what there is to say."""

    holds: bool | None
    text: str


def verdict(
    calls: int, rate: tuple[float, float, float] | None, money: Spending, quality: Quality
) -> Verdict:
    """*yes* and *no* only where the 90 % intervals agree that it is so.

    A cascade pays where it surely costs less than its strongest tier alone and surely gives up at most
    ``MARGIN`` of right answers for it, with the present τ or with another. It does not where either is surely
    wrong with every τ, nor where the confidence is surely no better than a coin while something is given up.

    Args:
        calls: decided calls.
        rate: escalation rate with its interval; None: not known.
        money: of ``savings.spending``.
        quality: of ``labels.quality``.
    """
    if not calls or rate is None:
        return Verdict("unknown", "no decided calls yet")
    saves, keeps = _saves(rate, money), _keeps(quality)
    if saves.holds is False or keeps.holds is False:
        reason = "; ".join(half.text for half in (saves, keeps) if half.holds is False)
        if other := _another_threshold(rate[0], money, quality):
            return Verdict("yes", f"not as it runs, but with another τ: {reason}; {other}", False)
        if _another_may(money, quality):
            few = f"{quality.pairs:,} calls with both answers labelled do not tell whether another τ would do"
            return Verdict("unknown", f"not as it runs: {reason}; {few}", False)
        return Verdict("no", reason, False)
    if saves.holds and keeps.holds:
        return Verdict("yes", f"{saves.text}; {keeps.text}", True)
    unsure = "; ".join(half.text for half in (saves, keeps) if half.holds is None)
    if other := _another_threshold(rate[0], money, quality):
        return Verdict("yes", f"open as it runs, but surely with another τ: {other}; {unsure}")
    settled = "".join(f"; {half.text}" for half in (saves, keeps) if half.holds)
    return Verdict("unknown", unsure + settled)


def _saves(rate: tuple[float, float, float], money: Spending) -> _Half:
    ends = ""
    if money.break_even is not None:
        ends = f"; it breaks even at {money.break_even:.0%} escalated, now {rate[0]:.0%}"
    if money.reason:
        return _Half(None, f"savings are unknown: {money.reason}; one that is free says cost=0")
    if money.savings is None and money.cost is None:
        most = 1 - rate[2]
        condition = f"it saves if a call of the first tier costs less than {most:.0%} of one of the strongest"
        if most >= CHEAPER:
            return _Half(True, f"no costs are recorded; {condition}")
        return _Half(None, f"costs are unknown, and {condition}")
    if money.savings is None:
        return _Half(None, "savings are unknown: no strong call has a price; audit accepted calls")
    if money.low is None or money.high is None:
        return _Half(
            None, f"it saves {money.savings:.0%}, but calls of so short a time do not tell how surely{ends}"
        )
    sure = f" ({money.low:.0%} to {money.high:.0%})"
    if money.high <= 0:
        more = f"{-money.savings:.0%} more than" if money.savings <= -0.005 else "as much as"
        sure = f" ({-money.high:.0%} to {-money.low:.0%})" if money.savings <= -0.005 else ""
        return _Half(False, f"it costs {more} the strong tier alone{sure}{ends}")
    if money.low <= 0:
        return _Half(None, f"whether it saves is open: {money.savings:.0%}{sure} against strong-only{ends}")
    return _Half(True, f"it saves {money.savings:.0%}{sure} against the strong tier alone{ends}")


def _keeps(quality: Quality) -> _Half:
    """Does it keep the strong tier's quality, and by the confidence?"""
    auroc = ""
    if quality.auroc is not None:
        auroc = f"AUROC {quality.auroc:.2f} ({quality.low:.2f} to {quality.high:.2f})"
    if quality.enough and quality.high <= 0.5:
        return _Half(
            False,
            f"the confidence points the wrong way: {auroc}; first of all see whether reviewers agree: "
            "labels that are mixed up do this",
        )
    holds, lost = _loss(quality)
    if quality.enough and quality.high < USELESS and holds is not True:
        coin = f"the confidence does not tell right from wrong, a coin would do: {auroc}"
        return _Half(False, f"{lost}; {coin}" if holds is False else coin)
    if holds is True and quality.enough and quality.low <= 0.5:
        coin = (
            "no thanks to the confidence, which may be no better than a coin, so the first tier alone may do"
        )
        return _Half(True, f"{lost}, {coin}: {auroc}")
    if lost:
        return _Half(holds, f"{lost}; {auroc}" if auroc else lost)
    return _Half(None, _to_label(quality, auroc))


def _loss(quality: Quality) -> tuple[bool | None, str]:
    """Is at most ``MARGIN`` given up, and in words; no words where nothing is known."""
    loss = quality.loss
    if loss is None:
        return None, ""
    points = f"({100 * loss.low:.1f} to {100 * loss.high:.1f})"
    if quality.basis == "agreement":
        most = f"it gives up at most {100 * loss.high:.1f} points of right answers, as far as audits agree"
        if loss.high <= MARGIN:
            return True, most
        return None, f"{most}: label answers where they differ, to know which tier is right"
    if loss.low > MARGIN:
        return False, f"it gives up {100 * loss.share:.1f} points of right answers {points}"
    if loss.high <= MARGIN:
        if loss.share < 0:
            won = f"({-100 * loss.high:.1f} to {-100 * loss.low:.1f})"
            return True, f"it wins {-100 * loss.share:.1f} points of right answers {won}"
        return True, f"it gives up {100 * loss.share:.1f} points of right answers {points}"
    few = f"{quality.accepted:,} accepted calls with both answers labelled do not tell"
    return None, (
        f"{few} whether it keeps the strong tier's quality: {100 * loss.share:.1f} points given up {points}, "
        f"{100 * MARGIN:.0f} are wanted at most{_how_many(quality)}"
    )


def _how_many(quality: Quality) -> str:
    """About how many accepted calls it takes, were the share given up what it seems to be."""
    loss = quality.loss
    if loss is None or abs(MARGIN - loss.share) < MARGIN / 10:
        return ""
    half = (loss.high - loss.low) / 2
    wanted = quality.accepted * (half / (MARGIN - loss.share)) ** 2
    size = max(float(f"{wanted:.1g}"), quality.accepted + FEWEST_ACCEPTED)
    return f"; about {size:,.0f} would"


def _to_label(quality: Quality, auroc: str) -> str:
    if not quality.labelled:
        return f"no labels tell whether the confidence separates right from wrong; {ASK}"
    if not quality.enough:
        few = f"{quality.labelled:,} labelled calls do not tell"
        return f"{few} whether the confidence separates right from wrong; {ASK}"
    if quality.low <= 0.5:
        return f"too few labels to tell whether the confidence beats a coin: {auroc}; {ASK}"
    return f"the confidence separates right from wrong ({auroc}), but what is given up is unknown; {AUDIT}"


def _another_threshold(rate: float, money: Spending, quality: Quality) -> str:
    """What another τ would do, where one would surely keep the quality and save; else nothing."""
    if quality.within is None or not _tells(money, quality) or quality.low <= 0.5:
        return ""
    threshold, escalated = quality.within
    saved = _free(money) - escalated
    if saved < WORTH or abs(escalated - rate) < 0.01:
        return ""
    would = f"τ {threshold:.4g} would escalate {escalated:.0%} and give up at most {100 * MARGIN:.0f} points"
    return would + (f", and save {saved:.0%}" if money.break_even is not None else "")


def _another_may(money: Spending, quality: Quality) -> bool:
    """May some τ keep the quality and save, as far as labels tell?"""
    return quality.within is not None and _tells(money, quality) and _free(money) - quality.least >= WORTH


def _tells(money: Spending, quality: Quality) -> bool:
    """Can anything be said about other thresholds: of their quality, and of what they save?"""
    priced = money.break_even is not None or money.cost is None
    return quality.enough and quality.high >= USELESS and priced and not money.reason


def _free(money: Spending) -> float:
    """Share of calls that may escalate before nothing is saved."""
    return money.break_even if money.break_even is not None else 1 - CHEAPER
