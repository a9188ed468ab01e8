"""``drift``: what shifted, once; and taking a shift as the new normal."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from cascade_otel.cli.stores import existing, state_path, store_options


def drift(command: argparse.ArgumentParser) -> None:
    """The grammar of ``drift``."""
    command.add_argument(
        "--policy", type=Path, metavar="FILE", help="cascade.toml: limits, owners, page budget"
    )
    command.add_argument("--json", action="store_true", help="one JSON object per task and stream")
    command.add_argument("--evidently", metavar="TASK", help="write Evidently's drift report for this task")
    command.add_argument(
        "--also",
        metavar="METHODS",
        help="count the pages that Evidently's methods, e.g. psi,wasserstein, would have sent in 30 days",
    )
    command.set_defaults(command=_run_drift)
    actions = command.add_subparsers(metavar="accept")
    accept = actions.add_parser(
        "accept", parents=[store_options(default=False)], help="take a task's shift as the new normal"
    )
    accept.add_argument("task", metavar="TASK")
    accept.set_defaults(command=_run_accept)


def _run_drift(options: argparse.Namespace) -> int:
    from cascade_otel import job, policy
    from cascade_otel.analysis.watching import baselines
    from cascade_otel.job import reports
    from cascade_otel.presentation import drift_lines, evidently_days, second_opinion

    existing(options.store)
    state = state_path(options)
    if options.evidently:
        print(reports.write_report(options.store, state, options.evidently))
        return 0
    chosen = second_opinion.methods(options.also) if options.also is not None else ()
    rules = policy.load(options.policy)
    result = job.tick(options.store, state, rules, sinks=None)
    if not result.acted:
        print(
            "a drift job runs on this store: this look, by the policy given here, changes nothing there",
            file=sys.stderr,
        )
    judged = {finding.task for finding in result.findings}
    if judged and (unknown := sorted(rules.tasks.keys() - judged)):
        print(
            f"{options.policy} names tasks that have had no full hour of calls: {', '.join(unknown)}",
            file=sys.stderr,
        )
    counted = evidently_days.ask(options.store, state, rules, chosen) if chosen else None
    if result.findings and not options.json:
        print("\n".join(drift_lines.lines(result.findings)))
    for finding in result.findings if options.json else ():
        told = asdict(finding)
        opinion = second_opinion.of_task(counted, finding.task) if counted else None
        if opinion is not None and finding.stream == "escalation_rate":
            told["second_opinion"] = asdict(opinion)
        print(json.dumps(told))
    if counted and not options.json:
        print("\n".join(["", *second_opinion.lines(counted)]))
    if not result.findings:
        print(
            f"{options.store}: no full hour of calls in the last {baselines.LOOK_BACK_DAYS} days, so "
            "nothing to judge yet: a task is learning from its first full hour on, watched after 7 days; "
            f"to see what arrived, type: cascade-otel doctor --store {options.store}",
            file=sys.stderr,
        )
    return 0


def _run_accept(options: argparse.Namespace) -> int:
    from cascade_otel import job

    print(job.accept(existing(options.store), state_path(options), options.task))
    return 0
