"""Adapters that are on within a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cascade_otel.adapters._instrumentor import CascadeInstrumentor


@contextmanager
def switched_on(kind: type[CascadeInstrumentor], **options: Any) -> Iterator[None]:
    """Records by that adapter."""
    kind().instrument(**options)
    try:
        yield
    finally:
        kind().uninstrument()
