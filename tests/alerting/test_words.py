"""Names, numbers and times in words."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cascade_otel.alerting import words
from cascade_otel.records import HOUR_NS, Effect

ISOLATES = "\u2068\u2069"


@given(st.text(max_size=100))
@example("<!channel> <https://evil.example|all well>")
@example("a\n[RESOLVED] all is well\r\n")
@example("\u202egro.live\u202c")
@example("![](http://evil.example/beacon.png)")
@example("@everyone `rm` \x1b[31m")
@example("\ud800 lone surrogate")
@example("x" * 10_000)
def test_a_name_is_one_short_line_that_commands_nothing(text: str) -> None:
    shown = words.name(text)
    plain = shown.strip(ISOLATES)
    assert not set(plain) & set("<>@`\\\n\r")
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in plain)
    assert "://" not in shown
    assert "](" not in shown
    assert len(text) < words.LONGEST_NAME or len(shown) <= 10 * words.LONGEST_NAME


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("organic", "organic"),
        ("Größe", "Größe"),
        ("unit price", '"unit price"'),
        ("", '""'),
        ("a\nb", '"a[U+000A]b"'),
        ("<!channel>", '"‹!channel›"'),
        ('say "yes"', "\"say 'yes'\""),
        ("http://x", '"http:∕∕x"'),
        ("מחיר", "\u2068מחיר\u2069"),
        ("\u202eabc", '"[U+202E]abc"'),
        ("=cmd()", '"=cmd()"'),
        ("../../etc/passwd", "../../etc/passwd"),
        ("x" * 61, '"' + "x" * 59 + '…"'),
    ],
)
def test_names_as_they_are_shown(text: str, shown: str) -> None:
    assert words.name(text) == shown


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.5, "50 %"),
        (0.31385, "31.4 %"),
        (0.9999, "over 99.9 %"),
        (0.0004, "0.04 %"),
        (float("nan"), "unknown"),
        (None, "unknown"),
    ],
)
def test_a_percentage_is_never_rounded_to_none_or_all(fraction: float | None, shown: str) -> None:
    assert words.percent(fraction) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(3.2, "+3.20 USD"), (-1234.5, "-1,234.50 USD"), (0.00123, "+0.0012 USD"), (0.0, "+0.00 USD")],
)
def test_small_amounts_keep_digits_that_say_something(amount: float, shown: str) -> None:
    assert words.money(amount, "USD", sign=True) == shown


def test_a_change_that_is_rounded_away_has_no_sign() -> None:
    assert words.points(-0.01) == "0.0"
    assert words.points(10.24) == "+10.2"


def test_an_effect_has_its_interval_unless_it_is_none() -> None:
    assert words.effect(Effect(10.2, 8.8, 11.9)) == "+10.2 points (90 %: +8.8 to +11.9)"
    assert words.effect(Effect(0.0, 0.0, 0.0)) == "0.0"


@pytest.mark.parametrize(
    ("hours", "shown"),
    [
        (0.0, "0 minutes"),
        (1 / 60, "1 minute"),
        (1.5, "90 minutes"),
        (26, "26 hours"),
        (50, "2 days"),
        (20_000, "2 years"),
    ],
)
def test_a_stretch_of_time_in_the_unit_that_suits_it(hours: float, shown: str) -> None:
    assert words.stretch(hours) == shown


def test_times_are_in_utc_whatever_the_machine_thinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    assert words.hour(493_000) == "29 Mar 2026 16:00"
    assert words.iso(493_000 * HOUR_NS) == "2026-03-29T16:00:00Z"
