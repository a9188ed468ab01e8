"""Units of time, and the mistake that a person can mend."""

from __future__ import annotations

SECOND_NS = 1_000_000_000

HOUR_NS = 3_600 * SECOND_NS

DAY_NS = 24 * HOUR_NS


class UserError(ValueError):
    """A mistake that a person can mend: the text says what arrived, what was wanted and what to type."""
