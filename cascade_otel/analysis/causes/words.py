"""What a diagnosis says in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cascade_otel.analysis.causes.rollout import LONGEST_NAME, Move
from cascade_otel.analysis.causes.windows import Windows
from cascade_otel.records import CauseName, Effect, Stream, ToKnow

UNSURE: Mapping[CauseName, str] = {
    "model": "a model that answers worse or better",
    "confidence_scale": "another scale of its confidences",
    "hidden_inputs": "inputs that differ in a way no segment shows",
    "silent_decay": "answers that got worse at unchanged confidence",
}
WANTED: Mapping[ToKnow, str] = {
    "canaries": "replay canary prompts",
    "audits": "audit more accepted answers, with agree=",
    "segments": "record the kind of input as segment=",
    "time": "wait for another day",
}


@dataclass(frozen=True)
class Told:
    """What sentences are made of."""

    windows: Windows
    moves: tuple[Move, ...]
    shift: float
    """Of confidences within kinds of input, in standard deviations."""
    effects: tuple[Effect, Effect, Effect]


def note(
    stream: Stream,
    name: CauseName,
    named: tuple[CauseName, ...],
    unsure: tuple[CauseName, ...],
    to_know: tuple[ToKnow, ...],
    told: Told,
) -> str:
    """One sentence for each cause, what cannot be told apart, and what would tell it."""
    sentences = [_sentence(one, told) for one in named]
    if unsure:
        apart = " and ".join(UNSURE[one] for one in unsure)
        sentences.append(f"{_moved_within(told)}; cannot tell between {apart}.")
    if to_know:
        sentences.append(f"To know: {', '.join(WANTED[one] for one in to_know)}.")
    if not sentences:
        parts = zip(("inputs", "model", "threshold"), told.effects, strict=True)
        split = ", ".join(f"{part} {effect.points:+.1f}" for part, effect in parts)
        return f"No single cause is probable enough to be named ({split} points)."
    if stream == "confidence_shape" and name in ("model", "confidence_scale", "model_or_inputs"):
        sentences.append("τ no longer means what it did.")
    return " ".join(sentences)


def _sentence(name: CauseName, told: Told) -> str:
    canaries = ", also on the same canary prompts" if told.windows.canaries is not None else ""
    match name:
        case "inputs":
            return _grown(told.windows)
        case "threshold":
            return _tau(told.windows)
        case "model":
            return f"The cheap model changed: {_lower(_moved_within(told))}{canaries}, and answers with them."
        case "confidence_scale":
            return (
                f"The scale of confidences changed: {_lower(_moved_within(told))}{canaries}, "
                "but answers are as good as before."
            )
        case "hidden_inputs":
            but = ", but not on the same canary prompts" if told.windows.canaries is not None else ""
            return f"Inputs changed in a way no segment shows: {_lower(_moved_within(told))}{but}."
        case _:
            return (
                "Answers got worse while confidences stayed as they were: "
                "at the same confidence fewer of them are right."
            )


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _moved_within(told: Told) -> str:
    """Which way confidences went, and what was recorded at that time."""
    way = "fell" if told.shift < 0 else "rose"
    within = f"Confidences {way} within every kind of input"
    if told.moves:
        return f"{within} when {told.moves[0]}"
    return f"{within}, and no recorded model or version changed with them"


def _grown(windows: Windows) -> str:
    """Which kind of input grew most."""
    names, before, now = windows.kinds()
    most = int(np.argmax(now - before))
    name = names[most][:LONGEST_NAME]
    what = "Inputs of" if name.startswith("size ") else "Inputs of segment"
    return f"{what} {name} grew from {before[most]:.0%} to {now[most]:.0%} of calls."


def _tau(windows: Windows) -> str:
    """From which τ to which; where only a part of the calls has another, which part."""
    levels, before, now = windows.taus()
    new = int(np.argmax(now - before))
    part = "" if now[new] > 0.95 else f" for {now[new]:.0%} of calls"
    return f"τ was moved{part}: {windows.before.tau:.3g} → {levels[new]:.3g}."
