"""When a call counts as failed: once for SQL, once for frames, from the same names."""

from __future__ import annotations

import pandas as pd

GIVEN_UP = ("cancelled", "abandoned")
"""Outcomes of calls whose caller did not wait for them: whatever ended them is no fault of theirs."""
BROKEN_OFF = ("error", "timeout")
"""Reasons for escalating that are failures of the call itself."""

# A tier call takes over the outcome "error" of a cascade that failed after it, so an outcome proves nothing.
FAILURES = " + ".join(
    f"coalesce(count_if({condition}), 0)"
    for condition in (
        *(f"reason = '{reason}'" for reason in BROKEN_OFF),
        "error_type IS NOT NULL "
        f"AND coalesce(outcome, '') NOT IN {GIVEN_UP} AND coalesce(reason, '') NOT IN {BROKEN_OFF}",
    )
)
"""How many of some rows are failures: conditions that exclude one another are quicker than one with OR."""


def failed(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which ``FAILURES`` counts, of rows with the columns error_type, outcome and reason."""
    broken = rows["error_type"].notna() & ~rows["outcome"].isin(GIVEN_UP)
    return broken | rows["reason"].isin(BROKEN_OFF)
