"""Functions of other people's packages, replaced by decorated ones, and put back."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

_ABSENT = object()


class Patches:
    """What was replaced, so that it can be put back."""

    def __init__(self) -> None:
        self._before: list[Callable[[], None]] = []

    def wrap(self, owner: Any, name: str, decorate: Callable[[Any], Any]) -> None:
        """Replaces ``owner.name`` (a module's function or a class's method) by ``decorate`` of it.

        Raises AttributeError where there is no such name: the package has changed.
        """
        replacement = decorate(getattr(owner, name))
        before = vars(owner).get(name, _ABSENT)

        def restore() -> None:
            if before is _ABSENT:  # it was inherited
                delattr(owner, name)
            else:
                setattr(owner, name, before)

        setattr(owner, name, replacement)
        self._before.append(restore)

    def put(self, mapping: MutableMapping[Any, Any], key: Any, value: Any) -> None:
        """Sets ``mapping[key]``, a registry's entry."""
        before = mapping.get(key, _ABSENT)

        def restore() -> None:
            if before is _ABSENT:
                mapping.pop(key, None)
            else:
                mapping[key] = before

        mapping[key] = value
        self._before.append(restore)

    def undo(self) -> None:
        """Puts everything back, in reverse order."""
        while self._before:
            self._before.pop()()
