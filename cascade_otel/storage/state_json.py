"""Findings and alerts as JSON text and back, exactly: nested dataclasses, tuples, None and every float."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from cascade_otel.records import Alert, Finding

R = TypeVar("R", Finding, Alert)


def to_json(record: Finding | Alert) -> str:
    """The record as one line of JSON."""
    return json.dumps(asdict(record), ensure_ascii=False, separators=(",", ":"))


def from_json(kind: type[R], text: str) -> R:
    """The record that ``to_json`` wrote.

    Fields this version does not know are left out, and absent ones have their defaults, so that records
    of other versions can be read.
    """
    return cast(R, _value(kind, json.loads(text)))


def _value(kind: Any, value: Any) -> Any:
    if get_origin(kind) is UnionType and value is not None:
        kind = next(choice for choice in get_args(kind) if choice is not NoneType)
    if value is None:
        return None
    if is_dataclass(kind):
        hints = _hints(cast(type, kind))
        known = (field.name for field in fields(kind) if field.name in value)
        return cast(Any, kind)(**{name: _value(hints[name], value[name]) for name in known})
    if get_origin(kind) is tuple:
        return tuple(_value(get_args(kind)[0], item) for item in value)
    return value


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
