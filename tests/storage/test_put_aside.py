"""Spans put aside are kept with their reasons, in bounded room, and counted however many there were."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cascade_otel.storage.otlp.decode import PutAside
from cascade_otel.storage.receiving import put_aside
from tests.storage.storage_samples import KILLS

ROOT = Path(__file__).parents[2]
WRITER = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from cascade_otel.storage.receiving import put_aside
from cascade_otel.storage.otlp.decode import PutAside
put_aside.MAX_BYTES = 40_000
store, name, first = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for number in range(first, first + int(sys.argv[4])):
    put_aside.keep(store, [PutAside(name, str(number), "s" * 200)] * 3)
    print(number, flush=True)
    time.sleep(0.001)
"""


def writer(store: Path, name: str, first: int, count: int) -> subprocess.Popen[str]:
    """A process that acknowledges on its standard output each three spans it has put aside."""
    command = [sys.executable, "-c", WRITER.format(root=str(ROOT)), str(store), name, str(first), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def counts(store: Path) -> dict[str, int]:
    return {reason: line["spans"] for reason, line in put_aside.counted(store).items()}


def test_what_was_kept_is_read_in_order(tmp_path):
    put_aside.keep(
        tmp_path, [PutAside("trace id", "01", "shop τ\n"), PutAside("x: out of range", "02", "", "x")]
    )
    put_aside.keep(tmp_path, [PutAside("span id", "03", "shop")])
    lines = list(put_aside.kept(tmp_path))
    assert [line["span_id"] for line in lines] == ["01", "02", "03"]
    assert (lines[0]["service"], lines[1]["attribute"]) == ("shop τ\n", "x")


def test_nothing_to_keep_makes_no_file(tmp_path):
    put_aside.keep(tmp_path, [], [{}, {}])
    assert list(tmp_path.iterdir()) == []
    assert list(put_aside.kept(tmp_path)) == []
    assert put_aside.counted(tmp_path) == {}


def test_spans_beyond_those_described_are_counted(tmp_path):
    described = [PutAside("trace id", "01", "shop")] * 2
    put_aside.keep(tmp_path, described, [{"trace id": 500, "span id": 7}, {"trace id": 2}])
    assert counts(tmp_path) == {"trace id": 502, "span id": 7}
    assert [line["spans"] for line in put_aside.kept(tmp_path)] == [1, 1, 500, 7]


def test_the_oldest_go_when_there_are_too_many_and_still_count(tmp_path, monkeypatch):
    monkeypatch.setattr(put_aside, "MAX_BYTES", 20_000)
    for number in range(1_000):
        put_aside.keep(tmp_path, [PutAside("trace id", f"{number:016x}", "shop")])
        if number == 3:
            put_aside.keep(tmp_path, [PutAside("once", "ff", "search", "x")])
    ids = [int(line["span_id"], 16) for line in put_aside.kept(tmp_path)]
    assert ids == list(range(1_000 - len(ids), 1_000))
    assert 50 < len(ids) < 1_000
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 21_000
    found = put_aside.counted(tmp_path)
    assert counts(tmp_path) == {"trace id": 1_000, "once": 1}
    assert found["trace id"]["span_id"] == f"{999:016x}"
    assert (found["once"]["service"], found["once"]["attribute"]) == ("search", "x")


def test_a_line_half_written_is_left_out_and_spoils_no_other(tmp_path):
    put_aside.keep(tmp_path, [PutAside("trace id", "01", "shop")])
    with open(tmp_path / "put_aside.jsonl", "ab") as out:
        out.write(b'{"time": 1, "rea\xff')
    assert [line["span_id"] for line in put_aside.kept(tmp_path)] == ["01"]
    put_aside.keep(tmp_path, [PutAside("trace id", "02", "shop")])
    assert [line["span_id"] for line in put_aside.kept(tmp_path)] == ["01", "02"]


def test_lines_without_a_number_count_one_span(tmp_path):
    """As they were written once."""
    line = {"time": 1.0, "reason": "trace id", "span_id": "01", "service": "", "attribute": ""}
    (tmp_path / "put_aside.jsonl").write_text(json.dumps(line) + "\n")
    put_aside.keep(tmp_path, [PutAside("trace id", "02", "shop")])
    assert counts(tmp_path) == {"trace id": 2}


def test_processes_write_at_once_and_no_span_is_uncounted(tmp_path):
    """While the files change places many times."""
    processes = [writer(tmp_path, name, 0, 200) for name in ("a", "b", "c")]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert counts(tmp_path) == {"a": 600, "b": 600, "c": 600}
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sum(sizes) < 45_000
    assert len(sizes) == 2


@pytest.mark.timeout(1800)
def test_writers_killed_anywhere_leave_files_that_count_right(tmp_path):
    dice = random.Random(2)
    tried = acknowledged = 0
    other = writer(tmp_path, "other", 0, 10_000_000)
    assert other.stdout is not None
    try:
        for _ in range(KILLS):
            process = writer(tmp_path, "killed", tried, 10_000_000)
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(dice.uniform(0, 0.05))
            process.kill()
            done = 1 + process.stdout.read().count("\n")
            process.wait()
            process.stdout.close()
            acknowledged, tried = acknowledged + done, tried + done + 1
            assert 3 * acknowledged <= counts(tmp_path)["killed"] <= 3 * tried
    finally:
        other.kill()
        done = other.stdout.read().count("\n")
        other.wait()
        other.stdout.close()
    assert 3 * done <= counts(tmp_path)["other"] <= 3 * (done + 1)


def test_a_full_disk_is_an_error_and_leaves_whole_lines(tmp_path):
    put_aside.keep(tmp_path, [PutAside("trace id", "01", "shop")])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            put_aside.keep(tmp_path, [PutAside("trace id", "02", "shop")] * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert counts(tmp_path) == {"trace id": 1}
    assert (tmp_path / "put_aside.jsonl").read_bytes().endswith(b"\n")
