"""The wheel holds what a user needs, and the commands say what is missing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_dashboard_alerts_and_demo_data_are_shipped_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    for wanted in (
        "dashboard/app.py",
        "alerts/cascade.rules.yml",
        "alerts/runbooks.md",
        "examples/data/NOTICE",
        "examples/data/answers.parquet",
    ):
        assert f"cascade_otel/_bundled/{wanted}" in names
    assert "cascade_otel/py.typed" in names


def test_a_bare_install_brings_the_recording_side_only() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert all(name.startswith("opentelemetry-") for name in project["dependencies"])


def test_without_the_reading_side_a_command_says_what_to_install() -> None:
    """A bare install has the command, but not its rooms' libraries."""
    program = (
        "import sys; sys.modules['duckdb'] = None\n"
        "from cascade_otel import cli; sys.exit(cli.main(['summary', '--store', '.']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("pip install 'cascade-otel[watch]'")
    assert "Traceback" not in done.stderr


def test_no_requirement_names_a_registry() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        assert "://" not in path.read_text()
        assert "--hash=" in path.read_text()


def test_modules_can_be_read_at_one_sitting() -> None:
    """No module over 400 lines."""
    long = {
        str(p.relative_to(ROOT)): n
        for folder in ("cascade_otel", "dashboard", "tests", "examples", "benchmarks")
        for p in (ROOT / folder).rglob("*.py")
        if (n := len(p.read_text().splitlines())) > 400
    }
    assert not long
