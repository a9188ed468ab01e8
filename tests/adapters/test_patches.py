"""Functions of other people's packages are replaced and put back; instrumentors find, wait and let go."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from cascade_otel import cascade, tier
from cascade_otel.adapters._inside import innermost, through
from cascade_otel.adapters._instrumentor import CascadeInstrumentor
from cascade_otel.adapters._patches import Patches
from cascade_otel.testing import Recorded


class Base:
    def inherited(self) -> str:
        return "inherited"


class Framework(Base):
    def own(self) -> str:
        return "own"

    @staticmethod
    def static() -> str:
        return "static"


def shouting(function: Any) -> Any:
    return lambda *args: function(*args).upper()


def test_what_is_replaced_comes_back_exactly() -> None:
    before, patches = dict(vars(Framework)), Patches()
    patches.wrap(Framework, "own", shouting)
    patches.wrap(Framework, "own", lambda function: lambda *args: function(*args) + "!")
    patches.wrap(Framework, "inherited", shouting)
    assert (Framework().own(), Framework().inherited()) == ("OWN!", "INHERITED")
    patches.undo()
    assert dict(vars(Framework)) == before
    assert Framework().inherited() == "inherited"
    patches.undo()  # once more changes nothing
    assert dict(vars(Framework)) == before


def test_a_registrys_entry_comes_back() -> None:
    registry, patches = {"old": 1}, Patches()
    patches.put(registry, "old", 2)
    patches.put(registry, "new", 3)
    assert registry == {"old": 2, "new": 3}
    patches.undo()
    assert registry == {"old": 1}


def test_a_name_that_is_gone_is_an_error_and_leaves_nothing() -> None:
    patches = Patches()
    with pytest.raises(AttributeError, match="gone"):
        patches.wrap(Framework, "gone", shouting)
    patches.undo()
    assert not hasattr(Framework, "gone")


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an importable module with a function ``answer``."""
    name = "made_up_framework"
    (tmp_path / f"{name}.py").write_text("def answer():\n    return 'blue'\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)
    Waiting().uninstrument() if Waiting().is_instrumented_by_opentelemetry else None


class Waiting(CascadeInstrumentor):
    package: ClassVar[str] = "wrapt"  # something that is installed
    module: ClassVar[str] = "made_up_framework"

    def patch(self, patches: Patches, *, name: str = "answer", **_: Any) -> None:
        patches.wrap(importlib.import_module(self.module), name, shouting)


def framework(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_nothing_is_imported_before_the_program_does(made_up: str) -> None:
    Waiting().instrument()
    assert made_up not in sys.modules
    assert framework(made_up).answer() == "BLUE"
    Waiting().uninstrument()
    assert framework(made_up).answer() == "blue"


def test_what_is_imported_already_is_patched_at_once(made_up: str) -> None:
    before = framework(made_up).answer
    Waiting().instrument()
    assert framework(made_up).answer() == "BLUE"
    Waiting().uninstrument()
    assert framework(made_up).answer is before


def test_switched_off_before_the_import_it_stays_off(made_up: str) -> None:
    Waiting().instrument()
    Waiting().uninstrument()
    assert framework(made_up).answer() == "blue"


@pytest.mark.usefixtures("lenient")
def test_a_changed_package_does_not_break_the_programs_import(
    made_up: str, caplog: pytest.LogCaptureFixture
) -> None:
    Waiting().instrument(name="gone")
    assert framework(made_up).answer() == "blue"
    assert "not recorded" in caplog.text
    assert "another version" in caplog.text


def test_asked_for_directly_a_changed_package_is_told_as_an_import_error(made_up: str) -> None:
    framework(made_up)
    with pytest.raises(ImportError, match=r"Waiting knows wrapt.*gone.*another version of the package"):
        Waiting().instrument(name="gone")
    assert not Waiting().is_instrumented_by_opentelemetry


def test_a_package_that_is_not_installed_is_told_and_nothing_happens(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Missing(CascadeInstrumentor):
        package: ClassVar[str] = "no-such-package >= 1"

        def patch(self, patches: Patches, **_: Any) -> None:
            raise AssertionError("there is nothing to patch")

    Missing().instrument()
    assert "no-such-package >= 1" in caplog.text
    assert not Missing().is_instrumented_by_opentelemetry


def test_each_instrumentor_has_patches_of_its_own() -> None:
    class Other(Waiting):
        pass

    assert Other.patches is not Waiting.patches
    assert Waiting().patches is Waiting().patches


def test_innermost_tells_where_a_call_takes_place(seen: Recorded) -> None:
    places: list[str | None] = [innermost()]
    with cascade("outer"):
        places.append(innermost())
        with tier("inner"):
            places.append(innermost())
        places.append(innermost())
    assert places == [None, "cascade", "tier", "cascade"]


@pytest.mark.usefixtures("lenient")
def test_where_choosing_fails_the_function_itself_is_called(caplog: pytest.LogCaptureFixture) -> None:
    def choose(*_: Any) -> Any:
        raise ValueError("cannot choose")

    assert through(lambda: "blue", choose)() == "blue"
    assert [each.levelno for each in caplog.records] == [logging.WARNING]


def test_through_keeps_a_methods_self() -> None:
    holder = SimpleNamespace(through=through(lambda: "blue", lambda *_: lambda: "green"))
    assert holder.through() == "green"
