"""Results in the shapes of the field, as objects and as dicts: all hold the same three tokens."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_otel import confidence

POSITIONS = [
    ("\n", -0.01, {"\n": -0.01, " ": -5.0}),
    ("Yes", -0.4, {"Yes": -0.4, "No": -1.2}),
    (" 85%", -0.8, {" 85%": -0.8, " 90%": -0.9}),
]
TEXT = "Confidence: 85%"
ENTRIES = [
    {"token": text, "logprob": p, "top_logprobs": [{"token": t, "logprob": q} for t, q in others.items()]}
    for text, p, others in POSITIONS
]


def gemini(**names: str) -> dict[str, Any]:
    p, chosen, top, kept = names["p"], names["chosen"], names["top"], names["kept"]
    result = {
        chosen: [{"token": text, p: value} for text, value, _ in POSITIONS],
        top: [{"candidates": [{"token": t, p: q} for t, q in others.items()]} for _, _, others in POSITIONS],
    }
    parts = [{"text": "I wonder. Confidence: 10%", "thought": True}, {"text": TEXT}]
    return {"candidates": [{"content": {"parts": parts}, kept: result}]}


GEMINI = gemini(p="log_probability", chosen="chosen_candidates", top="top_candidates", kept="logprobs_result")
CAMEL = gemini(p="logProbability", chosen="chosenCandidates", top="topCandidates", kept="logprobsResult")
GEMINI_LOGPROBS = GEMINI["candidates"][0]["logprobs_result"]
RESULTS: dict[str, dict[str, Any]] = {
    "openai chat": {"choices": [{"message": {"content": TEXT}, "logprobs": {"content": ENTRIES}}, {}]},
    "openai responses": {
        "output": [
            {"type": "reasoning", "content": None},
            {
                "content": [
                    {"text": TEXT[:4], "logprobs": ENTRIES[:1]},
                    {"text": TEXT[4:], "logprobs": ENTRIES[1:]},
                ]
            },
        ]
    },
    "openai completions": {
        "choices": [
            {
                "text": TEXT,
                "logprobs": {
                    "tokens": [text for text, _, _ in POSITIONS],
                    "token_logprobs": [p for _, p, _ in POSITIONS],
                    "top_logprobs": [others for _, _, others in POSITIONS],
                },
            }
        ]
    },
    "gemini": GEMINI,
    "gemini over http": CAMEL,
    "langchain, openai": {"content": TEXT, "response_metadata": {"logprobs": {"content": ENTRIES}}},
    "langchain, ollama": {"content": TEXT, "response_metadata": {"logprobs": ENTRIES}},
    "langchain, gemini": {"content": TEXT, "response_metadata": {"logprobs_result": GEMINI_LOGPROBS}},
    "langchain, responses": {
        "content": [{"type": "text", "text": TEXT, "logprobs": ENTRIES}],
        "response_metadata": {},
    },
    "pydantic-ai, openai": {
        "parts": [
            {"part_kind": "thinking", "content": "Confidence: 10%"},
            {"part_kind": "text", "content": TEXT},
        ],
        "provider_details": {"logprobs": ENTRIES},
    },
    "pydantic-ai, responses": {
        "parts": [{"part_kind": "text", "content": TEXT, "provider_details": {"logprobs": ENTRIES}}],
        "provider_details": None,
    },
    "pydantic-ai, gemini": {
        "parts": [{"part_kind": "text", "content": TEXT}],
        "provider_details": {"logprobs": GEMINI_LOGPROBS},
    },
    "ollama": {"message": {"content": TEXT}, "logprobs": ENTRIES},
}


def as_object(result: dict[str, Any]) -> Any:
    """The same with attributes; mappings whose keys are tokens or metadata stay dicts, as they really are."""
    kept = {"provider_details", "response_metadata", "top_logprobs"}

    def hook(found: dict[str, Any]) -> Any:
        return SimpleNamespace(**found) if all(key.isidentifier() for key in found) else found

    def turned(value: Any) -> Any:
        if isinstance(value, list):
            return [turned(one) for one in value]
        if not isinstance(value, dict):
            return value
        return hook({key: one if key in kept else turned(one) for key, one in value.items()})

    return turned(json.loads(json.dumps(result)))


@pytest.mark.parametrize("shape", RESULTS)
@pytest.mark.parametrize("form", [dict, as_object])
def test_every_shape_gives_the_same_scores(shape: str, form: Callable[[Any], Any]) -> None:
    result = form(RESULTS[shape])
    p = [math.exp(one) for _, one, _ in POSITIONS]
    assert confidence.mean_probability(result) == pytest.approx(sum(p) / 3)
    assert confidence.min_probability(result) == pytest.approx(p[2])
    assert confidence.sequence_probability(result) == pytest.approx(math.prod(p))
    assert confidence.geometric_mean_probability(result) == pytest.approx(math.prod(p) ** (1 / 3))
    assert confidence.quantile_probability(result, 0.5) == pytest.approx(p[1])
    gaps = [
        max(q) - min(q) for q in ([math.exp(one) for one in others.values()] for _, _, others in POSITIONS)
    ]
    assert confidence.margin(result) == pytest.approx(sum(gaps) / 3)
    assert confidence.p_true(result) == pytest.approx(p[1] / (p[1] + math.exp(-1.2)))
    assert confidence.verbalised(result) == 0.85


WITHOUT: dict[str, dict[str, Any]] = {
    "no logprobs asked for": {"choices": [{"message": {"content": None}, "logprobs": None}]},
    "no logprobs attribute": {"choices": [{"message": {"content": None}}]},
    "a refusal": {"choices": [{"message": {"content": None}, "logprobs": {"content": None, "refusal": []}}]},
    "no choices": {"choices": []},
    "a tool call": {"output": [{"type": "function_call", "name": "f"}]},
    "no output": {"output": []},
    "a blocked prompt": {"candidates": None},
    "a blocked answer": {"candidates": [{"content": None, "logprobs_result": None}]},
    "langchain": {"content": "", "response_metadata": {}},
    "pydantic-ai": {"parts": [], "provider_details": None},
    "ollama": {"message": {"content": ""}, "logprobs": None},
}


@pytest.mark.parametrize("what", WITHOUT)
@pytest.mark.parametrize("form", [dict, as_object])
def test_a_known_result_without_them_has_no_score(what: str, form: Callable[[Any], Any]) -> None:
    result = form(WITHOUT[what])
    assert confidence.mean_probability(result) is None
    assert confidence.margin(result) is None
    assert confidence.p_true(result) is None
    assert confidence.verbalised(result) is None


def test_without_alternatives_there_is_no_margin_and_p_true_has_the_chosen_token_alone() -> None:
    entries = [{"token": " yes", "logprob": math.log(0.8), "top_logprobs": []}]
    result = {"choices": [{"logprobs": {"content": entries}}]}
    assert confidence.mean_probability(result) == pytest.approx(0.8)
    assert confidence.margin(result) is None
    assert confidence.p_true(result) == pytest.approx(0.8)


def test_p_true_reads_the_first_token_only() -> None:
    """ "It is not true" is no affirmation."""
    entries = [{"token": "It", "logprob": -0.1, "top_logprobs": []}, {"token": " true", "logprob": -0.1}]
    assert confidence.p_true({"choices": [{"logprobs": {"content": entries}}]}) is None


@pytest.mark.parametrize(
    "part", [ENTRIES, {"content": ENTRIES}, {"logprobs": {"content": ENTRIES}}, GEMINI_LOGPROBS]
)
def test_the_part_that_holds_the_log_probabilities_does_as_well(part: Any) -> None:
    assert confidence.min_probability(part) == pytest.approx(math.exp(-0.8))


@pytest.mark.parametrize(
    "strange",
    [SimpleNamespace(answer="yes"), {"answer": "yes"}, ("yes", {"choices": []}), {"output": "yes"}, {1, 2}],
)
def test_a_result_of_no_known_shape_is_refused(strange: Any) -> None:
    """Else a tier whose result wraps the model's would lack its confidence without a word."""
    for score in (confidence.mean_probability, confidence.margin, confidence.p_true, confidence.verbalised):
        with pytest.raises(TypeError, match="arrived"):
            score(strange)


NAMES = [
    "choices",
    "message",
    "content",
    "logprobs",
    "token_logprobs",
    "tokens",
    "top_logprobs",
    "text",
    "token",
]
NAMES += [
    "logprob",
    "output",
    "candidates",
    "logprobs_result",
    "chosen_candidates",
    "top_candidates",
    "parts",
]
NAMES += ["log_probability", "response_metadata", "provider_details", "part_kind", "tolist"]
ANYTHING = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.floats(), st.integers(), st.sampled_from(["yes", "0.5", "text", ""])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
)


@given(ANYTHING, st.booleans())
def test_anything_gives_a_score_or_none_or_a_clear_error(result: Any, attributes: bool) -> None:
    for score in (
        confidence.mean_probability,
        confidence.sequence_probability,
        confidence.margin,
        confidence.p_true,
        confidence.verbalised,
    ):
        value, refusal = None, "arrived"
        try:
            value = score(as_object(result) if attributes else result)
        except (TypeError, ValueError) as error:
            refusal = str(error)
        assert "arrived" in refusal
        assert value is None or 0.0 <= value <= 1.0
