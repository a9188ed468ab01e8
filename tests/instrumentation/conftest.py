"""No fault of ours hides here, no context leaks, and the SDK has nothing to complain about."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest
from opentelemetry import context

from cascade_otel.instrumentation import _guard
from cascade_otel.instrumentation._guard import Guard
from cascade_otel.testing import Recorded, record


@pytest.fixture(autouse=True, scope="session")
def small_heap() -> None:
    """Collections that tests ask for look at the tests' own objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Faults are raised, and every test is warned anew."""
    monkeypatch.setattr(Guard, "strict", True)
    monkeypatch.setattr(_guard, "_told", set())
    before = context.get_current()
    with caplog.at_level(logging.WARNING):
        yield
    assert context.get_current() is before, "our context leaked into the caller"
    assert not [each for each in caplog.get_records("call") if each.name.startswith("opentelemetry")], (
        "the SDK logged"
    )


@pytest.fixture
def lenient(strict: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults are swallowed and counted, as for users."""
    monkeypatch.setattr(Guard, "strict", False)


@pytest.fixture
def seen(strict: None) -> Iterator[Recorded]:
    """What the test records."""
    with record() as recorded:
        yield recorded
