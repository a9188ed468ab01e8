"""Writers, clients, receiver, readers, compactors and retention at once on one store, under kill -9."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import duckdb
import pytest

from cascade_otel.records import DAY_NS
from cascade_otel.storage import parts
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.reading.rollup import Reader, open_reader
from cascade_otel.storage.segments import Store
from tests.storage import torture_roles, torture_spans
from tests.storage.storage_samples import KILLS
from tests.storage.torture_processes import Processes, free_port
from tests.storage.torture_roles import batches, files, lines
from tests.storage.torture_spans import KEPT_DAYS, Part

WAYS = ("store", "store", "http", "grpc")
READERS, COMPACTORS = 3, 2
TODAY = time.time_ns() // DAY_NS - 1
"""Not the clock's day: nothing here depends on when the test is run."""
NOW_NS = (TODAY + 1) * DAY_NS
HOURS = ((TODAY - KEPT_DAYS) * 24, (TODAY + 1) * 24)
GRACE_S = 0.5
SHARES = {"writer": 4, "compactor": 4, "receiver": 2, "reader": 2}


class Fleet:
    """All the processes of one store."""

    def __init__(self, folder: Path, processes: Processes, pause_s: float):
        self.root, self.logs = folder / "store", folder / "logs"
        self.logs.mkdir()
        self._processes, self._pause_s = processes, pause_s
        self._ports = [free_port(), free_port()]
        self.kills: Counter[str] = Counter()
        self.names = [
            *(f"writer {me}" for me in range(len(WAYS))),
            *(f"reader {me}" for me in range(READERS)),
            *(f"compactor {me}" for me in range(COMPACTORS)),
            "receiver 0",
        ]

    def start(self, name: str) -> None:
        """Starts one of ``names``."""
        role, me = name.split()
        one = {"root": str(self.root), "logs": str(self.logs), "me": int(me)}
        both = one | {"today": TODAY}
        match role:
            case "writer":
                more = {"way": WAYS[int(me)], "ports": self._ports, "pause_s": self._pause_s}
                self._processes.start(name, "write", **both, **more)
            case "reader":
                self._processes.start(name, "read", **both, pause_s=0.05)
            case "compactor":
                more = {"now_ns": NOW_NS, "grace_s": GRACE_S, "pause_s": 0.05}
                self._processes.start(name, "compact", **one, **more)
            case _:
                self._processes.start(name, "receive", root=str(self.root), ports=self._ports)

    def kill_one(self, dice: random.Random) -> None:
        """Kills one and starts it again at once."""
        role = dice.choices(list(SHARES), list(SHARES.values()))[0]
        name = dice.choice([name for name in self.names if name.startswith(role)])
        self._processes.kill(name)
        self.kills[role] += 1
        self.start(name)

    def wait_for_progress(self) -> None:
        """Waits until every writer has got another batch acknowledged and every reader has read again."""
        before = self._progress()
        self._processes.wait(lambda: all(n > before[name] for name, n in self._progress().items()))

    def _progress(self) -> dict[str, int]:
        acked = Counter(batch.writer for batch in batches(self.logs, "ack"))
        looks = Counter(line["me"] for line in lines(self.logs, "reader"))
        return {f"writer {me}": acked[me] for me in range(len(WAYS))} | {
            f"reader {me}": looks[me] for me in range(READERS)
        }


@pytest.mark.timeout(7200)
def test_nothing_acknowledged_is_lost_and_nothing_counts_twice_whoever_is_killed(tmp_path):
    """At every read acknowledged ≤ seen ≤ tried, each span once, sums and cells equal to the rows."""
    dice = random.Random(5)
    Store(tmp_path / "store")
    with Processes("tests.storage.torture_roles", tmp_path / "errors") as processes:
        fleet = Fleet(tmp_path, processes, pause_s=0.3)
        for name in fleet.names:
            fleet.start(name)
        for _ in range(KILLS):
            time.sleep(0.2 + dice.random() * 0.8)
            fleet.kill_one(dice)
        fleet.wait_for_progress()
        processes.kill_all()
    wrong = [line for role in ("reader", "compactor") for line in lines(fleet.logs, role) if is_wrong(line)]
    assert not wrong, f"{len(wrong)} of {summary(fleet)}\n{wrong[0]}\n{processes.said()}"
    refused = [line for line in lines(fleet.logs, "writer") if line.get("way") == "store"]
    assert not refused, f"{refused[:3]}\n{processes.said()}"
    afterwards(fleet)
    print(f"{summary(fleet)}; {spans_found(fleet)}")


