"""The dashboard's two pages, as its server computes them; no drift job has run, so nothing is judged."""

from __future__ import annotations

from cascade_otel.presentation import frames, periods, source, task_page
from cascade_otel.storage.reading.rollup import Reader


def first_screen(reader: Reader, chosen: str, end_hour: int) -> frames.Now:
    """The first screen of a range that ends with the data."""
    source.reach(reader)
    return frames.now(reader, source.Watch(), periods.period(chosen, end_hour, end_hour - 1))


def task_screen(reader: Reader, task: str, chosen: str, end_hour: int) -> task_page.Labelled:
    """The page of one task, what its labels tell included."""
    source.reach(reader)
    period = periods.period(chosen, end_hour, end_hour - 1)
    return task_page.labelled_page(reader, task_page.task_page(reader, source.Watch(), task, period), period)
