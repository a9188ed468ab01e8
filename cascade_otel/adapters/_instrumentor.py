"""What the adapters share: they are found, switched on and switched off as OpenTelemetry's own are."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Collection
from types import ModuleType
from typing import Any, ClassVar

from cascade_otel.adapters._patches import Patches
from cascade_otel.instrumentation._guard import Guard

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
            with Guard(
                "sdk", self.package
            ):  # within the program's import statement nothing of ours may raise
                self._patch_all(options)

    def _patch_all(self, options: dict[str, Any]) -> None:
        try:
            self.patch(self.patches, **options)
        except Exception as error:
            self.patches.undo()
            if isinstance(error, AttributeError):
                # ImportError is what opentelemetry-instrument takes as: skip this one, go on with the others.
                raise ImportError(
                    f"{type(self).__name__} knows {self.package}; in what is installed it does not find what "
                    f"it records ({error}): install another version of the package, or of cascade-otel"
                ) from error
            raise

    def _uninstrument(self, **_: Any) -> None:
        self.awaited = None
        self.patches.undo()

    awaited: dict[str, Any] | None = None

    @abstractmethod
    def patch(self, patches: Patches, **options: Any) -> None:
        """Replaces what is to be recorded. Imports the package only here."""
