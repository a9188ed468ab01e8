"""Where in a policy file something is said, so that an error names file, line and key."""

from __future__ import annotations

import json
import re
import tomllib
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

from cascade_otel.records import UserError


class PolicyError(UserError):
    """A policy file that says something impossible: the text names file, line, key, and what was wanted."""


@dataclass(frozen=True)
class Place:
    """A key of a policy file that is there; without ``keys`` the whole file."""

    name: str
    """What errors call the file."""
    text: str
    keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ".".join(key if re.fullmatch("[A-Za-z0-9_-]+", key) else json.dumps(key) for key in self.keys)

    def at(self, key: str) -> Place:
        """The place of a key of this table."""
        return Place(self.name, self.text, (*self.keys, key))

    def error(self, complaint: str) -> PolicyError:
        """What is to be raised about this key."""
        return PolicyError(f"{self.name}:{line_of(self.text, self.keys)}: {self} {complaint}")


def line_of(text: str, keys: tuple[str, ...]) -> int:
    """The line, from 1 on, where a key of a TOML text is set, or where the table it names begins.

    TOML's reader tells no lines. But whether the beginning of a text has the key can be asked of it: the
    key is set in the line after the longest beginning that is TOML and lacks it.
    """
    lines = text.split("\n")

    def beginning(most: int) -> tuple[int, Any]:
        """The longest beginning of at most so many lines that ends in no value of many lines."""
        for count in range(most, 0, -1):
            try:
                return count, tomllib.loads("\n".join(lines[:count]) + "\n")
            except tomllib.TOMLDecodeError:
                continue
        return 0, {}

    def has_key(most: int) -> bool:
        _, table = beginning(most)
        for key in keys:
            if not isinstance(table, dict) or key not in table:
                return False
            table = table[key]
        return True

    last_line = bisect_left(range(len(lines) + 1), True, key=has_key)
    return beginning(last_line - 1)[0] + 1
