"""Which store a command is about."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from cascade_otel.records import UserError


def store_options(default: bool) -> argparse.ArgumentParser:
    """Options that every command about a store has."""
    options = argparse.ArgumentParser(add_help=False)
    store = os.environ.get("CASCADE_OTEL_STORE", "cascade-store")
    state = os.environ.get("CASCADE_OTEL_STATE")
    options.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        default=Path(store) if default else argparse.SUPPRESS,
        help="folder of the telemetry (default: $CASCADE_OTEL_STORE or ./cascade-store)",
    )
    options.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        default=(Path(state) if state else None) if default else argparse.SUPPRESS,
        help="file of findings and alerts (default: state.sqlite in the store)",
    )
    return options


def existing(store: Path) -> Path:
    """The folder, if it is one. Raises UserError."""
    if not store.is_dir():
        raise UserError(
            f"{store} is no folder; wanted: a store; type --store DIR, "
            f"or start one with: cascade-otel serve --store {store}"
        )
    return store


def state_path(options: argparse.Namespace) -> Path:
    """Where the state is."""
    from cascade_otel.storage.state import default_path

    return options.state or default_path(options.store)
