"""Verbalised confidence: what a model's text says of how sure it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from cascade_otel.confidence._numbers import finite, probability
from cascade_otel.confidence._results import answer_text

_NUMBER = r"(?P<number>(?:[0-9]{1,4}(?:\.[0-9]{1,20})?|\.[0-9]{1,20})(?:[eE]-[0-9]{1,3})?)"
_PERCENT = r"(?:%|percent\b|per\scent\b)"
_BASE = r"(?:/|\(?(?:out[ \t]{1,2})?of\b)[ \t]{0,2}(?P<base>[0-9]{1,4})"
_MARKS = r"""["'*_`\\]"""
_ABOUT = r"(?:(?:about|around|approximately|roughly|~|≈)\s{0,2})?"
_OPENING = re.compile(rf"(?:\s|{_MARKS}|[\[({{]){{0,8}}{_ABOUT}", re.I)
_VALUE = re.compile(
    rf"{_NUMBER}(?:[ \t]{{0,2}}(?:(?P<percent>{_PERCENT})|{_BASE}))?"
    r"(?![\w%/]|[.,:;]?[ \t]{0,2}[0-9])"  # no figure of it is left behind
    r"(?![ \t]{0,2}(?:[-–—~±/]|(?:to|and|through|of|out)\b)[ \t]{0,2}[.0-9])"  # and it is no range
    r"(?![ \t]{0,2}(?:\+|or\b))",  # nor a bound
    re.I,
)
# after a bare whole number: "1. First" and "0 of the apples" say something else
_WHOLE_ENDS = re.compile(
    rf"[ \t]{{0,2}}(?:\(|[.)]?{_MARKS}{{0,4}}[.)]?[ \t]{{0,2}}(?:$|\n)|{_MARKS}|[\]}}<,;|])"
)
_FIRST_PERSON = re.compile(
    rf"\bI(?:\sam|['’]m|\sfeel)\s{_ABOUT}(?={_NUMBER}\s?{_PERCENT}\s(?:confident|certain|sure)\b)", re.I
)
_SCALE = re.compile(
    r"[^0-9]*(?:%|(?:[01](?:\.0)?\s?(?:-|–|to|and)\s?|out\sof\s)(?P<top>[0-9]{1,4})(?:\.0)?\s?%?)", re.I
)


def verbalised(
    source: Any, *, label: str = "confidence", scale: float = 1.0, words: Mapping[str, float] | None = None
) -> float | None:
    """The confidence that a text states.

    Asked for by Lin et al. ("Teaching Models to Express Their Uncertainty in Words", 2022) and Tian et al.
    ("Just Ask for Calibration", 2023).

    Read are a number after the label ("Confidence: 85%", ``{"confidence": 0.85}``, "confidence is 8 out of
    10", "Confidence (0-100): 85", ``<confidence>0.85</confidence>``), "I am 85% sure", and a text that is a
    number and nothing else. x per cent is x / 100, x of n is x / n, a bare number is x / ``scale``.

    ``source``: a text, or a result that holds one. ``label``: the word asked for, such as "probability" in
    the prompts of Tian et al. ``scale``: the highest number asked for, 1, 10 or 100. ``words``: what
    "high" or "unlikely" after the label are worth; no word has a value of its own.

    Range: [0, 1]; None for an empty text and for one that can be read in two ways: no value, two different
    ones, a range ("80-90%") or a bound ("over 80%"), a number beyond its scale (85 without a per cent sign
    where ``scale`` is 1), or a fraction on a larger scale (0.85 of 100). Raises TypeError for a result of no
    known shape, ValueError for a scale below 1 and for a word's value outside [0, 1].
    """
    top = finite(scale, "a scale (the highest number asked for: 1, 10 or 100)")
    if top < 1.0:
        raise ValueError(f"{top:g} arrived where a scale of at least 1 is wanted")
    worth = {
        word.casefold(): probability(value, f"a value of {word!r}") for word, value in (words or {}).items()
    }
    text = answer_text(source)
    if not text:
        return None
    stated = set(_stated(text, label, top, worth))
    return stated.pop() if len(stated) == 1 else None


def _stated(text: str, label: str, scale: float, worth: Mapping[str, float]) -> Iterator[float | None]:
    """Every statement of a confidence in the text; None for one that cannot be read."""
    only_word = worth.get(text.strip(" \t\r\n.\"'*_`").casefold())
    if only_word is not None:
        yield only_word
    alone = _VALUE.match(text, _opened(text, 0))
    if alone and not re.search(r"[^\s.\"'*_`\\\])}]", text[alone.end() :]):
        yield _number(alone, text, scale)
        return
    for labelled in _label(label).finditer(text):
        at = _opened(text, labelled.end())
        if re.match(r"\.?[0-9]", text[at : at + 2]):
            value = _VALUE.match(text, at)
            asked = _asked(labelled["scale"], scale)
            yield _number(value, text, asked) if value and asked else None
        elif worth:
            yield from _word(text, at, worth)
    for spoken in _FIRST_PERSON.finditer(text):
        value = _VALUE.match(text, spoken.end())
        yield _number(value, text, scale) if value else None


def _asked(said: str | None, scale: float) -> float | None:
    """The scale that brackets after the label say, "(0-100)" or "(%)"; None for one that cannot be read."""
    if said is None or not re.search("[0-9%]", said):
        return scale
    found = _SCALE.fullmatch(said.strip())
    return None if found is None else float(found["top"] or 100)


def _opened(text: str, at: int) -> int:
    """Where the value begins, past spaces, quotes and "about"."""
    opening = _OPENING.match(text, at)
    return opening.end() if opening else at


def _number(value: re.Match[str], text: str, scale: float) -> float | None:
    number = float(value["number"])
    if value["percent"]:
        top = 100.0
    elif value["base"]:
        top = float(value["base"])
    else:
        top = scale
        if value["number"].isdigit():
            if not _WHOLE_ENDS.match(text, value.end()):
                return None
        elif top > 1.0 and number <= 1.0:
            return None  # a share of 1, or of the scale?
    return round(number / top, 12) if number <= top and top > 0.0 else None  # 8.3% and 0.083 are the same


def _word(text: str, at: int, worth: Mapping[str, float]) -> Iterator[float | None]:
    following = text[at : at + 80].casefold()
    for word in sorted(worth, key=len, reverse=True):
        rest = following[len(word) :]
        if following.startswith(word) and not re.match(r"\w", rest):
            is_range = re.match(r"\s{0,2}(?:[-–—/]|(?:to|or|and)\b)\s{0,2}\w", rest)
            yield None if is_range else worth[word]
            return


@lru_cache(maxsize=64)
def _label(label: str) -> re.Pattern[str]:
    """The label and what leads from it to a value: a colon, "is", the end of a tag."""
    name = rf"{re.escape(label)}(?:[\s_-]?(?:score|level|value|rating|estimate))?"
    around = rf"(?:{_MARKS}|\s){{0,4}}"
    about = r"(?:\s(?:in|about|that)\s[^.:=<>\n]{1,80}?)?"
    leads = r"(?:[:=]|\bis\b|\bof\b|\s[-–—]\s)"
    return re.compile(
        rf"(?<![\w-])(?:(?<=<){name}>|{name}{around}(?:\((?P<scale>[^()\n]{{1,40}})\){around})?{about}{leads})",
        re.I,
    )
