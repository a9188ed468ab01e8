"""Causes as they are kept, also those that were kept before there was more to say of them."""

from __future__ import annotations

import json

from cascade_otel.records import Cause, CauseProbability, Coincidence, Effect, Finding
from cascade_otel.storage.state_json import from_json, to_json

EFFECT = Effect(1.0, 0.5, 1.5)
FULL = Cause(
    "model", EFFECT, EFFECT, EFFECT, "The cheap model changed.",
    probabilities=(CauseProbability("model", 0.9), CauseProbability("silent_decay", 0.01)),
    named=("model", "threshold"), unsure=("model", "confidence_scale"), to_know=("canaries", "time"),
    changes=(
        Coincidence("response_model", "small-1", "small-2", 0.4, 480_000),
        Coincidence("error_rate", 0.0, 0.25),
        Coincidence("segment", 0.3, 0.6, name="hard"),
    ),
)  # fmt: skip


def test_every_field_of_a_cause_is_kept() -> None:
    finding = Finding("t", "small", "escalation_rate", "drifting", 480_010, cause=FULL)
    assert from_json(Finding, to_json(finding)) == finding


def test_a_cause_from_before_has_nothing_but_its_name() -> None:
    old = {
        "task": "t", "tier": "small", "stream": "escalation_rate", "state": "drifting", "hour": 480_010,
        "cause": {
            "name": "model_or_inputs", "note": "Confidences changed.",
            **{name: {"points": 1.0, "low": 0.5, "high": 1.5} for name in ("inputs", "model", "threshold")},
        },
    }  # fmt: skip
    found = from_json(Finding, json.dumps(old)).cause
    assert found == Cause("model_or_inputs", EFFECT, EFFECT, EFFECT, "Confidences changed.")
    assert (found.probabilities, found.named, found.unsure, found.to_know, found.changes) == ((),) * 5
