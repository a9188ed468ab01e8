"""A small store of three tasks over ten days, and what a drift job would say about it."""

from __future__ import annotations

import pytest

from tests.presentation.small_store import Built, build


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("small") / "store")
