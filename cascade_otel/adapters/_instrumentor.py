"""What the adapters share: they are found, switched on and switched off as OpenTelemetry's own are."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Collection
from importlib.metadata import version
from types import ModuleType
from typing import Any, ClassVar

from cascade_otel.adapters._patches import Patches
from cascade_otel.instrumentation._guard import Guard, warn_once

try:
    from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # its package ships no types
    from wrapt import register_post_import_hook
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"the adapters build on opentelemetry-instrumentation, which is not installed ({error}): "
        'pip install "cascade-otel[auto]"',
        name=error.name,
    ) from error


class CascadeInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # its package ships no types
    """``Instrumentor().instrument(**options)`` begins to record, ``uninstrument()`` ends it.

    Under ``opentelemetry-instrument`` this happens by itself, where the package is installed.
    ``Instrumentor()`` is always the same object.
    """

    package: ClassVar[str]
    """What must be installed, as a requirement: ``litellm >= 1.90``."""
    tested: ClassVar[str] = ""
    """The versions of it that are known to work: ``1.90 to 1.95``."""
    module: ClassVar[str] = ""
    """What the program imports of it: nothing is imported or replaced before the program has done so.
    Without it, the package is imported at once."""
    patches: ClassVar[Patches]  # of the class, since __init__ runs each time the one object is asked for

    def __init_subclass__(cls) -> None:
        cls.patches = Patches()

    def instrumentation_dependencies(self) -> Collection[str]:
        """The packages without which this does nothing."""
        return [self.package]

    def _instrument(self, **options: Any) -> None:
        if not self.module or self.module in sys.modules:
            self._patch_all(options)
            return
        # Importing some of these takes seconds, and most processes under opentelemetry-instrument use none.
        self.awaited = options
        register_post_import_hook(self._imported, self.module)

    def _imported(self, _: ModuleType) -> None:
        options, self.awaited = self.awaited, None
        if options is not None:
            guard = Guard("sdk", self.package)
            with guard:  # within the program's import statement nothing of ours may raise
                try:
                    self._patch_all(options)
                except ImportError as changed:
                    guard.count()
                    warn_once("sdk", self.package, "not recorded; your code is unaffected: %s", changed)

    def _patch_all(self, options: dict[str, Any]) -> None:
        try:
            self.patch(self.patches, **options)
        except Exception as error:
            self.patches.undo()
            if isinstance(error, (AttributeError, ImportError)):
                # ImportError is what opentelemetry-instrument takes as: skip this one, go on with the others.
                raise ImportError(
                    f"{type(self).__name__} knows {self._known}; in what is installed it does not find what "
                    f"it records ({error}): install another version of the package, or of cascade-otel"
                ) from error
            raise

    @property
    def _known(self) -> str:
        return f"{self.package}, tested with {self.tested}" if self.tested else self.package

    def leave_out(self, missing: Collection[str]) -> None:
        """Logs what is not recorded, since the installed package does not have it; once, and nothing where
        nothing is missing."""
        if missing:
            name = self.package.split()[0]
            warn_once(
                "sdk",
                self.package,
                "%s %s has no %s, which is not recorded; your code is unaffected, and all else is recorded. "
                "%s knows %s: install one of these, or another version of cascade-otel",
                *(name, version(name), ", ".join(missing), type(self).__name__, self._known),
            )

    def _uninstrument(self, **_: Any) -> None:
        self.awaited = None
        self.patches.undo()

    awaited: dict[str, Any] | None = None

    @abstractmethod
    def patch(self, patches: Patches, **options: Any) -> None:
        """Replaces what is to be recorded. Imports the package only here."""
