"""The parts of the docs that are made from code: ``python -m tests.docs.generated`` writes them anew."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import typing
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

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


def python_api() -> str:
    """Signature and docstring of everything that ``cascade_otel`` exports."""
    import cascade_otel

    return _module(cascade_otel)


def confidence_api() -> str:
    """The same of ``cascade_otel.confidence``."""
    from cascade_otel import confidence

    return _module(confidence).replace("\n## ", "\n### ").replace("## ", "### ", 1)


def _module(module: ModuleType) -> str:
    return "\n\n".join(_described(name, getattr(module, name)) for name in sorted(module.__all__))


def _described(name: str, thing: object) -> str:
    said = (typing.get_overloads(thing) or [thing])[-1] if inspect.isfunction(thing) else thing
    documents = callable(said) and not (inspect.isclass(said) and issubclass(said, Exception))
    signature = str(inspect.signature(said)) if documents else ""
    signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", signature)
    if inspect.isclass(thing):
        signature = signature.removesuffix(" -> None")
    text = inspect.cleandoc(thing.__doc__ or "").replace("``", "`")
    record = dataclasses.is_dataclass(thing)
    documented = "\n".join(_fields(thing)) if record else ""
    if not record:
        text = f"```text\n{_wrapped(name + signature)}\n```\n\n{text}"
    return f"## {name}\n\n{text}" + (f"\n\n{documented}" if documented else "")


def _fields(record: object) -> list[str]:
    fields = dataclasses.fields(record)  # type: ignore[arg-type]  # TierCall is a dataclass
    return [f"- `{field.name}: {field.type}`" for field in fields]


def _wrapped(signature: str) -> str:
    if len(signature) <= 100:
        return signature
    head, _, tail = signature.partition("(")
    parts = re.split(r", (?=[*/]|\w+[:=)])", tail)  # not the commas within a type
    return head + "(\n    " + ",\n    ".join(parts)


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
    "docs/reference/python.md": {"python": python_api, "confidence": confidence_api},
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
