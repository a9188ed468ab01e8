"""What the drift job remembers, in one SQLite file: findings, alerts, baselines, messages to be sent."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from cascade_otel.records import SECOND_NS, Alert, AlertStatus, Finding, UserError
from cascade_otel.storage.state_json import from_json, to_json

BUSY_S = 10.0
FIRST_WAIT_S, LONGEST_WAIT_S, ATTEMPTS = 5, 3600, 30
"""A message that failed is tried again after 5 s, 10 s, 20 s … an hour, for about a day."""
NOT_OURS = ("SQLITE_CANTOPEN", "SQLITE_READONLY")
"""Errors that trying again does not mend."""

UPGRADES = (
    """
    CREATE TABLE findings (place INTEGER PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE alerts (
        fingerprint TEXT PRIMARY KEY, status TEXT NOT NULL, opened_ns INTEGER NOT NULL, body TEXT NOT NULL);
    CREATE TABLE baselines (
        task TEXT PRIMARY KEY, start_hour INTEGER NOT NULL, end_hour INTEGER NOT NULL, reason TEXT NOT NULL,
        at_ns INTEGER NOT NULL);
    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, sink TEXT NOT NULL, body TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, due_ns INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL
        DEFAULT '', delivered INTEGER NOT NULL DEFAULT 0);
    CREATE UNIQUE INDEX outbox_waiting ON outbox (fingerprint, sink, body) WHERE NOT delivered;
    CREATE TABLE ticks (name TEXT PRIMARY KEY, at_ns INTEGER NOT NULL);
    CREATE TABLE lease (place INTEGER PRIMARY KEY CHECK (place = 0), owner TEXT NOT NULL, until_ns
    INTEGER NOT NULL);
    """,
    "CREATE TABLE memory (name TEXT PRIMARY KEY, at_hour INTEGER NOT NULL, body BLOB NOT NULL)",
)
"""What takes a file from each version to the next; its version is how many have been applied."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The hours [start_hour, end_hour) a task is compared with, and why those."""

    task: str
    start_hour: int
    end_hour: int
    reason: Literal["trailing", "pinned", "accepted", "version", "chosen"]
    """*pinned*: held still while its task is not quiet; *accepted*: by a person, as the new normal;
    *version*: since a version began; *chosen*: days that the policy names."""
    at_ns: int


@dataclass(frozen=True, slots=True)
class Message:
    """A message in the outbox: what is to be sent where, how often that failed and with what last error."""

    id: int
    fingerprint: str
    sink: str
    body: dict[str, Any]
    attempts: int
    error: str


def _impossible(path: Path, reason: str) -> UserError:
    return UserError(
        f"--state {path} cannot be opened ({reason}); wanted: a file in a folder that can be written; "
        "type another --state FILE"
    )


def default_path(store_root: str | Path) -> Path:
    """Where the state of a store is kept unless said otherwise."""
    return Path(store_root) / "state.sqlite"


