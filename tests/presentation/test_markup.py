from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_otel.presentation import markup
from cascade_otel.presentation.sentences import Line

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "![](http://x/y.png)",
    "a&b",
    "a\nb",
    "javascript:x",
)


def test_the_worst_line_gives_the_colour() -> None:
    html = markup.banner([Line("good", None, "a"), Line("bad", "t", "b")])
    assert f"rgb({markup.COLOURS['bad']})" in html
    assert 'aria-label="Alert"' in html


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text(name: str) -> None:
    html = markup.banner([Line("bad", name, f"is drifting because of {name}")], "7d")
    assert set(re.findall(r"<(\w+)", html)) <= {"div", "a", "strong"}
    assert html.count('href="task?') == 1


@given(st.text())
def test_a_tasks_address_leads_back_to_its_name(name: str) -> None:
    name = name.encode("utf-8", "replace").decode()
    asked = parse_qs(urlsplit(markup.task_address(name, "7d")).query, keep_blank_values=True)
    assert asked == {"task": [name], "range": ["7d"]}


def test_text_and_headings_are_escaped() -> None:
    assert "<b>" not in markup.text("<b>") + markup.heading("<b>", "<b>")
