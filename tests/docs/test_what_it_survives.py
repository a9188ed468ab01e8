"""The page that says what is survived names tests that there are, at least one for each row."""

from __future__ import annotations

import re

from tests.docs.generated import ROOT

PAGE = ROOT / "docs" / "explanation" / "what-it-survives.md"
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows() -> list[str]:
    return [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]


def test_every_row_names_tests_that_exist() -> None:
    assert len(rows()) > 20
    for row in rows():
        named = TEST.findall(row.rsplit("|", 2)[1])
        assert named, row
        for file, test in named:
            written = (ROOT / "tests" / file).read_text()
            assert re.search(rf"^(async )?def {test}\(", written, re.MULTILINE), f"{file}::{test}"