def is_wrong(line: dict[str, object]) -> bool:
    """Whether a reader or a compactor complains."""
    return bool(line.get("wrong") or line.get("error") or line.get("failed"))


def summary(fleet: Fleet) -> str:
    """Counts of kills, batches, reads."""
    read = lines(fleet.logs, "reader")
    return (
        f"kills {dict(fleet.kills)}; batches tried {len(batches(fleet.logs, 'try'))}, acknowledged "
        f"{len(batches(fleet.logs, 'ack'))}; reads {sum(line['reads'] for line in read)}, started over "
        f"{sum(line['retries'] for line in read)}; compactions "
        f"{sum(line.get('rows', 0) > 0 for line in lines(fleet.logs, 'compactor'))}"
    )


def spans_found(fleet: Fleet) -> str:
    """Counts of spans of the days that are kept."""
    acked = [torture_spans.parts(batch, TODAY).values() for batch in batches(fleet.logs, "ack")]
    with open_reader(Store(fleet.root)) as reader:
        rows = reader.rows(None, *HOURS, kind=None, columns=["span_id"])["span_id"]
    return (
        f"spans acknowledged {sum(map(sum, acked))}, found {len(rows)}, doubled {len(rows) - rows.nunique()}"
    )


def afterwards(fleet: Fleet) -> None:
    """Checks the store that is left, before and after its last compaction."""
    store, logs = Store(fleet.root), fleet.logs
    with duckdb.connect() as connection, open_reader(store) as reader:
        for _ in range(2):
            assert torture_roles.look(store, logs, TODAY, connection) == ""
            assert torture_roles.compare(reader, logs, TODAY) == ""
            figures_are_those_of_the_spans(reader)
            for left in store.tmp.iterdir():
                if left.is_file():
                    os.utime(left, (0, 0))
            with Compactor(store, grace_s=0) as compactor:
                while compactor.run(NOW_NS, KEPT_DAYS).rows:
                    pass
                compactor.run(NOW_NS, KEPT_DAYS)
        assert [path.name for path in store.tmp.iterdir() if path.is_file()] == []
        assert store.days() == [TODAY - 1, TODAY]
        for day in store.days():
            live = store.live(day)
            assert live.small == ()
            assert len(live.merged) <= 4
            assert set(store.listed(day)) == store.manifest(day).names()
            for entry in live.merged:
                for kind in ("sites", "sums", "cells", "checks"):
                    made: str = getattr(parts, kind)(files([entry.rows]))
                    recomputed_alike(connection, getattr(entry, kind), made)


def recomputed_alike(connection: duckdb.DuckDBPyConnection, part: str | None, sql: str) -> None:
    """A part holds what its rows give, row for row; there is none where they give nothing."""
    if part is None:
        assert connection.execute(sql).fetchall() == []
        return
    stored = f"SELECT * FROM {files([part])}"
    for less, more in ((stored, sql), (sql, stored)):
        assert connection.execute(f"({less}) EXCEPT ALL ({more})").fetchall() == [], part


def figures_are_those_of_the_spans(reader: Reader) -> None:
    """The reader's sums and labels against what the spans found were made of."""
    rows = reader.rows(None, *HOURS, kind=None, columns=["span_id", "hour"])
    found = {
        Part(torture_spans.span_batch(int(span)), int(hour) // 24)
        for span, hour in zip(rows["span_id"], rows["hour"], strict=True)
    }
    sums = reader.sums(*HOURS).groupby(["hour", "kind", "task", "tier", "purpose"])
    totals = sums[["n", "escalated", "cost_nano"]].sum()
    assert {key: tuple(map(int, row)) for key, row in zip(totals.index, totals.to_numpy(), strict=True)} == (
        torture_spans.sums(found, TODAY)
    )
    labels = reader.labels(*HOURS)
    assert dict(zip(labels["trace_lo"].astype(int), labels["correct"].astype(bool), strict=True)) == (
        torture_spans.labelled(found, TODAY)
    )
