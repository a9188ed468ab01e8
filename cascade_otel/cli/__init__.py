"""``cascade-otel``: the commands. Each loads its rooms only when it is called."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from cascade_otel.cli import drift, figures, running, stores
from cascade_otel.records import UserError

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; a mistake of the caller's is one line on standard error."""
    options = parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except UserError as error:
        print(f"cascade-otel: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("cascade_otel"):
            raise
        print(
            f"cascade-otel: {error.name} is not installed; pip install 'cascade-otel[watch]'", file=sys.stderr
        )
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The grammar of all commands, of which the reference is made."""
    top = argparse.ArgumentParser(prog="cascade-otel", description="Watches LLM cascades.")
    top.add_argument("--version", action="version", version=f"%(prog)s {version('cascade-otel')}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    store = stores.store_options(default=True)
    running.demo(commands.add_parser("demo", help="eight tasks, three of which shift, on published answers"))
    running.serve(
        commands.add_parser("serve", parents=[store], help="receiver, drift job and dashboard in one")
    )
    drift.drift(commands.add_parser("drift", parents=[store], help="look for shifts once, or accept one"))
    figures.summary(commands.add_parser("summary", parents=[store], help="each task in numbers"))
    figures.threshold(commands.add_parser("threshold", parents=[store], help="where a task's τ should be"))
    running.replay(
        commands.add_parser("replay", parents=[store], help="record an old log as the cascade would have")
    )
    running.doctor(commands.add_parser("doctor", parents=[store], help="what arrived, and what is wrong"))
    running.rules(commands.add_parser("rules", help="the Prometheus rules"))
    return top
