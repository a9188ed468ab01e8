"""Counters are exact through kill -9, a full disk, and several writers at once."""

from __future__ import annotations

import random
import resource
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cascade_otel.records import HOUR_NS
from cascade_otel.storage.counters import NAME, Counters
from tests.storage.metric_samples import request
from tests.storage.storage_samples import KILLS, NOW_NS

ROOT = Path(__file__).parents[2]
WRITER = """
import sys, time
sys.path.insert(0, {root!r})
from cascade_otel.storage.counters import Counters
from tests.storage.metric_samples import request
from tests.storage.storage_samples import NOW_NS
store, name, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with Counters(store) as counters:
    for value in range(first, last + 1):
        assert counters.add(request(value, 2 * value, instance=name, time_ns=NOW_NS + value), NOW_NS) == {{}}
        print(value, flush=True)
"""


def writer(store: Path, name: str, first: int, last: int) -> subprocess.Popen[str]:
    """A process that acknowledges on its standard output every value it has added."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER.format(root=str(ROOT)), str(store), name, str(first), str(last)],
        stdout=subprocess.PIPE,
        text=True,
    )


def total(store: Path) -> int:
    return int(Counters(store).calls(0, 2 * NOW_NS // HOUR_NS)["n"].sum())


@pytest.mark.timeout(1800)
def test_a_writer_killed_anywhere_leaves_the_counters_exact(tmp_path):
    """What was acknowledged is there, and what is sent again by the next writer counts once."""
    dice = random.Random(1)
    done = 0
    for _ in range(KILLS):
        process = writer(tmp_path, "a", max(done, 1), 1_000_000)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(dice.uniform(0, 0.05))
        process.kill()
        rest = process.stdout.read().split()
        process.wait()
        process.stdout.close()
        done = max([done, *map(int, rest[:-1])])
        assert total(tmp_path) >= 3 * done
        assert total(tmp_path) % 3 == 0
    with Counters(tmp_path) as counters:
        found = total(tmp_path) // 3
        assert done <= found <= done + 2
        counters.add(request(found + 1, 2 * found + 2, instance="a", time_ns=NOW_NS + found + 1), NOW_NS)
    assert total(tmp_path) == 3 * (found + 1)


def test_processes_write_at_once(tmp_path):
    """Also one stream, of which each sends every value."""
    processes = [writer(tmp_path, name, 1, 100) for name in ("a", "b", "b")]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert total(tmp_path) == 600


def test_threads_share_one(tmp_path):
    with Counters(tmp_path) as counters:

        def add(name: str) -> None:
            for value in range(1, 41):
                counters.add(request(value, instance=name), NOW_NS)

        threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counters.counts.kept == 160
    assert total(tmp_path) == 160


def test_a_full_disk_is_an_error_and_nothing_is_half_counted(tmp_path):
    """It counts on by itself once there is room."""
    number = 0
    with Counters(tmp_path) as counters:

        def add_until_full() -> None:
            nonlocal number
            for number in range(200):
                counters.add(request(*range(1, 60), instance=str(number)), NOW_NS)

        counters.add(request(5), NOW_NS)
        used = max(path.stat().st_size for path in tmp_path.iterdir())
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (used + 20_000, before[1]))
        try:
            with pytest.raises((OSError, sqlite3.Error)):
                add_until_full()
            found = total(tmp_path)
            assert found == 5 + number * sum(range(1, 60))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        counters.add(request(*range(1, 60), instance=str(number)), NOW_NS)
    assert total(tmp_path) == found + sum(range(1, 60))


def test_a_file_that_cannot_be_made_is_an_error_and_works_once_it_can(tmp_path):
    with Counters(tmp_path / "later") as counters:
        with pytest.raises((OSError, sqlite3.Error)):
            counters.add(request(5), NOW_NS)
        (tmp_path / "later").mkdir()
        counters.add(request(5), NOW_NS)
    assert total(tmp_path / "later") == 5


def test_reading_goes_on_while_others_write(tmp_path):
    process = writer(tmp_path, "a", 1, 150)
    seen = [0]
    while process.poll() is None:
        seen.append(total(tmp_path))
    assert process.stdout is not None
    process.stdout.close()
    assert seen == sorted(seen)
    assert all(n % 3 == 0 for n in seen)
    assert total(tmp_path) == 450


def test_the_file_is_synced_before_the_answer(tmp_path):
    """Full synchronisation in the write-ahead log: each commit is followed by an fsync."""
    with Counters(tmp_path) as counters:
        counters.add(request(5), NOW_NS)
        assert counters._connection is not None
        assert counters._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert counters._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
