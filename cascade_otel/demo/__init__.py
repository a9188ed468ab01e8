"""The demo: eight tasks on real answers, some of which shift."""

from __future__ import annotations

from cascade_otel.demo.run import run

__all__ = ["run"]
