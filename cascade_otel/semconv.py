"""What everything is called on the wire. Nothing else in this package spells a name.

Attributes and metrics follow the OpenTelemetry naming rules: one namespace of our own, ``cascade``, and the
``gen_ai`` names where the semantic conventions for generative AI have one.
"""

from __future__ import annotations

from typing import NamedTuple

SCOPE = "cascade_otel"
"""Instrumentation scope of every span and metric."""


class Attribute(NamedTuple):
    """One attribute: its name, its OTLP type, where it is set, and what it means."""

    name: str
    type: str
    on: str
    note: str


class Metric(NamedTuple):
    """One metric: its name, instrument, UCUM unit, and what it counts or measures."""

    name: str
    instrument: str
    unit: str
    note: str


CASCADE_NAME = "cascade.name"
CASCADE_TASK = "cascade.task"
CASCADE_PURPOSE = "cascade.purpose"
CASCADE_VERSION = "cascade.version"
TIER_NAME = "cascade.tier.name"
TIER_INDEX = "cascade.tier.index"
TIER_KIND = "cascade.tier.kind"
TIER_AGREED = "cascade.tier.agreed"
TIER_COUNT = "cascade.tier.count"
FINAL_TIER_NAME = "cascade.final.tier.name"
CONFIDENCE_SCORE = "cascade.confidence.score"
CONFIDENCE_SOURCE = "cascade.confidence.source"
THRESHOLD = "cascade.threshold"
ESCALATED = "cascade.escalated"
ESCALATION_REASON = "cascade.escalation.reason"
OUTCOME = "cascade.outcome"
COST_AMOUNT = "cascade.cost.amount"
COST_CURRENCY = "cascade.cost.currency"
COST_SOURCE = "cascade.cost.source"
TOTAL_COST = "cascade.total_cost"
INPUT_SEGMENT = "cascade.input.segment"
INPUT_SIZE = "cascade.input.size"
CANARY_ID = "cascade.canary.id"
AUDIT_WEIGHT = "cascade.audit.weight"
FEEDBACK_CORRECT = "cascade.feedback.correct"
FEEDBACK_SOURCE = "cascade.feedback.source"
FEEDBACK_WEIGHT = "cascade.feedback.weight"
TIME_TO_FIRST_CHUNK = "cascade.time_to_first_chunk"
DROP_REASON = "cascade.drop.reason"

OPERATION_NAME = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"
ERROR_TYPE = "error.type"
SERVICE_NAME = "service.name"

FEEDBACK_SPAN = "cascade.feedback"

PURPOSES = ("production", "audit", "canary")
TIER_KINDS = ("model", "multimodal", "human", "rule")
REASONS = ("low_confidence", "missing_confidence", "error", "timeout", "policy")
OUTCOMES = ("accepted", "escalated", "repeated", "exhausted", "error", "cancelled", "abandoned", "outlived")
DROP_REASONS = ("value", "callable", "unmatched", "sdk", "audit", "queue", "export", "exit")
"""A value that cannot be recorded; your callable failed; a score without its call; the SDK failed; an audit
failed, or was one too many; a span did not fit the queue, was not taken, was left at the end."""
COST_SOURCES = ("user", "litellm", "genai-prices")
"""Your code, the result itself, a table of prices."""

