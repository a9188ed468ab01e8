"""What a day's manifest says: which files were merged into which, and which that made superfluous."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

VERSION = 1
NAME = "manifest.json"


class BrokenManifestError(ValueError):
    """A manifest that cannot be read."""


class LaterManifestError(BrokenManifestError):
    """A manifest written by a later version."""


@dataclass(frozen=True, slots=True)
class Merged:
    """One merged file of ``n`` rows and the parts made of these; names in a manifest, paths in ``Live``.

    ``checks`` is None where no row is a label or an audit. ``services``: per sender ('' unnamed) how many
    of the rows it sent, when the newest of them began, and when the last ended.
    """

    rows: str
    sums: str
    cells: str
    sites: str
    checks: str | None
    n: int
    services: Mapping[str, tuple[int, int, int]]

    def names(self) -> list[str]:
        """All files of it."""
        return [name for name in (self.rows, self.sums, self.cells, self.sites, self.checks) if name]

    def under(self, folder: Path) -> Merged:
        """The same with paths."""
        return replace(
            self,
            rows=str(folder / self.rows),
            sums=str(folder / self.sums),
            cells=str(folder / self.cells),
            sites=str(folder / self.sites),
            checks=self.checks and str(folder / self.checks),
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """The state of a day that has been compacted; a day without one is all defaults.

    ``checked`` are the files of calls joined with what checked them, ``consumed`` when (seconds since
    1970) each superfluous file became so, ``looked_hour`` when what is not done at every pass was last done.
    """

    files: tuple[Merged, ...] = ()
    checked: tuple[str, ...] = ()
    consumed: Mapping[str, float] = field(default_factory=dict)
    looked_hour: int = 0

    def names(self) -> set[str]:
        """Files that are to be read."""
        return {name for entry in self.files for name in entry.names()} | set(self.checked)

    def encoded(self) -> bytes:
        """What is written."""
        said = {
            "version": VERSION,
            "files": [asdict(entry) for entry in self.files],
            "checked": self.checked,
            "consumed": self.consumed,
            "looked_hour": self.looked_hour,
        }
        return json.dumps({**said, "crc32": _sum(said)}).encode()


def decoded(content: bytes) -> Manifest:
    """The manifest in a file. Raises BrokenManifestError and LaterManifestError."""
    try:
        said = json.loads(content)
        version, crc32 = said["version"], said.pop("crc32")
        if version > VERSION:
            raise LaterManifestError(f"written by a later version ({version}); this one knows {VERSION}")
        if _sum(said) != crc32:
            raise BrokenManifestError("its checksum does not hold")
        return Manifest(
            files=tuple(_entry(one) for one in said["files"]),
            checked=tuple(said["checked"]),
            consumed=dict(said["consumed"]),
            looked_hour=int(said["looked_hour"]),
        )
    except BrokenManifestError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BrokenManifestError(f"no manifest ({type(error).__name__})") from error


def _sum(said: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(said, sort_keys=True).encode())


def _entry(said: dict[str, Any]) -> Merged:
    return Merged(
        rows=said["rows"],
        sums=said["sums"],
        cells=said["cells"],
        sites=said["sites"],
        checks=said["checks"],
        n=int(said["n"]),
        services={
            name: (int(spans), int(began), int(ended))
            for name, (spans, began, ended) in said["services"].items()
        },
    )


@dataclass(frozen=True, slots=True)
class Live:
    """Paths of a day that are to be read now: merged files with parts, small segments, checked calls."""

    day: int
    merged: tuple[Merged, ...] = ()
    small: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()

    def files(self) -> list[str]:
        """Merged files, all parts, and checked calls."""
        return [*(name for entry in self.merged for name in entry.names()), *self.checked]

    def rows(self) -> list[str]:
        """Every file of rows."""
        return [*(entry.rows for entry in self.merged), *self.small]
