"""A call counts as failed where it itself broke off, in SQL and in frames alike."""

from __future__ import annotations

import duckdb
import pandas as pd
import pytest

from cascade_otel.storage.failure import FAILURES, failed


@pytest.mark.parametrize(
    ("error_type", "outcome", "reason", "expected"),
    [
        (None, "accepted", None, False),
        ("ValueError", "error", None, True),
        ("ValueError", "escalated", "error", True),
        ("ValueError", None, None, True),
        (None, "escalated", "low_confidence", False),
        # The cascade failed in the host's own code: the tier had answered.
        (None, "error", None, False),
        ("CancelledError", "cancelled", None, False),
        ("GeneratorExit", "abandoned", None, False),
        # It hung until it was cancelled, and the cascade went on.
        ("CancelledError", "cancelled", "timeout", True),
        (None, None, "error", True),
        (None, None, None, False),
    ],
)
def test_a_call_failed_where_it_broke_off_itself(
    error_type: str | None, outcome: str | None, reason: str | None, expected: bool
) -> None:
    rows = pd.DataFrame(
        {"error_type": [error_type], "outcome": [outcome], "reason": [reason]}, dtype="string"
    )
    assert failed(rows).tolist() == [expected]
    with duckdb.connect() as connection:
        told = connection.execute(
            f"SELECT {FAILURES} "
            "FROM (SELECT $1::VARCHAR AS error_type, $2::VARCHAR AS outcome, $3::VARCHAR AS reason)",
            [error_type, outcome, reason],
        ).fetchone()
    assert told == (int(expected),)
