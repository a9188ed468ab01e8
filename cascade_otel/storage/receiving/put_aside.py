"""Spans that were not stored, and why: two files of JSON lines beside the segments, in bounded room.

The newer file grows to half the room and then takes the place of the older, whose lines go. What they told
is not lost: each file begins with a line that says how many spans were put aside before it, by reason. All
writers take turns, under a lock of the folder that the kernel frees when one is killed; every step leaves
files that count right.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from cascade_otel.storage.otlp.decode import PutAside

MAX_BYTES = 10 << 20
"""Room for both files."""
NEWER, OLDER = "put_aside.jsonl", "put_aside.1.jsonl"


class Line(TypedDict):
    """Spans put aside: when (seconds since 1970 UTC), why, and how many.

    Of one alone its id, sender and attribute at fault, where known; '' otherwise.
    """

    time: float
    reason: str
    spans: int
    span_id: str
    service: str
    attribute: str


def keep(root: Path, spans: Sequence[PutAside], rejected: Iterable[Mapping[str, int]] = ()) -> None:
    """Appends the spans to the store's file. ``rejected`` counts, by reason, all that were put aside: those
    beyond the described ``spans`` are kept as numbers. Raises OSError."""
    now = time.time()
    lines = [{"time": now, "spans": 1, **span._asdict()} for span in spans]
    more: Counter[str] = Counter()
    for reasons in rejected:
        more.update(reasons)
    more.subtract(Counter(span.reason for span in spans))
    nobody = {"span_id": "", "service": "", "attribute": ""}
    lines += [{"time": now, "spans": n, "reason": reason, **nobody} for reason, n in more.items() if n > 0]
    if not lines:
        return
    added = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode(errors="replace")
    with _alone(root):
        newer = root / NEWER
        if not newer.exists():
            _begin(root)
        if _append(newer, added) > MAX_BYTES // 2:
            newer.replace(root / OLDER)


def kept(root: Path) -> Iterator[Line]:
    """What was put aside and is still described, oldest first; a line half written by a killed process is
    left out."""
    for name in (OLDER, NEWER):
        for line in _lines(root / name):
            if "before" not in line:
                yield _whole(line)


def counted(root: Path) -> dict[str, Line]:
    """Everything that was ever put aside, by reason: the newest line, with the ``spans`` of all of them."""
    with _alone(root):
        found: dict[str, Line] = {}
        has_older = (root / OLDER).exists()
        for name in (OLDER, NEWER):
            _count(root / name, found, with_before=name == OLDER or not has_older)
    return found


def _begin(root: Path) -> None:
    """A new file that says what the older one and those before it told."""
    before: dict[str, Line] = {}
    _count(root / OLDER, before, with_before=True)
    made = root / "put_aside.new"
    made.write_text(json.dumps({"before": before}, ensure_ascii=False) + "\n", encoding="utf-8")
    made.replace(root / NEWER)


def _count(path: Path, found: dict[str, Line], with_before: bool) -> None:
    for line in _lines(path):
        told = line.get("before", {"": line})
        if "before" in line and not with_before:
            continue
        for one in map(_whole, told.values()):
            spans = one["spans"] + (found[one["reason"]]["spans"] if one["reason"] in found else 0)
            found[one["reason"]] = {**one, "spans": spans}


def _append(path: Path, added: bytes) -> int:
    """The size of the file with it; what a killed writer left without an end is ended first."""
    with open(path, "r+b", buffering=0) as out:
        size = out.seek(0, os.SEEK_END)
        if size:
            out.seek(size - 1)
            if out.read(1) != b"\n":
                added = b"\n" + added
        try:
            while added:
                added = added[out.write(added) :]
        except OSError:
            out.truncate(size)
            raise
        return out.tell()


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    folder = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    told = json.loads(line)
                except ValueError:
                    continue
                if isinstance(told, dict):
                    yield told
    except FileNotFoundError:
        return


def _whole(line: dict[str, Any]) -> Line:
    return {
        "time": line.get("time", 0.0),
        "reason": line.get("reason", ""),
        "spans": line.get("spans", 1),
        "span_id": line.get("span_id", ""),
        "service": line.get("service", ""),
        "attribute": line.get("attribute", ""),
    }
