"""The pages that say what is survived name tests that there are, at least one for each row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.generated import ROOT

FOLDER = ROOT / "docs" / "explanation"
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows(page: Path) -> list[str]:
    return [line for line in page.read_text().splitlines() if line.startswith("| ")][1:]


@pytest.mark.parametrize("page", ["what-it-survives.md", "what-the-store-survives.md"])
def test_every_row_names_tests_that_exist(page: str) -> None:
    assert len(rows(FOLDER / page)) > 20
    for row in rows(FOLDER / page):
        named = TEST.findall(row.rsplit("|", 2)[1])
        assert named, row
        for file, test in named:
            written = (ROOT / "tests" / file).read_text()
            assert re.search(rf"^(async )?def {test}\(", written, re.MULTILINE), f"{file}::{test}"
