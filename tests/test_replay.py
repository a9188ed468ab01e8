"""An old log is replayed: what is recorded, that it is recorded once, and that a bad file writes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cascade_otel.records import DAY_NS
from cascade_otel.replay import ReplayError, conditions, replay
from cascade_otel.statistics import calibration, deferral
from cascade_otel.storage import schema
from cascade_otel.storage.rollup import open_reader
from cascade_otel.storage.segments import Store

NOW = 1_790_000_000 * 10**9
PAIR = {"cheap": "a", "strong": "b", "threshold": 0.8}


def log(rows: int = 40) -> pd.DataFrame:
    """Two tasks in turn; every fourth confidence is below .8; one is missing."""
    number = np.arange(rows)
    confidence = np.where(number % 4 == 3, 0.5, 0.9)
    confidence[8] = np.nan
    return pd.DataFrame(
        {
            "task": np.where(number % 2, "odd", "even"),
            "split": "test",
            "cheap_model": "a",
            "cheap_confidence": confidence,
            "strong_model": "b",
            "cheap_correct": number % 5 != 0,
            "strong_correct": True,
            "cheap_cost_usd": 0.001,
            "strong_cost_usd": 0.01,
            "cheap_latency_ms": 200.0,
            "strong_latency_ms": 900.0,
            "cheap_tokens_in": 10,
            "cheap_tokens_out": 2,
        }
    )


def saved(table: pd.DataFrame, folder: Path, name: str = "log.csv") -> Path:
    path = folder / name
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    return path


def stored(root: Path) -> pd.DataFrame:
    with open_reader(Store(root, create=False)) as reader:
        first, last = reader.span_hours() or (0, 0)
        return reader.rows(None, first, last + 1, kind=None)


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_rows_are_recorded_as_the_cascade_would_have(tmp_path: Path, name: str):
    said = replay(saved(log(), tmp_path, name), tmp_path / "store", **PAIR, now_ns=NOW)
    rows = stored(tmp_path / "store")
    calls, tiers = rows[rows["kind"] == schema.CASCADE], rows[rows["kind"] == schema.TIER]
    cheap, strong = tiers[tiers["tier"] == "cheap"], tiers[tiers["tier"] == "strong"]
    assert (said.calls, said.escalated) == (40, 11)
    assert (len(calls), len(cheap), len(strong)) == (40, 40, 40)
    assert cheap["reason"].value_counts().to_dict() == {"low_confidence": 10, "missing_confidence": 1}
    assert (strong["purpose"] == "audit").sum() == 29
    assert set(calls.loc[calls["escalated"], "cost_nano"]) == {11_000_000.0}
    assert set(calls.loc[~calls["escalated"], "cost_nano"]) == {1_000_000.0}
    assert set(calls.loc[calls["escalated"], "duration_ns"]) == {1_100_000_000}
    assert (rows["kind"] == schema.LABEL).sum() == 80


def test_a_second_replay_adds_nothing_also_on_another_day(tmp_path: Path):
    file = saved(log(), tmp_path)
    first = replay(file, tmp_path / "store", **PAIR, now_ns=NOW)
    before = stored(tmp_path / "store")
    second = replay(file, tmp_path / "store", **PAIR, now_ns=NOW + 3 * DAY_NS)
    assert (first.rows_present, second.rows_added, second.rows_present) == (0, 0, first.rows_added)
    assert "nothing added" in str(second)
    pd.testing.assert_frame_equal(stored(tmp_path / "store"), before)


def test_rows_are_known_by_their_place_in_the_file(tmp_path: Path):
    table = log().set_index(pd.Index([7] * 40))
    replay(saved(table, tmp_path, "indexed.parquet"), tmp_path / "store", **PAIR, now_ns=NOW)
    calls = stored(tmp_path / "store").query("kind == 0")
    assert (len(calls), calls["trace_lo"].nunique()) == (40, 40)


def test_a_replay_that_was_cut_off_is_completed(tmp_path: Path):
    file = saved(log(), tmp_path)
    whole = replay(file, tmp_path / "store", **PAIR, now_ns=NOW)
    segments = sorted((tmp_path / "store").glob("day=*/*.parquet"))
    segments[0].unlink()
    again = replay(file, tmp_path / "store", **PAIR, now_ns=NOW + DAY_NS)
    assert again.rows_added > 0
    assert again.rows_added + again.rows_present == whole.rows_added == len(stored(tmp_path / "store"))


def test_rows_of_another_selection_of_the_same_file_are_added(tmp_path: Path):
    table = log().assign(split=lambda rows: np.where(rows.index < 20, "train", "test"))
    file = saved(table, tmp_path)
    replay(file, tmp_path / "store", **PAIR, where={"split": "train"}, now_ns=NOW)
    replay(file, tmp_path / "store", **PAIR, where={"split": "test"}, now_ns=NOW)
    assert (stored(tmp_path / "store")["kind"] == schema.CASCADE).sum() == 40


def test_rows_without_time_are_spread_evenly_over_the_last_days(tmp_path: Path):
    replay(saved(log(280), tmp_path), tmp_path / "store", **PAIR, now_ns=NOW)
    rows = stored(tmp_path / "store")
    calls = rows[rows["kind"] == schema.CASCADE]
    assert calls["start_ns"].min() >= NOW - 14 * DAY_NS
    assert calls["start_ns"].max() <= NOW
    for _, own in calls.groupby("task"):
        gaps = np.diff(np.sort(own["start_ns"]))
        assert gaps.max() - gaps.min() <= 2
        assert gaps.mean() == pytest.approx(DAY_NS / 10)


@pytest.mark.parametrize(
    "times", ["2026-05-31T12:00:00Z", "2026-05-31 12:00:00", 1_780_228_800, 1_780_228_800.0]
)
def test_a_timestamp_is_kept(tmp_path: Path, times: object):
    replay(saved(log().assign(timestamp=times), tmp_path), tmp_path / "store", **PAIR, now_ns=NOW)
    rows = stored(tmp_path / "store")
    assert set(rows.loc[rows["kind"] == schema.CASCADE, "start_ns"]) == {1_780_228_800 * 10**9}


def test_a_log_that_knows_only_confidences_is_enough(tmp_path: Path):
    table = log()[["task", "cheap_model", "cheap_confidence", "strong_model"]]
    assert replay(saved(table, tmp_path), tmp_path / "store", **PAIR, now_ns=NOW).escalated == 11
    rows = stored(tmp_path / "store")
    assert (rows["purpose"] == "audit").sum() == 0
    assert rows["cost_nano"].isna().all()
    assert (rows["kind"] == schema.LABEL).sum() == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.drop(columns="cheap_confidence"), "rename cheap_confidence"),
        (lambda rows: rows.assign(cheap_confidence=7), "cheap_confidence of row 1 is 7"),
        (lambda rows: rows.assign(cheap_confidence="high"), "cheap_confidence of row 1 is high"),
        (lambda rows: rows.assign(strong_cost_usd=-1), "not below 0"),
        (lambda rows: rows.assign(cheap_correct="perhaps"), "true or false"),
        (lambda rows: rows.assign(timestamp="yesterday"), "timestamp of row 1"),
        (lambda rows: rows.assign(task=None), "row 1 has no task"),
        (lambda rows: rows.iloc[:0], "no rows"),
        (lambda rows: rows.assign(cheap_model="c"), "--cheap a arrived"),
        (lambda rows: rows.assign(strong_model="c"), "type one of c"),
    ],
)
def test_a_bad_file_is_told_in_one_line_and_nothing_is_written(tmp_path: Path, change, said: str):
    file = saved(change(log()), tmp_path)
    with pytest.raises(ReplayError, match=said) as error:
        replay(file, tmp_path / "store", **PAIR, now_ns=NOW)
    assert "\n" not in str(error.value)
    assert "wanted" in str(error.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "content", [b"", b"PAR1 and no more", b"\x00\xff\xfe", b"no,such\n", b"task\nred,1\n"]
)
def test_what_is_no_table_is_told_in_one_line(tmp_path: Path, content: bytes):
    file = tmp_path / "log"
    file.write_bytes(content)
    with pytest.raises(ReplayError, match="wanted") as error:
        replay(file, tmp_path / "store", **PAIR)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_impossible_options_are_told(tmp_path: Path):
    with pytest.raises(ReplayError, match="is no file"):
        replay(tmp_path / "absent.csv", tmp_path / "store", **PAIR)
    file = saved(log(), tmp_path)
    with pytest.raises(ReplayError, match="--threshold 7 arrived"):
        replay(file, tmp_path / "store", cheap="a", strong="b", threshold=7)
    with pytest.raises(ReplayError, match="--over 0 arrived"):
        replay(file, tmp_path / "store", **PAIR, over_days=0)
    with pytest.raises(ReplayError, match="type one of test"):
        replay(file, tmp_path / "store", **PAIR, where={"split": "train"})
    with pytest.raises(ReplayError, match="a column of"):
        replay(file, tmp_path / "store", **PAIR, where={"language": "de"})


def test_conditions_are_read_from_text():
    assert conditions("dataset=mmlu, split=test") == {"dataset": "mmlu", "split": "test"}
    assert conditions("") == {}
    with pytest.raises(ReplayError, match="COLUMN=VALUE"):
        conditions("split")


@pytest.fixture(scope="module")
def published(
    published_logs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pd.DataFrame, pd.Series, Path]:
    """The log of a real cascade, its published figures, and a store it was replayed into."""
    where = {"dataset": "zellinger_mmlu", "split": "test"}
    store = tmp_path_factory.mktemp("published") / "store"
    replay(
        published_logs / "pairs.parquet",
        store,
        cheap="gpt-4o-mini",
        strong="gpt-4o",
        threshold=0.9,
        where=where,
        now_ns=NOW,
    )
    pairs = pd.read_parquet(published_logs / "pairs.parquet")
    chosen = (
        (pairs["dataset"] == where["dataset"])
        & (pairs["split"] == where["split"])
        & (pairs["cheap_model"] == "gpt-4o-mini")
        & (pairs["strong_model"] == "gpt-4o")
    )
    summary = pd.read_csv(published_logs / "summary.csv")
    figures = summary[
        (summary["dataset"] == where["dataset"])
        & (summary["split"] == where["split"])
        & (summary["cheap"] == "gpt-4o-mini")
        & (summary["strong"] == "gpt-4o")
        & (summary["task"] == "ALL")
    ]
    assert len(figures) == 1
    return pairs[chosen], figures.iloc[0], store


def test_rates_of_a_published_cascade_equal_the_files(published: tuple[pd.DataFrame, pd.Series, Path]):
    log, _, root = published
    expected = (log["cheap_confidence"] < 0.9).groupby(log["task"]).mean()
    with open_reader(Store(root, create=False)) as reader:
        first, last = reader.span_hours() or (0, 0)
        hours = reader.task_hours(first, last + 1)
    rates = pd.Series(hours.escalated.sum(1) / hours.calls.sum(1), list(hours.tasks))
    pd.testing.assert_series_equal(rates, expected, check_names=False)


def test_figures_of_a_published_cascade_are_reproduced(published: tuple[pd.DataFrame, pd.Series, Path]):
    _, figures, root = published
    with open_reader(Store(root, create=False)) as reader:
        first, last = reader.span_hours() or (0, 0)
        labels = reader.labels(first, last + 1)
    cheap = labels[labels["tier"] == "cheap"].set_index(["trace_hi", "trace_lo"])
    strong = labels[labels["tier"] == "strong"].set_index(["trace_hi", "trace_lo"]).loc[cheap.index]
    confidence, right = cheap["confidence"].to_numpy(float), cheap["correct"].to_numpy(bool)
    assert calibration.ece(confidence, right) == pytest.approx(figures["ece10"], abs=1e-4)
    assert calibration.auroc(confidence, right) == pytest.approx(figures["auroc"], abs=1e-4)
    found = deferral.audc(confidence, right, strong["correct"].to_numpy(bool))
    assert found == pytest.approx(figures["audc"], abs=1e-4)
