"""Starts Evidently in a process of its own, which may not phone home, and says in words what went wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cascade_otel.records import UserError

STANDARD_ERROR = 2


def run(arguments: Sequence[str], folder: Path, timeout_s: float, told: bool = False) -> None:
    """Runs ``evidently_child`` with ``arguments``, the names of files in ``folder``.

    Where it is to be ``told``, the child's progress goes to standard error. Raises UserError where Evidently
    fails, is not installed or takes longer than ``timeout_s`` seconds.
    """
    package = Path(__file__).parents[2]
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"DO_NOT_TRACK": "1", "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "cascade_otel.presentation.evidently_child", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=STANDARD_ERROR if told else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"Evidently took more than {timeout_s:g} s and was stopped; try again when the machine is idle"
        ) from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise UserError(
            f"Evidently ended with status {done.returncode} and said: {said}; wanted: evidently 0.7.23, "
            "type: pip install 'cascade-otel[watch]'"
        )
