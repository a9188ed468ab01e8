"""The detector's memory as bytes and back, for the time between two lives of the job."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from cascade_otel.analysis.watching.learned import Learned
from cascade_otel.analysis.watching.running import Point
from cascade_otel.records import Stream

FORM = 2
"""Raised whenever a memory of before cannot be read, or would be misread: it is learned anew then."""
HEAD = "head"
BROKEN = (AttributeError, EOFError, IndexError, KeyError, OSError, TypeError, zipfile.BadZipFile, zlib.error)
"""What reading bytes that were never packed ends in, beside ValueError."""


def packed(kept: Mapping[Stream, tuple[Learned, Point]]) -> bytes:
    """One numpy archive: arrays under their path, everything else as JSON under ``HEAD``."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    head = {stream: [_plain(part, f"{stream}/{place}", arrays) for place, part in enumerate(both)]
            for stream, both in kept.items()}  # fmt: skip
    text = json.dumps({"form": FORM, "streams": head}).encode()
    written = io.BytesIO()
    arrays[HEAD] = np.frombuffer(text, np.uint8)
    np.savez(written, allow_pickle=False, **arrays)
    return written.getvalue()


def unpacked(body: bytes) -> dict[Stream, tuple[Learned, Point]]:
    """What was packed.

    Raises:
        ValueError: it is of another form, or broken.
    """
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            head = json.loads(archive[HEAD].tobytes())
            if head["form"] != FORM:
                raise ValueError(f"it is of form {head['form']}, not {FORM}")
            return {
                stream: (_made(Learned, learned, archive), _made(Point, point, archive))
                for stream, (learned, point) in head["streams"].items()
            }
    except BROKEN as error:
        raise ValueError(f"it is broken: {error}") from error


def _plain(value: Any, path: str, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    if isinstance(value, np.ndarray):
        arrays[path] = value
        return path
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name), f"{path}/{f.name}", arrays) for f in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item, f"{path}/{place}", arrays) for place, item in enumerate(value)]
    return value.item() if isinstance(value, np.generic) else value


def _made(kind: Any, value: Any, archive: Mapping[str, Any]) -> Any:
    if get_origin(kind) is UnionType:
        (kind,) = (choice for choice in get_args(kind) if choice is not type(None))
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        made = {name: _made(hints[name], item, archive) for name, item in value.items()}
        return kind(**made)  # type: ignore[operator]  # a dataclass is a type, which mypy does not see here
    if get_origin(kind) is tuple:
        return tuple(_made(get_args(kind)[0], item, archive) for item in value)
    return archive[value] if get_origin(kind) is np.ndarray else value
