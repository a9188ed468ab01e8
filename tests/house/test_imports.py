"""What is loaded when: the walls that the import contracts cannot see."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIGHT = """
import sys
import opentelemetry.metrics, opentelemetry.trace
before = set(sys.modules)
import cascade_otel
from cascade_otel import cascade, tier, scorer, annotate, record_call
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names) - {"cascade_otel"}))
print(*sorted(name for name in sys.modules if name.startswith("opentelemetry.sdk")))
"""


def loaded(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_importing_the_recording_side_loads_the_api_and_the_standard_library_only() -> None:
    others, sdk = loaded(LIGHT)
    assert others == ""
    assert sdk == ""


@pytest.mark.parametrize("module", ["job", "presentation.drift_report", "presentation.cached"])
def test_evidently_is_imported_by_no_process_of_ours_but_its_own_child(module: str) -> None:
    program = (
        f"import sys, cascade_otel.{module}; print([m for m in sys.modules if m.startswith('evidently')])"
    )
    assert loaded(program) == ["[]"]
