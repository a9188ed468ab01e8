"""Votes: how many samples, or how many models, agree."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

A = TypeVar("A")


@dataclass(frozen=True)
class Vote(Generic[A]):
    """The outcome of a vote."""

    answer: A | None
    """The most frequent answer, as it was first given; None where nobody answered."""
    confidence: float | None
    """Share of all votes that went to it, in [0, 1]; None without any vote."""
    count: int
    """Votes for it."""
    total: int
    """All votes, also those for nothing."""
    tied: bool
    """Another answer has as many votes; the one that appeared first is taken."""


def votes(answers: Iterable[A | None], key: Callable[[A], Hashable] | None = None) -> Vote[A]:
    """The most frequent answer, and the share of votes for it: count(answer) / n.

    Self-consistency over samples of one model (Wang et al., 2023), also mixed from several ways of
    thinking (Yue et al., "LLM Cascades with Mixture of Thoughts Representations", 2024); over answers of
    different models, the agreement of an ensemble.

    ``key`` says which answers are the same, as in ``sorted``: ``str.casefold``, or the number in a text.
    An answer of None, and one whose key is None, is a vote for nothing: it counts in n alone. The
    confidence is in [0, 1], 0 where every vote is for nothing; without any vote it is None, as the answer.

    Raises TypeError for answers that cannot be hashed (give a ``key``) and for a str or a mapping,
    ValueError for NaN, which is not even the same as itself.
    """
    if isinstance(answers, (str, bytes, Mapping)):
        raise TypeError(
            f"a {type(answers).__name__} arrived where several answers are wanted: a list of them"
        )
    votes_for: dict[Hashable, list[A]] = {}
    total = 0
    for answer in answers:
        total += 1
        if answer is not None:
            same = _countable(answer if key is None else key(answer))
            if same is not None:
                votes_for.setdefault(same, []).append(answer)
    if not votes_for:
        return Vote(None, 0.0 if total else None, 0, total, tied=False)
    most = max(map(len, votes_for.values()))
    leading = [group for group in votes_for.values() if len(group) == most]  # in order of appearance
    return Vote(leading[0][0], most / total, most, total, tied=len(leading) > 1)


def _countable(same: Any) -> Hashable:
    try:
        hash(same)
    except TypeError:
        raise TypeError(
            f"a {type(same).__name__} arrived, which cannot be counted; say what makes two answers the same: "
            "votes(answers, key=lambda answer: answer.label)"
        ) from None
    if same != same:
        raise ValueError("NaN arrived as an answer; give None for no answer")
    return cast(Hashable, same)
