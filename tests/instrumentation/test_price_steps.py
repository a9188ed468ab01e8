"""Exactly at a step of a price the cheaper rate still holds, as genai-prices has it."""

from __future__ import annotations

import pytest
from genai_prices import Usage, calc_price

from cascade_otel.instrumentation import _prices
from cascade_otel.instrumentation._prices import price
from cascade_otel.instrumentation._usage import Found

STEP = 200_000
"""Input tokens above which gemini-2.5-pro costs twice as much."""


@pytest.mark.parametrize("sent", [STEP - 1, STEP, STEP + 1])
def test_the_dearer_rate_begins_above_the_step(sent: int) -> None:
    _prices.begin_loading()
    _prices.wait_until_loaded()
    usage = Usage(input_tokens=sent, output_tokens=100)
    theirs = calc_price(usage, "gemini-2.5-pro", provider_id="google").total_price
    ours = price("gemini-2.5-pro", "gcp.gemini", Found(sent, 100))
    assert ours == pytest.approx(float(theirs), rel=1e-12)
    below = price("gemini-2.5-pro", "gcp.gemini", Found(1, 0)) or 0.0
    rate = (ours or 0.0) / sent
    assert (rate > 1.5 * below) == (sent > STEP)
