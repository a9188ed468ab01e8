"""Results of the usual clients that all tell the same: 1000 tokens in, of which 600 cached; 50 out."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any, NamedTuple

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # read when litellm is imported, else it downloads prices

import litellm
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.completion_usage import CompletionTokensDetails, PromptTokensDetails
from openai.types.responses import Response, ResponseCompletedEvent, ResponseUsage
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails
from pydantic import BaseModel
from pydantic_ai.messages import ModelResponse, TextPart
from pydantic_ai.usage import RequestUsage

MODEL = "some-model-2026"
# Anthropic's and Bedrock's own counts: what is read from the cache and written to it stands apart
ANTHROPIC = {
    "input_tokens": 300,
    "output_tokens": 50,
    "cache_read_input_tokens": 600,
    "cache_creation_input_tokens": 100,
    "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
}


class Case(NamedTuple):
    """A result and what is written to a cache in it: most clients do not tell."""

    result: Any
    written: int | None = None
    written_1h: int | None = None
    model: str | None = MODEL


# The attributes of the classes that Anthropic's and Google's clients give, both pydantic's.
class Usage(BaseModel):
    cache_creation: Any = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    input_tokens: int | None
    output_tokens: int


class Message(BaseModel):
    model: str
    usage: Usage
    type: str = "message"


class MessageStopEvent(BaseModel):
    message: Message
    type: str = "message_stop"


class UsageMetadataOfGemini(BaseModel):
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    candidates_tokens_details: list[Any] | None = None
    prompt_token_count: int | None = None
    prompt_tokens_details: list[Any] | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None


class GenerateContentResponse(BaseModel):
    model_version: str
    usage_metadata: UsageMetadataOfGemini | None = None


for each in (Usage, Message, MessageStopEvent):
    each.__module__ = "anthropic.types"


def chat() -> ChatCompletion:
    usage = CompletionUsage(
        prompt_tokens=1000,
        completion_tokens=50,
        total_tokens=1050,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=600, audio_tokens=0),
        completion_tokens_details=CompletionTokensDetails(reasoning_tokens=20, audio_tokens=0),
    )
    return ChatCompletion(id="1", choices=[], created=1, model=MODEL, object="chat.completion", usage=usage)


def last_chunk() -> ChatCompletionChunk:
    return ChatCompletionChunk(
        id="1", choices=[], created=1, model=MODEL, object="chat.completion.chunk", usage=chat().usage
    )


def response() -> Response:
    usage = ResponseUsage(
        input_tokens=1000,
        input_tokens_details=InputTokensDetails(cached_tokens=600, cache_write_tokens=100),
        output_tokens=50,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=20),
        total_tokens=1050,
    )
    return Response.model_construct(id="1", model=MODEL, output=[], usage=usage)


def anthropic() -> Message:
    return Message(model=MODEL, usage=Usage(**ANTHROPIC))


def langchain(kind: type[Any] = AIMessage, **details: int) -> Any:
    told = UsageMetadata(
        input_tokens=1000,
        output_tokens=50,
        total_tokens=1050,
        input_token_details={"cache_read": 600, **details},  # type: ignore[typeddict-item]  # further keys may be
    )
    return kind("x", usage_metadata=told, response_metadata={"model_name": MODEL})


def by_litellm(kind: Any = litellm.ModelResponse, **usage: int) -> Any:
    told = litellm.Usage(prompt_tokens=1000, completion_tokens=50, total_tokens=1050, **usage)
    return kind(model=MODEL, usage=told)


def pydantic_ai() -> ModelResponse:
    usage = RequestUsage(
        input_tokens=1000,
        cache_read_tokens=600,
        cache_write_tokens=100,
        cache_write_1h_tokens=40,
        output_tokens=50,
    )
    return ModelResponse(parts=[TextPart("x")], usage=usage, model_name=MODEL)


def gemini() -> GenerateContentResponse:
    usage = UsageMetadataOfGemini(
        prompt_token_count=900,
        tool_use_prompt_token_count=100,
        cached_content_token_count=600,
        candidates_token_count=30,
        thoughts_token_count=20,
    )
    return GenerateContentResponse(model_version=MODEL, usage_metadata=usage)


CONVERSE = {
    "inputTokens": 300,
    "outputTokens": 50,
    "totalTokens": 1050,
    "cacheReadInputTokens": 600,
    "cacheWriteInputTokens": 100,
    "cacheDetails": [{"ttl": "1h", "inputTokens": 40}, {"ttl": "5m", "inputTokens": 60}],
}
INVOKED = {
    "inputTokenCount": 300,
    "outputTokenCount": 50,
    "cacheReadInputTokenCount": 600,
    "cacheWriteInputTokenCount": 100,
}
GEMINI_REST = {
    "promptTokenCount": 1000,
    "cachedContentTokenCount": 600,
    "candidatesTokenCount": 30,
    "thoughtsTokenCount": 20,
}
CASES = {
    "OpenAI chat completion": Case(chat()),
    "OpenAI chat completion as a dict": Case(chat().model_dump()),
    "OpenAI's last chunk": Case(last_chunk()),
    "OpenAI Responses": Case(response(), 100),
    "OpenAI Responses as a dict": Case({"model": MODEL, "usage": response().usage.model_dump()}, 100),  # type: ignore[union-attr]  # it has one
    "OpenAI Responses' last event": Case(
        ResponseCompletedEvent.model_construct(response=response(), type="response.completed"), 100
    ),
    "Anthropic message": Case(anthropic(), 100, 40),
    "Anthropic message as a dict, and the body of Bedrock's InvokeModel": Case(
        anthropic().model_dump(), 100, 40
    ),
    "Anthropic's last event": Case(MessageStopEvent(message=anthropic()), 100, 40),
    "Anthropic's last event as a dict": Case(
        {"type": "message_stop", "message": anthropic().model_dump()}, 100, 40
    ),
    "Bedrock Converse": Case({"output": {}, "stopReason": "end_turn", "usage": CONVERSE}, 100, 40, None),
    "Bedrock ConverseStream's last event": Case({"metadata": {"usage": CONVERSE}}, 100, 40, None),
    "Bedrock InvokeModelWithResponseStream's last event": Case(
        {"type": "message_stop", "amazon-bedrock-invocationMetrics": INVOKED}, 100, None, None
    ),
    "Gemini": Case(gemini()),
    "Gemini as a dict": Case(gemini().model_dump()),
    "Gemini over REST": Case({"usageMetadata": GEMINI_REST, "modelVersion": MODEL}),
    "LiteLLM": Case(by_litellm(cache_read_input_tokens=600, cache_creation_input_tokens=100), 100),
    "LiteLLM as a dict": Case(
        by_litellm(cache_read_input_tokens=600, cache_creation_input_tokens=100).model_dump(), 100
    ),
    "LiteLLM's last chunk": Case(by_litellm(litellm.ModelResponseStream, cache_read_input_tokens=600)),
    "LangChain": Case(langchain()),
    "LangChain over Anthropic": Case(langchain(cache_creation=100), 100),
    "LangChain over Anthropic with times to live": Case(
        langchain(cache_creation=0, ephemeral_5m_input_tokens=60, ephemeral_1h_input_tokens=40), 100, 40
    ),
    "LangChain's last chunk": Case(langchain(AIMessageChunk)),
    "LangChain as a dict": Case(langchain(cache_creation=100).model_dump(), 100),
    "pydantic-ai": Case(pydantic_ai(), 100, 40),
    "pydantic-ai as a dict": Case({"model_name": MODEL, "usage": {**vars(pydantic_ai().usage)}}, 100, 40),
    "one of your own in OpenAI's names": Case(
        SimpleNamespace(
            model=MODEL,
            usage={
                "prompt_tokens": 1000,
                "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": 600},
            },
        )
    ),
}
