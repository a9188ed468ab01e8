"""The reference of the webhook says what is sent."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cascade_otel.alerting import message
from tests.alerting.alert_samples import RATE, finding, opened
from tests.alerting.test_message import EVERY, URL

PAGE = (Path(__file__).parents[2] / "docs/reference/webhook.md").read_text()
SCHEMA, EXAMPLE = (
    json.loads(text) for text in re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
)
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


def faults(schema: dict[str, Any], value: Any, place: str = "body") -> list[str]:
    """Where a value is not as a schema wants it; knows the few words that the page's schema uses."""
    unknown = set(schema) - {
        "$schema", "type", "const", "enum", "format", "pattern", "items", "required", "properties",
        "additionalProperties",
    }  # fmt: skip
    assert not unknown, unknown
    if "const" in schema:
        return [] if value == schema["const"] and type(value) is type(schema["const"]) else [place]
    if "enum" in schema:
        return [] if value in schema["enum"] else [place]
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if isinstance(value, bool) or not isinstance(
        value, tuple(kind for name in kinds for kind in TYPES[name])
    ):
        return [place]
    if isinstance(value, str):
        if schema.get("format") == "date-time" and datetime.fromisoformat(value).utcoffset() is None:
            return [place]
        return [] if re.search(schema.get("pattern", ""), value) else [place]
    if isinstance(value, list):
        return [f for nth, item in enumerate(value) for f in faults(schema["items"], item, f"{place}[{nth}]")]
    if isinstance(value, dict):
        found = [f"{place}.{name}" for name in set(schema["required"]) ^ set(value)]
        known = ((name, part) for name, part in schema["properties"].items() if name in value)
        return found + [f for name, part in known for f in faults(part, value[name], f"{place}.{name}")]
    return []


@pytest.mark.parametrize("name", [name for name in EVERY if EVERY[name].status != "pending"])
def test_every_body_is_as_the_schema_says(name: str) -> None:
    body = json.loads(json.dumps(message.body(EVERY[name], URL), allow_nan=False))
    assert faults(SCHEMA, body) == []


def test_the_example_is_what_is_sent() -> None:
    assert message.body(opened(RATE, finding("confidence_shape")), URL, owner="catalogue team") == EXAMPLE


def test_every_field_is_explained() -> None:
    explained = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)))
    assert {*explained, "fingerprint", "currency"} == set(SCHEMA["properties"])


def test_the_schema_would_notice() -> None:
    assert faults(SCHEMA, {**EXAMPLE, "status": "pending"}) == ["body.status"]
    assert faults(SCHEMA, {**EXAMPLE, "since": 5}) == ["body.since"]
    assert faults(SCHEMA, {**EXAMPLE, "extra": 5}) == ["body.extra"]
    assert faults(SCHEMA, {**EXAMPLE, "calls": 5.5}) == ["body.calls"]
    assert faults(SCHEMA, {name: EXAMPLE[name] for name in EXAMPLE if name != "text"}) == ["body.text"]
