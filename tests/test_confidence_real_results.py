"""The results of the real packages, made by their own classes."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest

os.environ.setdefault(
    "LITELLM_LOCAL_MODEL_COST_MAP", "True"
)  # read when litellm is imported, else it downloads prices

import litellm
from langchain_core.messages import AIMessage
from openai.types import Completion
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic_ai.messages import ModelResponse, TextPart, ThinkingPart

from cascade_otel import confidence

TEXT = "Yes. Confidence: 85%"
TOP = [{"token": "Yes", "logprob": -0.2, "bytes": []}, {"token": "No", "logprob": -2.0, "bytes": []}]
ENTRIES: list[dict[str, Any]] = [
    {"token": "Yes", "logprob": -0.2, "bytes": [], "top_logprobs": TOP},
    {"token": ".", "logprob": -1.0, "bytes": [], "top_logprobs": TOP},
]


def chat(logprobs: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": TEXT}
    choice = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": logprobs}
    return {"id": "c", "created": 0, "model": "m", "object": "chat.completion", "choices": [choice]}


def response(logprobs: Any) -> dict[str, Any]:
    text = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": logprobs}
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [text]}
    return {
        "id": "r",
        "created_at": 0,
        "model": "m",
        "object": "response",
        "output": [{"type": "reasoning", "id": "r", "summary": []}, message],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
    }


def completion(logprobs: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "text": TEXT, "logprobs": logprobs}
    return {"id": "c", "created": 0, "model": "m", "object": "text_completion", "choices": [choice]}


COLUMNS = {
    "tokens": [one["token"] for one in ENTRIES],
    "token_logprobs": [one["logprob"] for one in ENTRIES],
    "top_logprobs": [{one["token"]: one["logprob"] for one in TOP}] * 2,
    "text_offset": [0, 3],
}
WITH = {
    "openai chat": ChatCompletion.model_validate(chat({"content": ENTRIES, "refusal": None})),
    "openai responses": Response.model_validate(response(ENTRIES)),
    "openai completions": Completion.model_validate(completion(COLUMNS)),
    "litellm": litellm.ModelResponse(**chat({"content": ENTRIES})),
    "langchain": AIMessage(TEXT, response_metadata={"logprobs": {"content": ENTRIES, "refusal": None}}),
    "langchain blocks": AIMessage([{"type": "text", "text": TEXT, "logprobs": ENTRIES}]),
    "pydantic-ai": ModelResponse(
        parts=[ThinkingPart("hm. Confidence: 10%"), TextPart(TEXT)], provider_details={"logprobs": ENTRIES}
    ),
    "pydantic-ai responses": ModelResponse(parts=[TextPart(TEXT, provider_details={"logprobs": ENTRIES})]),
}
WITHOUT = {
    "openai chat": ChatCompletion.model_validate(chat(None)),
    "openai responses": Response.model_validate(response(None)),
    "openai completions": Completion.model_validate(completion(None)),
    "litellm": litellm.ModelResponse(**chat(None)),
    "langchain": AIMessage(TEXT),
    "pydantic-ai": ModelResponse(parts=[TextPart(TEXT)]),
}


@pytest.mark.parametrize("package", WITH)
def test_scores_are_read_from_it(package: str) -> None:
    result = WITH[package]
    yes, no = math.exp(-0.2), math.exp(-2.0)
    assert confidence.mean_probability(result) == pytest.approx((yes + math.exp(-1.0)) / 2)
    assert confidence.sequence_probability(result) == pytest.approx(math.exp(-1.2))
    assert confidence.margin(result) == pytest.approx(yes - no)
    assert confidence.p_true(result) == pytest.approx(yes / (yes + no))
    assert confidence.verbalised(result) == 0.85


@pytest.mark.parametrize("package", WITHOUT)
def test_without_log_probabilities_there_is_no_score_of_them(package: str) -> None:
    result = WITHOUT[package]
    assert confidence.mean_probability(result) is None
    assert confidence.margin(result) is None
    assert confidence.p_true(result) is None
    assert confidence.verbalised(result) == 0.85
