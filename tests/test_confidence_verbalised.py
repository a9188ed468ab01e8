"""What a text says of how sure it is; what can be read in two ways says nothing."""

from __future__ import annotations

import math
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_otel.confidence import verbalised

STATED = {
    "0.85": 0.85,
    "`0.4`": 0.4,
    "85%": 0.85,
    "(85 %)": 0.85,
    "85/100": 0.85,
    "8 out of 10": 0.8,
    "1.": 1.0,
    "Confidence: 85%": 0.85,
    "confidence=.75": 0.75,
    "Confidence - 85%": 0.85,
    "Confidence: 0": 0.0,
    "Confidence: 1": 1.0,
    "Confidence: 1.0.": 1.0,
    "Confidence: 100%": 1.0,
    "Confidence: 1e-3": 0.001,
    "Confidence: 0.5 percent": 0.005,
    "Confidence: 85 per cent": 0.85,
    "Confidence: 7 of 10.": 0.7,
    "Confidence: 85 (out of 100)": 0.85,
    "Confidence: 8/10 (80%)": 0.8,
    "Confidence: ~80%": 0.8,
    "Confidence: about 80%": 0.8,
    "Confidence: 0.85 because it is in the title": 0.85,
    "**Confidence:** 0.85": 0.85,
    "**Confidence**: 0.85": 0.85,
    "## Answer\nParis\n\n## Confidence:\n0.85": 0.85,
    "Answer: 42\nConfidence: 0.9\n- 3 apples": 0.9,
    "Confidence: 85%.\n2. Next": 0.85,
    "Confidence (0-100): 85": 0.85,
    "Confidence (1 to 10): 8": 0.8,
    "Confidence (1-5): 1": 0.2,
    "Confidence (0.0-1.0): 0.4": 0.4,
    "Confidence (out of 10): 8": 0.8,
    "Confidence (%): 85": 0.85,
    "Confidence (from 0 to 100%): 85": 0.85,
    "Confidence (a number between 0 and 1): 0.85": 0.85,
    "Confidence (final): 0.5": 0.5,
    "<answer>x</answer><confidence>85%</confidence>": 0.85,
    "<confidence>1</confidence>": 1.0,
    '{"confidence": 0.85}': 0.85,
    '{"confidence":1,"id":2}': 1.0,
    '{"answer": "x", "confidence": "85%"}': 0.85,
    '```json\n{\n  "confidence_score": 0.3,\n  "n": 7\n}\n```': 0.3,
    '"confidenceScore": 0.3': 0.3,
    r"{\"confidence\": 0.3}": 0.3,
    "The overall confidence level is 0.65, as the source is old": 0.65,
    "My confidence in this answer is 85%.": 0.85,
    "Confidence in answer: 85%": 0.85,
    "I say so with a confidence of 0.7": 0.7,
    "I am 85% confident.": 0.85,
    "I’m about 85 percent sure that it is Paris": 0.85,
    "Confidence: 85%. I am 85% sure.": 0.85,
}
AMBIGUOUS = [
    "",
    "Paris",
    "85",
    "Confidence: 85",
    "Confidence: 2023",
    "Confidence: high",
    "Confidence: unknown\nScore: 0.9",
    "Confidence: 60%\nFinal confidence: 85%",
    "Confidence: 60%. I am 85% sure.",
    "Confidence: 80-90%",
    "Confidence: 80% – 90%",
    "Confidence: 0.8 to 0.9",
    "Confidence: 0.8 or so",
    "Confidence: 0.8, 0.9",
    "Confidence: 0.8 0.9",
    "Confidence: [0.8, 0.9]",
    "Confidence: 0.8 ± 0.1",
    "Confidence: over 80%",
    "Confidence: >0.8",
    "Confidence > 0.8",
    "Confidence >= 0.8",
    "confidence == 0.8",
    "Confidence: 0.9+",
    "Confidence: 90% or higher",
    "Confidence: -0.5",
    "Confidence -0.5",
    "Confidence: 0,85",
    "Confidence: 0.85.1",
    "Confidence: 1e5",
    "Confidence: 110%",
    "Confidence: 11/10",
    "Confidence: 5/0",
    "Confidence: 85%/100%",
    "Confidence: 17/20/2024",
    "Confidence (v2): 0.5",
    "Confidence (1-5 or 0-9): 3",
    "Confidence:\n1. First, the title says so",
    "Confidence: 1. The title says so",
    "Confidence: 0 errors",
    "confidence is 1 of the key factors",
    "I answered with confidence\n3 apples",
    "95% confidence interval: 0.2",
    "low_confidence: 0.2",
    "</confidence> 0.5",
    "I am not 85% sure",
    "I am at least 85% sure",
    "I'm 80-90% sure",
    "Probability: 0.4",
    "٠.٨٥",
]


@pytest.mark.parametrize("text", STATED)
def test_what_is_stated_is_read(text: str) -> None:
    assert verbalised(text) == pytest.approx(STATED[text])


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_or_not_at_all_says_nothing(text: str) -> None:
    assert verbalised(text) is None