ATTRIBUTES = (
    Attribute(CASCADE_NAME, "string", "both spans, metrics", "the cascade, by default its function's name"),
    Attribute(
        CASCADE_TASK, "string", "both spans, metrics", "what τ is set for; at most 1,000 label metrics"
    ),
    Attribute(CASCADE_PURPOSE, "string", "both spans, metrics", "absent: production; else audit or canary"),
    Attribute(CASCADE_VERSION, "string", "both spans", "your own configuration or prompt version"),
    Attribute(INPUT_SEGMENT, "string", "both spans", "opt-in kind of input (language, source), never text"),
    Attribute(INPUT_SIZE, "int", "both spans", "opt-in size of the input, in your own unit"),
    Attribute(CANARY_ID, "string", "both spans", "which stored prompt was asked again"),
    Attribute(AUDIT_WEIGHT, "double", "both spans of an audit", "how many accepted calls it stands for"),
    Attribute(ESCALATED, "boolean", "both spans", "a later tier was called after this one had answered"),
    Attribute(OUTCOME, "string", "both spans, metrics", ", ".join(OUTCOMES)),
    Attribute(TIER_NAME, "string", "tier span, feedback span, metrics", "the tier"),
    Attribute(TIER_INDEX, "int", "tier span", "declared, or the order of first call"),
    Attribute(TIER_KIND, "string", "tier span", ", ".join(TIER_KINDS)),
    Attribute(CONFIDENCE_SCORE, "double", "tier span", "0 to 1; a histogram on metrics"),
    Attribute(CONFIDENCE_SOURCE, "string", "tier span", "where the score came from"),
    Attribute(THRESHOLD, "double", "tier span", "τ at the moment of the decision"),
    Attribute(ESCALATION_REASON, "string", "tier span, escalation counter", ", ".join(REASONS)),
    Attribute(
        TIER_AGREED,
        "boolean",
        "tier span",
        "this answer against the strongest tier's; on an audit's, the accepted answer against it",
    ),
    Attribute(COST_AMOUNT, "double", "tier span", "cost of the call"),
    Attribute(COST_CURRENCY, "string", "tier span", "USD unless said otherwise"),
    Attribute(COST_SOURCE, "string", "tier span", ", ".join(COST_SOURCES)),
    Attribute(TIME_TO_FIRST_CHUNK, "double", "tier span", "seconds to a stream's first chunk"),
    Attribute(TOTAL_COST, "double", "cascade span", "cost of all tier calls"),
    Attribute(TIER_COUNT, "int", "cascade span", "tiers visited"),
    Attribute(FINAL_TIER_NAME, "string", "cascade span", "the tier whose answer stood"),
    Attribute(FEEDBACK_CORRECT, "boolean", "feedback span", "a label given later, linked to its call"),
    Attribute(FEEDBACK_SOURCE, "string", "feedback span", "who says so"),
    Attribute(FEEDBACK_WEIGHT, "double", "feedback span", "how many calls the label stands for"),
    Attribute(
        OPERATION_NAME, "string", "tier span, tier durations, token usage", "a model's: chat and the like"
    ),
    Attribute(PROVIDER_NAME, "string", "tier span, tier durations, token usage", "openai and the like"),
    Attribute(REQUEST_MODEL, "string", "tier span, tier durations, token usage, cost", "the model asked for"),
    Attribute(RESPONSE_MODEL, "string", "tier span", "the model that answered"),
    Attribute(INPUT_TOKENS, "int", "tier span", "tokens sent"),
    Attribute(OUTPUT_TOKENS, "int", "tier span", "tokens received"),
    Attribute(TOKEN_TYPE, "string", "token counter, token usage", "input or output"),
    Attribute(ERROR_TYPE, "string", "both spans, durations", "an exception's type, never its text"),
    Attribute(DROP_REASON, "string", "dropped counter", ", ".join(DROP_REASONS)),
)

OPERATION_DURATION = "gen_ai.client.operation.duration"
TIER_DURATION = "cascade.tier.duration"
CASCADE_DURATION = "cascade.duration"
TIER_CALLS = "cascade.tier.calls"
ESCALATIONS = "cascade.escalations"
TIER_CONFIDENCE = "cascade.tier.confidence"
TIER_COST = "cascade.tier.cost"
TIER_TOKENS = "cascade.tier.tokens"
TOKEN_USAGE = "gen_ai.client.token.usage"
DROPPED = "cascade.telemetry.dropped"

METRICS = (
    Metric(TIER_CALLS, "counter", "{call}", "calls of a tier, by outcome"),
    Metric(ESCALATIONS, "counter", "{escalation}", "visits that escalated, by reason; starts at 0"),
    Metric(TIER_CONFIDENCE, "histogram", "1", "confidence, in buckets of .05"),
    Metric(TIER_COST, "counter", "{USD}", "money spent"),
    Metric(TIER_TOKENS, "counter", "{token}", "tokens, by gen_ai.token.type"),
    Metric(OPERATION_DURATION, "histogram", "s", "duration of a model tier's call"),
    Metric(TIER_DURATION, "histogram", "s", "duration of a human's or a rule's decision"),
    Metric(CASCADE_DURATION, "histogram", "s", "duration of the whole cascade"),
    Metric(TOKEN_USAGE, "histogram", "{token}", "opt-in; instrumented clients already emit it"),
    Metric(DROPPED, "counter", "{item}", "telemetry of ours that was left out, by reason"),
)
