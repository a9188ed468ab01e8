from __future__ import annotations

from pathlib import Path

from cascade_otel.presentation import source
from cascade_otel.presentation.source import Source
from cascade_otel.records import HOUR_NS
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store
from cascade_otel.storage.state import State
from tests.presentation.small_store import NOW_HOUR, Built, alert, findings


def test_the_environment_names_store_and_state() -> None:
    assert source.from_environment({}) == Source(Path("cascade-store"), Path("cascade-store/state.sqlite"))
    assert source.from_environment({"CASCADE_OTEL_STORE": "/a"}).state == Path("/a/state.sqlite")
    both = {"CASCADE_OTEL_STORE": "/a", "CASCADE_OTEL_STATE": "/b.sqlite"}
    assert source.from_environment(both) == Source(Path("/a"), Path("/b.sqlite"))


def test_nothing_there_is_no_error() -> None:
    nowhere = Source(Path("/nowhere"), Path("/nowhere/state.sqlite"))
    assert not nowhere.exists
    assert nowhere.version == ""


def test_the_version_changes_with_a_segment_and_not_by_looking(tmp_path: Path) -> None:
    place = Source(tmp_path / "store", tmp_path / "store" / "state.sqlite")
    store = Store(place.store)
    seen = [place.version]
    (place.store / "day=1").mkdir()
    seen.append(place.version)
    (store.root / "day=1" / "s-1.parquet").touch()
    seen.append(place.version)
    assert len(set(seen)) == len(seen)
    with State(place.state) as state:
        state.findings()
    assert place.version == seen[-1]


def test_resolved_alerts_are_left_out(tmp_path: Path) -> None:
    with State(tmp_path / "state.sqlite") as state:
        for status in ("pending", "firing", "resolved", "no_data"):
            state.put_alert(alert(findings()[2], status=status, fingerprint=status))
        assert {one.status for one in source.watch(state).alerts} == {"pending", "firing", "no_data"}


def test_reach_is_the_end_of_the_newest_call(built: Built) -> None:
    with built.reader() as reader:
        found = source.reach(reader)
    assert found is not None
    assert (found.first_hour, found.last_hour) == (NOW_HOUR - 240, NOW_HOUR)
    assert found.last_ns == NOW_HOUR * HOUR_NS + 4 * (HOUR_NS // 100) + 500_000_000


def test_an_empty_store_reaches_nowhere(tmp_path: Path) -> None:
    with open_reader(Store(tmp_path)) as reader:
        assert source.reach(reader) is None