@pytest.mark.parametrize(
    ("text", "scale", "value"),
    [
        ("85", 100, 0.85),
        ("Confidence: 85", 100, 0.85),
        ("Confidence: 8.5", 10, 0.85),
        ("Confidence: 1", 100, 0.01),
        ("Confidence: 0", 100, 0.0),
        ("Confidence: 85%", 10, 0.85),
        ("Confidence: 8/10", 100, 0.8),
        ("Confidence (0-10): 8", 100, 0.8),
        ("Confidence: 101", 100, None),
        ("Confidence: 0.85", 100, None),
        ("Confidence: 1.0", 100, None),
    ],
)
def test_a_declared_scale_is_for_bare_numbers(text: str, scale: float, value: float | None) -> None:
    """On a scale above 1, a fraction may be a share of it or of 1: it is not read."""
    assert verbalised(text, scale=scale) == value


def test_words_are_worth_what_the_caller_says() -> None:
    words = {"High": 0.9, "medium": 0.5, "low": 0.1, "very low": 0.02}
    assert verbalised("Confidence: high", words=words) == 0.9
    assert verbalised('{"confidence": "Very low"}', words=words) == 0.02
    assert verbalised("Medium.", words=words) == 0.5
    assert verbalised("Confidence: almost certain", words={"almost": 0.6, "almost certain": 0.95}) == 0.95
    assert verbalised("Confidence: 0.7", words=words) == 0.7
    for unclear in (
        "Confidence: low to medium",
        "Confidence: very high",
        "Confidence: highest",
        "a high wall",
    ):
        assert verbalised(unclear, words=words) is None
    assert verbalised("Confidence: high. Confidence: low.", words=words) is None


def test_another_label() -> None:
    assert verbalised("Guess: Paris\nProbability: 0.4", label="probability") == 0.4
    assert verbalised("P(True): 0.4", label="p(true)") == 0.4


PLACES = st.sampled_from(
    ["{}", "Confidence: {}", "Paris.\nconfidence = {}\n", '{{"confidence": "{}", "n": 3}}']
)


@given(st.integers(0, 1000), PLACES)
def test_every_way_of_writing_a_share_is_read_alike(thousandths: int, place: str) -> None:
    share = thousandths / 1000
    for written in (
        f"{share:.3f}",
        f"{thousandths / 10:.1f}%",
        f"{thousandths / 10:.1f} percent",
        f"{thousandths}/1000",
        f"{thousandths} out of 1000",
    ):
        assert verbalised(place.format(written)) == pytest.approx(share)
    assert verbalised(place.format(f"{thousandths}"), scale=1000) == pytest.approx(share)


@given(st.integers(0, 1000), st.integers(-1, 1))
def test_two_statements_are_read_only_where_they_agree(thousandths: int, apart: int) -> None:
    other = min(max(thousandths + apart, 0), 1000)
    value = verbalised(f"Confidence: {thousandths / 10}%\nOn reflection, confidence: {other / 1000:.3f}")
    assert value == (pytest.approx(thousandths / 1000) if thousandths == other else None)


@given(
    st.one_of(
        st.text(),
        st.lists(
            st.sampled_from(
                [
                    *"0123456789.%/-–,:=()[]{}<>\"'*\n ",
                    "confidence",
                    "is",
                    "I am ",
                    "sure",
                    "out of",
                    "e-",
                    "to",
                ]
            )
        ).map("".join),
    ),
    st.sampled_from([1, 10, 100]),
)
def test_any_text_gives_none_or_a_probability(text: str, scale: int) -> None:
    for said in (text, "Confidence: " + text):
        value = verbalised(said, scale=scale, words={"high": 0.9})
        assert value is None or 0.0 <= value <= 1.0


@pytest.mark.parametrize(
    "part",
    ["confidence ", "confidence in a ", "confidence(", "I am ", "9", " ", "0.5 ", "**", "confidence: 0 "],
)
def test_a_million_characters_take_no_time(part: str) -> None:
    text = "Confidence: " + part * (1_000_000 // len(part)) + "x"
    start = process_time()
    assert verbalised(text) is None
    assert process_time() - start < 5


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"scale": 0.5}, ValueError, "scale of at least 1"),
        ({"scale": math.nan}, ValueError, "a scale"),
        ({"scale": "100"}, TypeError, "a scale"),
        ({"words": {"high": 90}}, ValueError, "value of 'high' between 0 and 1"),
        ({"words": {"high": "x"}}, TypeError, "value of 'high'"),
    ],
)
def test_impossible_settings_are_refused(arguments: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        verbalised("Confidence: 0.5", **arguments)


@pytest.mark.parametrize("wrong", [0.85, b"0.85", object(), {"confidence": 0.85}, ["0.85"]])
def test_what_holds_no_text_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="arrived where a text is wanted"):
        verbalised(wrong)
