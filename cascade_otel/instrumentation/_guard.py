"""Our faults stay ours: they are counted, logged once, and never reach the host."""

from __future__ import annotations

import logging
from contextlib import suppress
from types import TracebackType
from typing import Literal, TypeAlias

from cascade_otel import semconv
from cascade_otel.instrumentation._counters import Counter, add

log = logging.getLogger(semconv.SCOPE)
DROPPED = Counter(semconv.DROPPED)
Reason: TypeAlias = Literal["value", "callable", "unmatched", "sdk", "audit"]
_MOST_WARNINGS = 1000
_told: set[tuple[str, str]] = set()


class Guard:
    """``with guard:`` around our own work, or around what we ask of the user's code.

    What is no ``Exception`` (KeyboardInterrupt, cancellation, a signal handler's SystemExit) is the host's
    and passes. ``reason`` is counted in ``cascade.telemetry.dropped``; ``where`` is said in the log. Tests
    set ``Guard.strict``, so that no fault of ours hides.
    """

    strict = False

    def __init__(self, reason: Reason, where: object) -> None:
        self.reason, self.where = reason, where

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.caught(error)
        return True

    def count(self) -> None:
        """Something was left out for this reason."""
        add(DROPPED.cell({semconv.DROP_REASON: self.reason}), 1)

    def caught(self, error: Exception, what: str = "") -> None:
        """What leaving the block does; for the hot path, where ``try`` costs nothing and ``with`` does.

        ``what`` names the one of several things that were asked for in this place.
        """
        if self.strict:
            raise error
        self.count()
        place = getattr(self.where, "__qualname__", type(self.where).__name__)
        place = self.where if isinstance(self.where, str) else place
        told = f"{self.reason}, {place}, {what}" if what else f"{self.reason}, {place}"
        message = "not recorded (%s); your code is unaffected: %s"
        warn_once(self.reason + what, self.where, message, told, error, error=error)


def warn_once(
    kind: str, where: object, message: str, *values: object, error: Exception | None = None
) -> None:
    """Logs a warning, once per kind and place; after a thousand places we are silent, and only count."""
    key = (kind, where if isinstance(where, str) else getattr(where, "__qualname__", type(where).__name__))
    if key not in _told and len(_told) < _MOST_WARNINGS:
        _told.add(key)
        with suppress(
            Exception
        ):  # the text of an error, or a logging handler of the host's, may itself raise
            log.warning(message, *values, exc_info=error)
