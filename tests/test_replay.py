"""An old log is replayed: what is recorded, that it is recorded once, and that a bad file writes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cascade_otel.analysis.value import summary as value
from cascade_otel.records import DAY_NS
from cascade_otel.replay import ReplayError, conditions, replay
from cascade_otel.storage import schema, segments
from cascade_otel.storage.reading.rollup import open_reader
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


def test_a_cut_off_call_is_completed_at_its_own_time(tmp_path: Path):
    """What is missing of a call that the store has belongs to that call, also if it is added days later."""
    file, root = saved(log(400), tmp_path), tmp_path / "store"
    replay(file, root, **PAIR, now_ns=NOW)
    whole = stored(root)
    last = sorted(root.glob("day=*/*.parquet"))[-1]
    kept = pq.read_table(last)
    pq.write_table(kept.filter(pc.not_equal(kept["kind"], schema.LABEL)), last)
    assert replay(file, root, **PAIR, now_ns=NOW + 3 * DAY_NS).rows_added > 0
    order = ["start_ns", "span_id"]
    pd.testing.assert_frame_equal(
        stored(root).sort_values(order, ignore_index=True), whole.sort_values(order, ignore_index=True)
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"threshold": 0.4}, "--threshold 0.4 arrived, and .* has tasks of this file with --threshold 0.8"),
        ({"cheap": "c"}, "--cheap c arrived, and .* has tasks of this file with --cheap a"),
        ({"strong": "d"}, "--strong d arrived, and .* has tasks of this file with --strong b"),
    ],
)
def test_another_threshold_or_pair_goes_to_another_store(tmp_path: Path, changed, said: str):
    """A call has one truth in a store, and a task of a log one cascade."""
    others = [log().assign(cheap_model="c"), log().assign(strong_model="d")]
    file, root = saved(pd.concat([log(), *others]), tmp_path), tmp_path / "store"
    replay(file, root, **PAIR, now_ns=NOW)
    before = stored(root)
    with pytest.raises(ReplayError, match=said) as error:
        replay(file, root, **(PAIR | changed), now_ns=NOW)
    assert "type another --store DIR" in str(error.value)
    pd.testing.assert_frame_equal(stored(root), before)
    assert replay(file, tmp_path / "other", **(PAIR | changed), now_ns=NOW).rows_added > 0


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
        (lambda rows: rows.assign(strong_cost_usd=-1), "a number from 0 to 1e\\+06"),
        (lambda rows: rows.assign(cheap_correct="perhaps"), "true or false"),
        (lambda rows: rows.assign(cheap_cost_usd=1e12), "cheap_cost_usd of row 1 is 1000000000000"),
        (lambda rows: rows.assign(strong_latency_ms=1e15), "strong_latency_ms of row 1 is 1000000000000000"),
        (lambda rows: rows.assign(cheap_tokens_out=3e9), "a number from 0 to 2e\\+09"),
        (lambda rows: rows.assign(input_chars=1e16), "a number from 0 to 1e\\+15"),
        (lambda rows: rows.assign(timestamp="yesterday"), "timestamp of row 1 is 'yesterday'"),
        (lambda rows: rows.assign(timestamp="1900-01-01T00:00:00Z"), "a time from 1970 to tomorrow"),
        (lambda rows: rows.assign(timestamp="9999-01-01T00:00:00Z"), "a time from 1970 to tomorrow"),
        (lambda rows: rows.assign(timestamp=1_780_228_800_000), "timestamp of row 1 is '1780228800000'"),
        (lambda rows: rows.assign(timestamp=NOW // 10**9 + 2 * 86_400), "a time from 1970 to tomorrow"),
        (lambda rows: rows.assign(timestamp=-1), "timestamp of row 1 is '-1'"),
        (lambda rows: rows.assign(timestamp=True), "timestamp of row 1 is 'True'"),
        (lambda rows: rows.assign(task=None), "row 1 has no task"),
        (lambda rows: rows.assign(task=" "), "row 1 has no task"),
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
    ("column", "values", "said"),
    [
        ("task", [["shoes"]] * 40, "task of .* holds several values a row"),
        ("timestamp", [pd.Timedelta(days=3)] * 40, "timestamp of row 1 is '3 days"),
        ("timestamp", np.array(["9999-01-01"] * 40, "datetime64[us]"), "a time from 1970 to tomorrow"),
        ("timestamp", np.array(["1900-01-01"] * 40, "datetime64[us]"), "a time from 1970 to tomorrow"),
    ],
)
def test_types_that_only_parquet_has_are_told_too(tmp_path: Path, column: str, values, said: str):
    file = saved(log().assign(**{column: values}), tmp_path, "log.parquet")
    with pytest.raises(ReplayError, match=said):
        replay(file, tmp_path / "store", **PAIR, now_ns=NOW)
    assert not (tmp_path / "store").exists()


def test_two_columns_of_one_name_are_told(tmp_path: Path):
    table = pa.Table.from_pandas(log())
    pq.write_table(table.append_column("task", table["task"]), tmp_path / "log.parquet")
    with pytest.raises(ReplayError, match=r"Multiple matches .* wanted"):
        replay(tmp_path / "log.parquet", tmp_path / "store", **PAIR, now_ns=NOW)


def test_a_replay_that_fails_leaves_no_new_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    file = saved(log(), tmp_path)
    monkeypatch.setattr(segments, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        replay(file, tmp_path / "store", **PAIR, now_ns=NOW)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("content", [b"", b"PAR1"])
def test_a_store_that_is_a_file_or_broken_is_told_in_one_line(tmp_path: Path, content: bytes):
    file, store = saved(log(), tmp_path), tmp_path / "store"
    if content:
        (store / "day=20000").mkdir(parents=True)
        (store / "day=20000" / "s-torn.parquet").write_bytes(content)
    else:
        store.touch()
    with pytest.raises(ReplayError, match="cannot be read" if content else "is a file") as error:
        replay(file, store, **PAIR, now_ns=NOW)
    assert "\n" not in str(error.value)


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
    for over_days in (0, -1, 100_000, 1e9, float("nan"), float("inf")):
        with pytest.raises(ReplayError, match=f"--over {over_days:g} arrived".replace("+", r"\+")):
            replay(file, tmp_path / "store", **PAIR, over_days=over_days)
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
        pooled = value.summarise(reader)[-1]
    assert pooled.task is None
    names = {"auroc": "auroc", "ece": "ece10", "audc": "audc", "audc_normalised": "audc_norm"}
    for ours, theirs in names.items():
        assert getattr(pooled, ours) == pytest.approx(figures[theirs], abs=1e-4), ours
