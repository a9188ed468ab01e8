"""Every snippet of the README and the docs runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cascade_otel import cli, policy
from tests.docs.generated import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "alerts").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets(page: Path, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(page.read_text()) if kind == language]


def with_snippets(language: str) -> list[object]:
    return [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES if snippets(p, language)]


@pytest.mark.parametrize("page", with_snippets("python"))
def test_python_snippets_run_in_the_order_of_their_page(page: Path, tmp_path: Path) -> None:
    program = "\n".join(snippets(page, "python"))
    if files := snippets(page, "toml"):
        (tmp_path / "cascade.toml").write_text("\n".join(files))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", with_snippets("sh"))
def test_commands_in_shell_snippets_exist_with_these_options(page: Path) -> None:
    """A line that calls ``cascade-otel`` parses, a line that calls ``make`` names a target."""
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in "".join(snippets(page, "sh")).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and "=" in words[0]:
            words = words[1:]
        if words[:1] == ["cascade-otel"]:
            cli.parser().parse_args(words[1:])
        if words[:1] == ["make"]:
            assert set(words[1:]) <= targets, line


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


@pytest.mark.parametrize("page", with_snippets("toml"))
def test_policies_in_the_docs_are_accepted(page: Path) -> None:
    for text in snippets(page, "toml"):
        policy.parse(text, page.name)
