"""Pages over small stores that end now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from cascade_otel.records import HOUR_NS, SECOND_NS
from tests.presentation.small_store import NOW_HOUR, Built, build

DASHBOARD = Path(__file__).parents[2] / "dashboard"
Open = Callable[..., AppTest]


@pytest.fixture(scope="session")
def current(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The small store, ending in the hour that the pages take for this one."""
    return build(tmp_path_factory.mktemp("current") / "store")


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    """What one test read is not shown in the next."""
    st.cache_data.clear()
    st.cache_resource.clear()
    yield
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Runs one page over a store, five minutes into the hour in which the small store ends."""
    monkeypatch.setattr(time, "time_ns", lambda: NOW_HOUR * HOUR_NS + 300 * SECOND_NS)

    def run(name: str, store: Path, **query: str) -> AppTest:
        monkeypatch.setenv("CASCADE_OTEL_STORE", str(store))
        monkeypatch.setenv("CASCADE_OTEL_STATE", str(store / "state.sqlite"))
        test = AppTest.from_file(str(DASHBOARD / name), default_timeout=60)
        for key, value in query.items():
            test.query_params[key] = value
        test.run()
        assert not test.exception, test.exception
        return test

    return run
