"""``summary`` and ``threshold``: does it pay, and where should τ be."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from cascade_otel.cli.stores import existing, state_path


def summary(command: argparse.ArgumentParser) -> None:
    """The grammar of ``summary``."""
    command.add_argument(
        "--json", action="store_true", help="a JSON list, one object per task and one for all"
    )
    command.set_defaults(command=_run_summary)


def _run_summary(options: argparse.Namespace) -> int:
    from cascade_otel.analysis.value import summary as value
    from cascade_otel.presentation import words
    from cascade_otel.storage.reading.rollup import open_reader
    from cascade_otel.storage.segments import Store

    with open_reader(Store(existing(options.store), create=False)) as reader:
        summaries, hours = value.summarise(reader), reader.span_hours()
    if options.json:
        print(json.dumps([asdict(one) for one in summaries], indent=1))
        return 0
    if hours is not None:
        print(f"everything from {words.hour(hours[0])} to {words.hour(hours[1] + 1)}\n")
    print("\n".join(value.lines(summaries)))
    return 0


def threshold(command: argparse.ArgumentParser) -> None:
    """The grammar of ``threshold``."""
    command.description = (
        "The threshold that escalates least while, with confidence 1 - delta, at most alpha of all calls are "
        "accepted and wrong; from audits or labels in the store."
    )
    command.add_argument("task", metavar="TASK")
    command.add_argument(
        "--alpha",
        type=float,
        metavar="SHARE",
        help="accepted and wrong (default: risk_limit of the policy, or .05)",
    )
    command.add_argument(
        "--delta", type=float, default=0.1, metavar="P", help="that the advice may err (default: .1)"
    )
    command.add_argument(
        "--days", type=int, default=28, metavar="N", help="of calls to look at (default: 28)"
    )
    command.add_argument(
        "--selective", action="store_true", help="alpha is a share of accepted calls, not of all"
    )
    command.add_argument(
        "--looks", type=int, default=1, metavar="N", help="so often you ask of one growing log (default: 1)"
    )
    command.add_argument(
        "--replay",
        nargs="?",
        type=float,
        const=-1.0,
        metavar="T",
        help="each day under the advised τ, or under T",
    )
    command.add_argument("--policy", type=Path, metavar="FILE", help="cascade.toml: risk_limit, threshold")
    command.add_argument("--json", action="store_true", help="one JSON object")
    command.set_defaults(command=_run_threshold)


def _run_threshold(options: argparse.Namespace) -> int:
    from cascade_otel import policy
    from cascade_otel.analysis.threshold import advice as threshold
    from cascade_otel.analysis.threshold import replay as threshold_replay
    from cascade_otel.presentation import threshold_lines
    from cascade_otel.storage.reading.rollup import open_reader
    from cascade_otel.storage.segments import Store

    said = policy.load(options.policy).of(options.task)
    alpha = said.risk_limit if options.alpha is None else options.alpha
    with open_reader(Store(existing(options.store), create=False)) as reader:
        advice = threshold.advise(
            reader,
            options.task,
            alpha=threshold.ALPHA if alpha is None else alpha,
            delta=options.delta,
            days=options.days,
            selective=options.selective,
            looks=options.looks,
            declared=said.threshold,
        )
        other = threshold.to_replay(advice, options.replay)
        window = advice.start_hour, advice.end_hour
        days = (
            []
            if other is None
            else threshold_replay.replay_threshold(reader, options.task, other, *window, said.threshold)
        )
    moved = _moved(options)
    if moved:
        print(moved, file=sys.stderr)
    if options.json:
        replayed = {} if other is None else {"replayed": other, "days": [asdict(day) for day in days]}
        print(json.dumps(asdict(advice) | replayed, indent=1))
        return 0
    print("\n".join(threshold_lines.lines(advice)))
    if other is not None:
        print("\n" + "\n".join(threshold_lines.day_lines(days, other, advice.currency)))
    return 0


def _moved(options: argparse.Namespace) -> str:
    """What to know before the advice is followed: it rests on calls from before and after a shift."""
    from cascade_otel.presentation import drift_lines
    from cascade_otel.storage.state import State

    path = state_path(options)
    if not path.exists():
        return ""
    with State(path) as state:
        found = [one for one in state.findings() if one.task == options.task and one.state == "drifting"]
    if not found:
        return ""
    return (
        f"{drift_lines.sentence(found[0])}. The advice below looks at calls from before and after that: "
        "ask again with --days when there are enough from after it"
    )
