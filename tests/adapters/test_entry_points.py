"""Our entry points under ``opentelemetry-instrument``: silent where a framework is not installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from cascade_otel.adapters._instrumentor import CascadeInstrumentor

FRAMEWORKS = ("litellm", "langchain", "langchain_core", "langgraph", "pydantic_ai", "dspy", "cascadeflow")
WITHOUT_FRAMEWORKS = f"""
import logging, sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FRAMEWORKS}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
logging.basicConfig(level=LEVEL, stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")
from opentelemetry.instrumentation.auto_instrumentation._load import _load_instrumentors
from opentelemetry.instrumentation.distro import DefaultDistro
_load_instrumentors(DefaultDistro())
print("loaded")
"""


def loaded(level: str) -> str:
    """What loading the instrumentations says at a level of logging, with no framework installed."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_FRAMEWORKS.replace("LEVEL", f"logging.{level}")],
        env={"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "openai,threading", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_the_frameworks_nothing_is_said() -> None:
    assert loaded("INFO") == "loaded\n"


def test_each_entry_point_is_an_instrumentor_with_a_package() -> None:
    ours = [
        each for each in entry_points(group="opentelemetry_instrumentor") if each.name.startswith("cascade-")
    ]
    assert len(ours) == 5
    for each in ours:
        kind = each.load()
        assert issubclass(kind, CascadeInstrumentor)
        assert kind().instrumentation_dependencies() == [kind.package]


@pytest.mark.parametrize("name", ["litellm", "langchain", "pydantic_ai", "dspy", "cascadeflow"])
def test_an_adapter_imports_its_framework_only_when_it_is_switched_on(name: str) -> None:
    code = f"import sys, cascade_otel.adapters.{name}; print(sorted({{*{FRAMEWORKS}}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_without_opentelemetrys_own_part_an_adapter_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['opentelemetry.instrumentation.instrumentor'] = None\n"
        "import cascade_otel.adapters.litellm"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert 'pip install "cascade-otel[auto]"' in done.stderr.splitlines()[-1]
