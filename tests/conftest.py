"""What tests of several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def published_logs() -> Path:
    """Folder of the published logs of real cascades; the test is skipped where it is absent."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CASCADE_OTEL_PUBLISHED_LOGS", beside))
    if not (folder / "pairs.parquet").exists():
        pytest.skip(f"published logs absent: no pairs.parquet in {folder} (set CASCADE_OTEL_PUBLISHED_LOGS)")
    return folder
