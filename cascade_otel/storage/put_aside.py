"""Spans that were not stored, and why: a bounded file of JSON lines beside the segments."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypedDict

from cascade_otel.storage.decode import PutAside

MAX_BYTES = 10 << 20
"""When the file has grown to this, the older of two files of half that size goes."""


class Line(TypedDict):
    """A span put aside: when (seconds since 1970 UTC), why, its id, sender, attribute at fault ('': none)."""

    time: float
    reason: str
    span_id: str
    service: str
    attribute: str


def keep(root: Path, spans: Sequence[PutAside]) -> None:
    """Appends the spans to the store's file."""
    if not spans:
        return
    path = root / "put_aside.jsonl"
    now = time.time()
    lines = (json.dumps({"time": now, **span._asdict()}, ensure_ascii=False) + "\n" for span in spans)
    with open(path, "a", encoding="utf-8") as out:
        out.writelines(lines)
        size = out.tell()
    if size > MAX_BYTES // 2:
        path.replace(root / "put_aside.1.jsonl")


def kept(root: Path) -> Iterator[Line]:
    """The spans put aside, oldest first; a line half written by a killed process is left out."""
    for name in ("put_aside.1.jsonl", "put_aside.jsonl"):
        try:
            with open(root / name, encoding="utf-8", errors="replace") as lines:
                yield from _whole(lines)
        except FileNotFoundError:
            continue


def _whole(lines: Iterable[str]) -> Iterator[Line]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue
