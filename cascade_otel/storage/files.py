"""DuckDB over files of a store."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable

import duckdb
import pyarrow as pa

from cascade_otel.storage import schema, segments
from cascade_otel.storage.segments import Store

MEMORY, THREADS = "1GB", 2


def connect(store: Store) -> duckdb.DuckDBPyConnection:
    """A connection with an empty table ``nothing`` that has all columns of a segment.

    Segments of an older version lack columns: beside ``nothing``, those read as null.
    """
    # Some versions name what they spill alike in every process, so each connection has a folder of its own.
    spill = store.tmp / f"spill-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    connection = duckdb.connect(
        config={
            "memory_limit": MEMORY,
            "threads": THREADS,
            "temp_directory": str(spill),
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    empty = schema.SCHEMA.empty_table()
    for index, field in enumerate(schema.SCHEMA):
        if pa.types.is_dictionary(field.type):
            empty = empty.set_column(index, field.name, empty[field.name].cast(pa.string()))
    connection.register("empty", empty)
    connection.execute("CREATE TABLE nothing AS SELECT * FROM empty").fetchall()
    connection.unregister("empty")
    return connection


def relation(paths: Iterable[str], filename: bool = False, numbered: bool = False) -> str:
    """SQL for the rows of these Parquet files, at least one path.

    With the column ``filename`` if wanted, and ``numbered`` with each row's place in its file,
    ``file_row_number``.
    """
    listed = ", ".join(pattern(path) for path in paths)
    options = f"union_by_name=true, hive_partitioning=false, {filename=}, file_row_number={numbered}"
    return f"read_parquet([{listed}], {options})"


def pattern(path: str) -> str:
    """A path as a literal of SQL where DuckDB takes every path for a pattern."""
    return literal("".join(f"[{letter}]" if letter in "[*?" else letter for letter in path))


def literal(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def unreadable(connection: duckdb.DuckDBPyConnection, paths: Iterable[str]) -> dict[str, str]:
    """Which of the files cannot be read, and why: by Arrow, or where it finds nothing wrong by DuckDB."""
    listed = list(paths)
    found = segments.unreadable(listed)
    if found:
        return found
    for path in listed:
        try:
            connection.execute(f"SELECT max(COLUMNS(*)) FROM {relation([path])}").fetchall()
        except duckdb.Error as error:
            if not segments.went_away(error):
                found[path] = str(error).splitlines()[0]
    return found
