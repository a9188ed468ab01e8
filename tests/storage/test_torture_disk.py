"""A disk that is really full, or read-only: told, survived, and nothing half done left behind."""

from __future__ import annotations

import pytest

from tests.storage import torture_disk

SCENARIOS = [
    "receiver_on_a_full_disk",
    "receiver_on_a_read_only_disk",
    "serve_on_a_full_disk",
    "compactor_on_a_full_disk",
    "compactor_on_a_read_only_disk",
]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_store_survives(scenario, tmp_path):
    torture_disk.run("tests.storage.torture_disk_scenarios", scenario, tmp_path)
