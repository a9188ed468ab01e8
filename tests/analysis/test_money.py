from dataclasses import replace
from pathlib import Path

import pytest

from cascade_otel.analysis.money import cost_change_per_day
from cascade_otel.records import Finding, Window
from cascade_otel.storage.reading.rollup import Reader, open_reader
from tests.analysis import made_up
from tests.analysis.made_up import END

FINDING = Finding(
    "threshold", "small", "escalation_rate", "drifting", END - 1,
    reference=Window(END - 504, END - 168, 1, 0), current=Window(END - 48, END, 1, 0), since_hour=END - 48,
)  # fmt: skip


def test_the_cost_a_day_is_what_more_escalations_cost_at_present_traffic(reader: Reader) -> None:
    history = reader.task_hours(END - 504, END)
    index = history.tasks.index("threshold")
    reference = (history.hours >= END - 504) & (history.hours < END - 168)
    current = history.hours >= END - 48
    rates = [
        history.escalated[index, part].sum() / history.calls[index, part].sum()
        for part in (reference, current)
    ]
    per_day = history.calls[index, current].sum() / 2
    found, currency = cost_change_per_day(reader, FINDING)
    assert currency == "USD"
    assert found == pytest.approx((rates[1] - rates[0]) * 0.009 * per_day)


def test_without_costs_the_change_is_unknown_not_zero(tmp_path: Path) -> None:
    frames = [
        frame.drop(columns=["cheap_cost_nano", "strong_cost_nano"])
        for frame in made_up.history({"threshold": made_up.STEADY})
    ]
    with open_reader(made_up.write(tmp_path, frames)) as reader:
        assert cost_change_per_day(reader, FINDING) == (None, "USD")
        assert cost_change_per_day(reader, replace(FINDING, current=None)) == (None, "USD")
