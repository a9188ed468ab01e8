"""Documentation that is made from code is as the code says."""

from __future__ import annotations

import argparse

import pytest

from cascade_otel import cli
from tests.docs import generated


@pytest.mark.parametrize("path", generated.BLOCKS)
def test_generated_blocks_are_up_to_date(path: str) -> None:
    """``make generated`` would change nothing."""
    assert (generated.ROOT / path).read_text() == generated.render(path)


def test_every_command_has_a_help_text_and_a_place_in_the_reference() -> None:
    (commands,) = (a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    reference = (generated.ROOT / "docs/reference/commands.md").read_text()
    helped = {action.dest for action in commands._choices_actions if action.help}
    assert set(commands.choices) == helped
    assert all(f"## cascade-otel {name}\n" in reference for name in commands.choices)
