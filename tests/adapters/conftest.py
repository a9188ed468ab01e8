"""No fault of ours hides behind a framework, no context leaks, and nothing reaches for the network."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator

import pytest
from opentelemetry import context

from cascade_otel.instrumentation import _guard
from cascade_otel.instrumentation._guard import Guard
from cascade_otel.testing import Recorded, record

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # read when litellm is imported, else it downloads prices

OURS_TO_KEEP_QUIET = ("opentelemetry.sdk", "opentelemetry.context", "opentelemetry.attributes")


THEIR_LOOPS = (
    "ignore:coroutine 'Logging.*was never awaited:RuntimeWarning"  # LiteLLM closes loops in mid-work
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings of frameworks' own are no test's failure."""
    for item in items:
        if "adapters" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings(THEIR_LOOPS))


@pytest.fixture(autouse=True, scope="module")
def nothing_left() -> Iterator[None]:
    """What a framework has left running is not collected in another module's tests."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Faults are raised, and every test is warned anew."""
    monkeypatch.setattr(Guard, "strict", True)
    monkeypatch.setattr(_guard, "_told", set())
    before = context.get_current()
    with caplog.at_level(logging.WARNING):
        yield
    assert context.get_current() is before, "our context leaked into the caller"
    assert not [each for each in caplog.get_records("call") if each.name.startswith(OURS_TO_KEEP_QUIET)], (
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
