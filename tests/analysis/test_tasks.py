"""Which tasks there are, and on which whole days they had calls."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cascade_otel.analysis.watching.tasks import Tasks
from cascade_otel.storage.reading.rollup import open_reader
from tests.analysis import made_up
from tests.analysis.made_up import END, Traffic

TODAY = END // 24


def test_a_first_day_that_is_not_whole_and_the_one_in_progress_do_not_count(tmp_path: Path) -> None:
    frames = [
        made_up.calls(task, np.arange(first, END), 20, Traffic(), 1)
        for task, first in (("midnight", (TODAY - 3) * 24), ("later", (TODAY - 3) * 24 + 5))
    ]
    tasks = Tasks()
    with open_reader(made_up.write(tmp_path / "store", frames)) as reader:
        for now in (END, END + 1):
            tasks.refresh(reader, now)
            assert tasks.days("midnight", now).tolist() == [TODAY - 3, TODAY - 2, TODAY - 1]
            assert tasks.days("later", now).tolist() == [TODAY - 2, TODAY - 1]
    assert tasks.known["later"].tier == "small"
    assert (tasks.known["later"].model, tasks.known["later"].threshold) == ("small-latest", 0.8)