class State:
    """The state in the file at ``path``, which is made if absent. A context manager, safe to share
    between threads.

    Every method is one transaction; ``together`` makes one of several. Raises UserError if the file cannot
    be had, is something else, or was written by a later version.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._lock = threading.RLock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
        except OSError as error:
            raise _impossible(self.path, error.strerror or "no folder") from error
        except sqlite3.OperationalError as error:
            raise _impossible(self.path, str(error)) from error
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._upgrade()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            if error.sqlite_errorname.startswith(NOT_OURS):
                raise _impossible(self.path, str(error)) from error
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise UserError(
                f"{self.path} is no state file ({error}); wanted: one written by cascade-otel; "
                "move it away and a new one is made"
            ) from error
        except UserError:
            self._connection.close()
            raise

    def __enter__(self) -> State:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written inside happens as a whole, or not at all if an exception or kill ends the block."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def findings(self) -> list[Finding]:
        """The findings of the last tick, in the order they were put."""
        return [from_json(Finding, body) for (body,) in self._all("SELECT body FROM findings ORDER BY place")]

    def put_findings(self, findings: Sequence[Finding]) -> None:
        """Replaces the findings."""
        with self.together():
            self._run("DELETE FROM findings")
            for finding in findings:
                self._run("INSERT INTO findings (body) VALUES (?)", to_json(finding))

    def alerts(self, status: AlertStatus | None = None) -> list[Alert]:
        """Alerts, of one status if one is given, in the order they were opened."""
        found = self._all(
            "SELECT body FROM alerts WHERE ? IS NULL OR status = ? ORDER BY opened_ns, fingerprint",
            status,
            status,
        )
        return [from_json(Alert, body) for (body,) in found]

    def put_alert(self, alert: Alert) -> None:
        """Adds the alert, or replaces the one with its fingerprint."""
        self._run(
            "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?)",
            alert.fingerprint, alert.status, alert.opened_ns, to_json(alert),
        )  # fmt: skip

    def baseline(self, task: str) -> Baseline | None:
        """The task's baseline, if one was put."""
        return self.baselines().get(task)

    def baselines(self) -> dict[str, Baseline]:
        """Every task's baseline."""
        return {row[0]: Baseline(*row) for row in self._all("SELECT * FROM baselines ORDER BY task")}

    def put_baseline(self, baseline: Baseline) -> None:
        """Sets the task's baseline."""
        self._run(
            "INSERT OR REPLACE INTO baselines VALUES (?, ?, ?, ?, ?)",
            baseline.task, baseline.start_hour, baseline.end_hour, baseline.reason, baseline.at_ns,
        )  # fmt: skip

    def memory(self, name: str) -> tuple[int, bytes] | None:
        """What was last put under this name: the hour it is of, and what is remembered."""
        found = self._all("SELECT at_hour, body FROM memory WHERE name = ?", name)
        return found[0] if found else None

    def memory_hour(self, name: str) -> int | None:
        """The hour of what was last put under this name; None: nothing was."""
        found = self._all("SELECT at_hour FROM memory WHERE name = ?", name)
        return int(found[0][0]) if found else None

    def put_memory(self, name: str, at_hour: int, body: bytes) -> None:
        """Replaces what is remembered under this name."""
        self._run("INSERT OR REPLACE INTO memory VALUES (?, ?, ?)", name, at_hour, body)

    def enqueue(self, fingerprint: str, sink: str, body: dict[str, Any]) -> None:
        """Puts a message into the outbox; one that waits there already is not put twice."""
        self._run(
            "INSERT OR IGNORE INTO outbox (fingerprint, sink, body) VALUES (?, ?, ?)",
            fingerprint, sink, json.dumps(body, ensure_ascii=False),
        )  # fmt: skip

    def due(self, now_ns: int) -> list[Message]:
        """Messages to be sent now, oldest first."""
        return self._messages("due_ns <= ? AND attempts < ?", now_ns, ATTEMPTS)

    def undelivered(self) -> list[Message]:
        """Messages given up after the last attempt, with the error it met."""
        return self._messages("attempts >= ?", ATTEMPTS)

    def delivered(self, id: int) -> None:
        """The message arrived."""
        self._run("UPDATE outbox SET delivered = 1, error = '' WHERE id = ?", id)

    def failed(self, id: int, now_ns: int, error: str) -> None:
        """The message did not arrive: it is due again after a wait that doubles each time."""
        for (attempts,) in self._all("SELECT attempts FROM outbox WHERE id = ?", id):
            wait = min(FIRST_WAIT_S * 2**attempts, LONGEST_WAIT_S) * SECOND_NS
            self._run(
                "UPDATE outbox SET attempts = ?, due_ns = ?, error = ? WHERE id = ?",
                attempts + 1, now_ns + wait, error, id,
            )  # fmt: skip

    def give_up(self, id: int, error: str) -> None:
        """The message will never arrive: it is not tried again, and stays among the undelivered."""
        self._run("UPDATE outbox SET attempts = ?, error = ? WHERE id = ?", ATTEMPTS, error, id)

    def tick(self, name: str, now_ns: int) -> None:
        """Notes that the named job ran."""
        self._run("INSERT OR REPLACE INTO ticks VALUES (?, ?)", name, now_ns)

    def last_tick(self, name: str) -> int | None:
        """When the named job last ran, in nanoseconds; None: never."""
        return self.ticks().get(name)

    def ticks(self) -> dict[str, int]:
        """When each job that ever ran did last, in nanoseconds."""
        return dict(self._all("SELECT name, at_ns FROM ticks ORDER BY name"))

    def lease(self, owner: str, seconds: float, now_ns: int) -> bool:
        """Whether ``owner`` may act for the next ``seconds``: it holds the lease, or nobody does any more."""
        changed = self._run(
            """
            INSERT INTO lease VALUES (0, ?, ?)
            ON CONFLICT (place) DO UPDATE SET owner = excluded.owner, until_ns = excluded.until_ns
            WHERE lease.owner = excluded.owner OR lease.until_ns <= ?
            """,
            owner, now_ns + int(seconds * SECOND_NS), now_ns,
        )  # fmt: skip
        return changed > 0

    def release(self, owner: str) -> None:
        """Ends the lease, if ``owner`` holds it."""
        self._run("DELETE FROM lease WHERE owner = ?", owner)

    def _messages(self, where: str, *parameters: object) -> list[Message]:
        found = self._all(
            "SELECT id, fingerprint, sink, body, attempts, error FROM outbox "
            f"WHERE NOT delivered AND {where} ORDER BY id",
            *parameters,
        )
        return [
            Message(id, fingerprint, sink, json.loads(body), attempts, error)
            for id, fingerprint, sink, body, attempts, error in found
        ]

    def _all(self, sql: str, *parameters: object) -> list[Any]:
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()

    def _run(self, sql: str, *parameters: object) -> int:
        with self.together():
            return self._connection.execute(sql, parameters).rowcount

    def _upgrade(self) -> None:
        with self.together():
            (version,) = self._all("PRAGMA user_version")[0]
            if version > len(UPGRADES):
                raise UserError(
                    f"{self.path} has version {version}; wanted: at most {len(UPGRADES)}; "
                    "install a later cascade-otel, or give another file with --state"
                )
            for statement in (part for upgrade in UPGRADES[version:] for part in upgrade.split(";")):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {len(UPGRADES)}")
