"""Spans put aside are kept with their reasons, in bounded room."""

from __future__ import annotations

from cascade_otel.storage import put_aside
from cascade_otel.storage.decode import PutAside


def test_what_was_kept_is_read_in_order(tmp_path):
    put_aside.keep(
        tmp_path, [PutAside("trace id", "01", "shop τ\n"), PutAside("x: out of range", "02", "", "x")]
    )
    put_aside.keep(tmp_path, [PutAside("span id", "03", "shop")])
    lines = list(put_aside.kept(tmp_path))
    assert [line["span_id"] for line in lines] == ["01", "02", "03"]
    assert (lines[0]["service"], lines[1]["attribute"]) == ("shop τ\n", "x")


def test_nothing_to_keep_makes_no_file(tmp_path):
    put_aside.keep(tmp_path, [])
    assert list(tmp_path.iterdir()) == []
    assert list(put_aside.kept(tmp_path)) == []


def test_the_oldest_go_when_there_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(put_aside, "MAX_BYTES", 20_000)
    for number in range(1_000):
        put_aside.keep(tmp_path, [PutAside("trace id", f"{number:016x}", "shop")])
    ids = [int(line["span_id"], 16) for line in put_aside.kept(tmp_path)]
    assert ids == list(range(1_000 - len(ids), 1_000))
    assert 50 < len(ids) < 1_000
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 21_000


def test_a_line_half_written_is_left_out(tmp_path):
    put_aside.keep(tmp_path, [PutAside("trace id", "01", "shop")])
    with open(tmp_path / "put_aside.jsonl", "ab") as out:
        out.write(b'{"time": 1, "rea\xff')
    assert [line["span_id"] for line in put_aside.kept(tmp_path)] == ["01"]
