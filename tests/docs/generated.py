"""The parts of the docs that are made from code: ``python -m tests.docs.generated`` writes them anew."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from cascade_otel import cli, semconv

ROOT = Path(__file__).parents[2]


def metrics_table() -> str:
    lines = ["| metric | instrument | unit | |", "|---|---|---|---|"]
    return "\n".join(
        lines + [f"| `{m.name}` | {m.instrument} | `{m.unit}` | {m.note} |" for m in semconv.METRICS]
    )


def attributes_table() -> str:
    lines = ["| attribute | type | on | |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| `{a.name}` | {a.type} | {a.on} | {a.note} |" for a in semconv.ATTRIBUTES])


def emitted_table() -> str:
    """The README's table: the attributes that matter first, then all metrics."""
    first = (
        semconv.CASCADE_TASK, semconv.TIER_NAME, semconv.CONFIDENCE_SCORE, semconv.THRESHOLD,
        semconv.ESCALATED, semconv.ESCALATION_REASON, semconv.OUTCOME, semconv.COST_AMOUNT,
        semconv.REQUEST_MODEL, semconv.RESPONSE_MODEL,
    )  # fmt: skip
    known = {a.name: a for a in semconv.ATTRIBUTES}
    rows = [f"| `{known[name].name}` | {known[name].on} | {known[name].note} |" for name in first]
    rows += [f"| `{m.name}` | {m.instrument}, `{m.unit}` | {m.note} |" for m in semconv.METRICS]
    return "\n".join(["| name | where | what |", "|---|---|---|", *rows])


def commands() -> str:
    """The help text of every command."""
    top = cli.parser()
    (subparsers,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    return "\n\n".join(
        f"## cascade-otel {name}\n\n```text\n{_help(parser)}```"
        for name, parser in subparsers.choices.items()
    )


def _help(parser: argparse.ArgumentParser) -> str:
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=100)
    return parser.format_help()


def columns_table() -> str:
    from cascade_otel.storage import schema

    rows = [
        f"| `{field.name}` | {field.type.value_type if 'dictionary' in str(field.type) else field.type} |"
        for field in schema.SCHEMA
    ]
    return "\n".join(["| column | type |", "|---|---|", *rows])


BLOCKS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"emitted": emitted_table},
    "docs/reference/wire.md": {"metrics": metrics_table, "attributes": attributes_table},
    "docs/reference/commands.md": {"commands": commands},
    "docs/reference/store.md": {"columns": columns_table},
}


def render(path: str) -> str:
    """The file's text with its generated blocks made anew."""
    text = (ROOT / path).read_text()
    for name, make in BLOCKS[path].items():
        begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{path} has no block {begin} … {end}")
        block = f"{begin}\n\n{make()}\n\n{end}"
        text = pattern.sub(lambda _, block=block: block, text)
    return text


def write() -> None:
    """Writes every generated file anew."""
    from cascade_otel.alerting import rules

    for path in BLOCKS:
        (ROOT / path).write_text(render(path))
    (ROOT / "alerts" / "cascade.rules.yml").write_text(rules.render())


if __name__ == "__main__":
    write()
