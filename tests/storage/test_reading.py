"""In whatever order rows came, how often, and what was compacted of them: answers are those of the rows."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cascade_otel.records import DAY_NS, HOUR_NS
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.reading.rollup import Reader, open_reader
from cascade_otel.storage.segments import Store
from tests.storage import slow_reference as slow
from tests.storage.storage_samples import DAY, KILLS

START, END = DAY * 24, DAY * 24 + 48
TABLE = slow.hostile(240, seed=1)
ROWS = slow.listed(TABLE)


def check(reader: Reader, rows: list[slow.Row], start: int = START, end: int = END) -> None:
    """Every question, of the hours asked for."""
    within = [row for row in rows if start <= row["hour"] < end]
    whole = [row for row in rows if start // 24 <= row["hour"] // 24 <= (end - 1) // 24]
    assert slow.sums_of(reader.sums(start, end)) == slow.sums(within)
    assert slow.cells_of(reader.cells(start, end, "confidence")) == slow.cells(within, "confidence")
    for measure in ("latency", "cost"):
        assert slow.cells_of(reader.cells(start, end, measure)) == slow.cells(whole, measure)
    hours, expected = reader.task_hours(start, end), slow.task_hours(rows, start, end)
    assert (hours.tasks, hours.tiers) == (expected.tasks, expected.tiers)
    for name in ("hours", "calls", "escalated", "confidence", "threshold_cell"):
        np.testing.assert_array_equal(getattr(hours, name), getattr(expected, name), err_msg=name)


def check_checks(reader: Reader, rows: list[slow.Row]) -> None:
    """Labels and audits of everything."""
    labels, audits = reader.labels(START, END), reader.audits(START, END)
    assert {
        (
            one["trace_hi"],
            one["trace_lo"],
            one["tier"],
            one["task"],
            _nano(one),
            one["correct"],
            one["weight"],
        )
        for one in labels.to_dict("records")
    } == slow.labels(rows)
    assert len(labels) == len(slow.labels(rows))
    keys = ("trace_hi", "trace_lo", "task", "tier", "hour")
    assert {
        (*(one[key] for key in keys), _nano(one), one["agreed"], one["weight"], _known(one["cost_nano"]),
         one["audit_tier"])
        for one in audits.to_dict("records")
    } == {
        (*one[:-2], None if one[-2] is None else float(one[-2]), one[-1]) for one in slow.audits(rows)
    }  # fmt: skip
    assert len(audits) == len(slow.audits(rows))


def _nano(one: dict[str, Any]) -> int | None:
    return None if np.isnan(one["confidence"]) else round(one["confidence"] * 1e9)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


@pytest.mark.parametrize("compacted", [False, True])
def test_answers_are_those_of_the_rows(tmp_path: Path, compacted: bool) -> None:
    store = Store(tmp_path)
    store.append(TABLE)
    if compacted:
        with Compactor(store, grace_s=0) as compactor:
            compactor.run((DAY + 2) * DAY_NS)
            assert not store.live(DAY).small
    with open_reader(store) as reader:
        check(reader, ROWS)
        check(reader, ROWS, START + 5, END - 7)
        check_checks(reader, ROWS)


@settings(max_examples=KILLS // 2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_neither_order_nor_repeats_nor_compaction_change_an_answer(tmp_path: Path, dice: Any) -> None:
    """Pieces come in any order, some twice; between them somebody compacts, and one reader asks all along."""
    store = Store(tempfile.mkdtemp(dir=tmp_path))
    edges = [0, *sorted(dice.sample(range(1, len(ROWS)), 3)), len(ROWS)]
    pieces = list(itertools.pairwise(edges))
    dice.shuffle(pieces)
    pieces += [tuple(sorted(dice.sample(range(len(ROWS)), 2))) for _ in range(1)]
    come: set[int] = set()
    with open_reader(store) as reader, Compactor(store, grace_s=0) as compactor:
        for step, (first, last) in enumerate(pieces):
            store.append(TABLE.slice(first, last - first))
            come |= {*range(first, last)}
            if dice.random() < 0.5:
                compactor.run((DAY + 1) * DAY_NS + step * HOUR_NS)
            if dice.random() < 0.3:
                check(reader, [ROWS[at] for at in sorted(come)])
        check(reader, ROWS)
        check_checks(reader, ROWS)
        assert reader.last_seen()["spans"].sum() == len(ROWS)
        assert len(reader.rows(None, START, END, kind=None, columns=["span_id"])) == len(ROWS)
