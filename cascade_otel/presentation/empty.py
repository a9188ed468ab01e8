"""What an empty store says: how to point an app at it."""

from __future__ import annotations

import shlex

from cascade_otel.presentation.source import Source

TITLE = "Point an app at this store, or look at the demo first:"


def commands(source: Source) -> str:
    """Lines for a shell."""
    store = shlex.quote(str(source.store))
    return (
        f"# on this machine: receiver on port 4318, drift job and dashboard\n"
        f"cascade-otel serve --store {store}\n\n"
        f"# where the app runs, which calls cascade_otel.configure() once\n"
        f"export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318\n\n"
        f"# nothing arrives? what came last, and why it was put aside\n"
        f"cascade-otel doctor --store {store}\n\n"
        f"# eight tasks on published answers, three of which shift\n"
        f"cascade-otel demo\n"
    )
