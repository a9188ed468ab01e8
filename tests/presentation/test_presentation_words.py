from __future__ import annotations

import pytest

from cascade_otel.presentation import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.234, "23%"),
        (0.0421, "4.2%"),
        (0.0031, "0.31%"),
        (0.0, "0%"),
        (1.0, "100%"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_shares(value: float | None, text: str) -> None:
    assert words.share(value) == text


@pytest.mark.parametrize(("value", "text"), [(19.2, "+19"), (-4.24, "−4.2"), (0.04, "0.0"), (-0.04, "0.0")])
def test_points_carry_their_sign(value: float, text: str) -> None:
    assert words.points(value) == text


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (12.4, "USD", "$12.40"),
        (0.0031, "USD", "$0.0031"),
        (0.0000214, "USD", "$0.000021"),
        (-0.00099, "USD", "−$0.00099"),
        (1e-9, "USD", "$0.000000001"),
        (1240.4, "EUR", "€1,240"),
        (-5.1, "USD", "−$5.10"),
        (7.0, "CHF", "7.00 CHF"),
    ],
)
def test_money(amount: float, currency: str, text: str) -> None:
    assert words.money(amount, currency) == text


@pytest.mark.parametrize(
    ("passed", "text"),
    [(-3, "0 s"), (40, "40 s"), (720, "12 min"), (7200, "2 h"), (183_600, "2 d 3 h"), (30 * 86_400, "30 d")],
)
def test_ages(passed: float, text: str) -> None:
    assert words.age(passed) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.74, "740 ms"), (5.61, "5.6 s"), (186, "3.1 min"), (None, "–")]
)
def test_latencies(value: float | None, text: str) -> None:
    assert words.seconds(value) == text


@pytest.mark.parametrize(
    ("number", "text"), [(999, "999"), (12_345, "12,345"), (123_456, "123 k"), (4_560_000, "4.56 M")]
)
def test_counts(number: int, text: str) -> None:
    assert words.count(number) == text


def test_an_hour_is_told_in_utc() -> None:
    assert words.hour(0) == "1 Jan 00:00 UTC"
    assert words.hour(490_000) == "24 Nov 16:00 UTC"
    assert words.clock(490_000) == "16:00 UTC"
    assert words.clock(490_009) == "01:00 UTC"


def test_a_name_keeps_to_its_line() -> None:
    assert words.name("organic") == "organic"
    assert words.name("") == "(no name)"
    assert words.name("a\r\nb\x00c\u202ed") == "a□□b□c□d"
    assert len(words.name("x" * 10_000)) == words.NAME_LIMIT + 1
