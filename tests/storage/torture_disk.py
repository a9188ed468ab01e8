"""Faults of a disk made for real, in a process that has mounts of its own: nothing of it is left afterwards.

Run as a module: ``python -m tests.storage.torture_disk MODULE SCENARIO FOLDER``. Where nothing may be
mounted, the limit on the size of files stands for a full disk and for a read-only one.
"""

from __future__ import annotations

import contextlib
import importlib
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.storage.torture_processes import ROOT, end_with_parent

SIZE = 4 << 20
PAGE = 4096
LITTLE = 1000
"""Bytes a file may have where a limit stands for a full disk: less than any file of a store."""


class Small:
    """A file system of 4 MiB at ``folder``."""

    def __init__(self, folder: Path):
        self.folder = folder
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True)
        self._filler = folder / "filler"

    @contextlib.contextmanager
    def full(self, pid: int, room: int = 0) -> Iterator[None]:
        """No more than ``room`` bytes can be written, by whomever."""
        with open(self._filler, "wb", buffering=0) as filler:
            with contextlib.suppress(OSError):
                while filler.write(bytes(PAGE)):
                    continue
            filler.truncate(max(filler.tell() - room, 0))
        try:
            yield
        finally:
            self._filler.unlink(missing_ok=True)

    def make_room(self) -> None:
        """Before ``full`` has ended."""
        self._filler.unlink()

    @contextlib.contextmanager
    def read_only(self, pid: int) -> Iterator[None]:
        """Nothing can be written to what is not yet open."""
        subprocess.run(["mount", "--bind", self.folder, self.folder], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", self.folder], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", self.folder], check=True)


class Limited:
    """The same for the process ``pid`` by a limit on what it writes."""

    def __init__(self, folder: Path):
        self.folder = folder

    @contextlib.contextmanager
    def full(self, pid: int, room: int = 0) -> Iterator[None]:
        """No file can have more than so many bytes."""
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (max(room, LITTLE), hard))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))

    def read_only(self, pid: int) -> contextlib.AbstractContextManager[None]:
        """Nothing at all can be written."""
        return self.full(pid)


def small(folder: Path) -> Small | Limited:
    """The fault as real as this process may make it."""
    folder.mkdir()
    try:
        return Small(folder)
    except (OSError, subprocess.CalledProcessError):
        return Limited(folder)


def run(module: str, scenario: str, folder: Path) -> str:
    """Runs ``module.scenario(disk)`` in such a process: what it printed, or AssertionError."""
    command = [sys.executable, "-m", "tests.storage.torture_disk", module, scenario, str(folder)]
    for namespace in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"], []):
        with contextlib.suppress(OSError):
            if not namespace or subprocess.run([*namespace, "true"], capture_output=True).returncode == 0:
                break
    done = subprocess.run([*namespace, *command], cwd=ROOT, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    return done.stdout


if __name__ == "__main__":
    end_with_parent()
    scenario = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
    scenario(small(Path(sys.argv[3]) / "disk"))
