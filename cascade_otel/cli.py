"""``cascade-otel``: the commands. Each loads its rooms only when it is called."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

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
    store = _store_options(default=True)
    _demo(commands.add_parser("demo", help="eight tasks, three of which shift, on published answers"))
    _serve(commands.add_parser("serve", parents=[store], help="receiver, drift job and dashboard in one"))
    _drift(commands.add_parser("drift", parents=[store], help="look for shifts once, or accept one"))
    _summary(commands.add_parser("summary", parents=[store], help="each task in numbers"))
    _replay(
        commands.add_parser("replay", parents=[store], help="record an old log as the cascade would have")
    )
    _doctor(commands.add_parser("doctor", parents=[store], help="what arrived, and what is wrong"))
    _rules(commands.add_parser("rules", help="the Prometheus rules"))
    return top


def _store_options(default: bool) -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    store = os.environ.get("CASCADE_OTEL_STORE", "cascade-store")
    state = os.environ.get("CASCADE_OTEL_STATE")
    options.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        default=Path(store) if default else argparse.SUPPRESS,
        help="folder of the telemetry (default: $CASCADE_OTEL_STORE or ./cascade-store)",
    )
    options.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        default=(Path(state) if state else None) if default else argparse.SUPPRESS,
        help="file of findings and alerts (default: state.sqlite in the store)",
    )
    return options


def _existing(store: Path) -> Path:
    if not store.is_dir():
        raise UserError(
            f"{store} is no folder; wanted: a store; type --store DIR, "
            f"or start one with: cascade-otel serve --store {store}"
        )
    return store


def _state_path(options: argparse.Namespace) -> Path:
    from cascade_otel.storage.state import default_path

    return options.state or default_path(options.store)


def _demo(command: argparse.ArgumentParser) -> None:
    command.add_argument("--headless", action="store_true", help="print one JSON object per alert and exit")
    command.add_argument("--seed", type=_seed, default=7, metavar="N", help="what is drawn (default: 7)")
    command.add_argument(
        "--shift", choices=["three", "none", "shape"], default="three", help="what shifts (default: three)"
    )
    command.add_argument("--hide-models", action="store_true", help="record no response model and no version")
    command.add_argument(
        "--store", type=Path, metavar="DIR", help="keep the telemetry here (default: a temporary folder)"
    )
    command.add_argument("--port", type=int, default=4318, help="of the receiver (default: 4318)")
    command.add_argument("--dashboard-port", type=int, default=8501, help="of the dashboard (default: 8501)")
    command.set_defaults(command=_run_demo)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} arrived; wanted: a whole number from 0 on")
    return int(text)


def _run_demo(options: argparse.Namespace) -> int:
    from cascade_otel import demo

    return demo.run(
        seed=options.seed,
        shift=options.shift,
        headless=options.headless,
        hide_models=options.hide_models,
        store=options.store,
        port=options.port,
        dashboard_port=options.dashboard_port,
    )


def _serve(command: argparse.ArgumentParser) -> None:
    command.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    command.add_argument(
        "--port", type=int, default=4318, help="of the receiver, OTLP over HTTP (default: 4318)"
    )
    command.add_argument(
        "--grpc-port", type=int, default=4317, help="of the receiver, OTLP over gRPC; 0: none (default: 4317)"
    )
    command.add_argument(
        "--tls-cert", type=Path, metavar="FILE", help="certificate (PEM) of the receiver, which then does TLS"
    )
    command.add_argument("--tls-key", type=Path, metavar="FILE", help="private key (PEM) of the certificate")
    command.add_argument(
        "--behind-proxy", action="store_true", help="a proxy in front of the receiver does TLS"
    )
    command.add_argument("--dashboard-port", type=int, default=8501, help="of the dashboard (default: 8501)")
    command.add_argument("--dashboard-url", help="where people reach the dashboard, for links in alerts")
    command.add_argument(
        "--policy", type=Path, metavar="FILE", help="cascade.toml: limits, owners, page budget"
    )
    command.add_argument(
        "--webhook", metavar="URL", help="where alerts are posted (default: $CASCADE_OTEL_WEBHOOK)"
    )
    command.add_argument("--only", choices=["receiver", "drift", "dashboard"], help="one part alone")
    command.set_defaults(command=_run_serve)


def _run_serve(options: argparse.Namespace) -> int:
    from cascade_otel import serve

    wanted = serve.Options(
        store=options.store,
        state=options.state,
        host=options.host,
        port=options.port,
        grpc_port=options.grpc_port,
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        behind_proxy=options.behind_proxy,
        dashboard_port=options.dashboard_port,
        dashboard_url=options.dashboard_url,
        policy=options.policy,
        webhook=options.webhook or os.environ.get("CASCADE_OTEL_WEBHOOK"),
    )
    return serve.run_one(wanted, options.only) if options.only else serve.run_all(wanted)


def _drift(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--policy", type=Path, metavar="FILE", help="cascade.toml: limits, owners, page budget"
    )
    command.add_argument("--json", action="store_true", help="one JSON object per task and stream")
    command.add_argument("--evidently", metavar="TASK", help="write Evidently's drift report for this task")
    command.set_defaults(command=_run_drift)
    actions = command.add_subparsers(metavar="accept")
    accept = actions.add_parser(
        "accept", parents=[_store_options(default=False)], help="take a task's shift as the new normal"
    )
    accept.add_argument("task", metavar="TASK")
    accept.set_defaults(command=_run_accept)


def _run_drift(options: argparse.Namespace) -> int:
    from cascade_otel import job, policy
    from cascade_otel.analysis import baselines

    _existing(options.store)
    state_path = _state_path(options)
    if options.evidently:
        print(job.write_report(options.store, state_path, options.evidently))
        return 0
    result = job.tick(options.store, state_path, policy.load(options.policy), sinks=None)
    if not result.acted:
        print("a drift job runs on this store: these are its findings, by its policy", file=sys.stderr)
    for finding in result.findings:
        print(json.dumps(asdict(finding)) if options.json else job.line(finding))
    if not result.findings:
        print(
            f"{options.store}: no calls in the last {baselines.LOOK_BACK_DAYS} days, so nothing to judge; "
            f"to see what arrived, type: cascade-otel doctor --store {options.store}",
            file=sys.stderr,
        )
    return 0


def _run_accept(options: argparse.Namespace) -> int:
    from cascade_otel import job

    print(job.accept(_existing(options.store), _state_path(options), options.task))
    return 0


def _summary(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--json", action="store_true", help="a JSON list, one object per task and one for all"
    )
    command.set_defaults(command=_run_summary)


def _run_summary(options: argparse.Namespace) -> int:
    from cascade_otel.analysis import value
    from cascade_otel.storage.rollup import open_reader
    from cascade_otel.storage.segments import Store

    with open_reader(Store(_existing(options.store), create=False)) as reader:
        summaries = value.summarise(reader)
    if options.json:
        print(json.dumps([asdict(one) for one in summaries], indent=1))
    else:
        print("\n".join(value.lines(summaries)))
    return 0


def _replay(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", type=Path, metavar="FILE", help="Parquet or CSV, one row per query")
    command.add_argument("--cheap", required=True, metavar="MODEL")
    command.add_argument("--strong", required=True, metavar="MODEL")
    command.add_argument("--threshold", required=True, type=float, metavar="T", help="escalate below it")
    command.add_argument("--where", default="", metavar="COLUMN=VALUE,…", help="only these rows")
    command.add_argument(
        "--over", type=float, default=14.0, metavar="DAYS", help="days to spread rows over (default: 14)"
    )
    command.set_defaults(command=_run_replay)


def _run_replay(options: argparse.Namespace) -> int:
    from cascade_otel import replay

    print(
        replay.replay(
            options.file,
            options.store,
            cheap=options.cheap,
            strong=options.strong,
            threshold=options.threshold,
            where=replay.conditions(options.where),
            over_days=options.over,
        )
    )
    return 0


def _doctor(command: argparse.ArgumentParser) -> None:
    command.description = "What arrived, and what is wrong. The exit code is 1 if something is wrong."
    command.add_argument("--json", action="store_true", help="one JSON object with every remark")
    command.set_defaults(command=_run_doctor)


def _run_doctor(options: argparse.Namespace) -> int:
    from cascade_otel.storage import health
    from cascade_otel.storage.segments import Store

    report = health.report(Store(_existing(options.store), create=False), _state_path(options))
    print(json.dumps(health.as_json(report), indent=1) if options.json else "\n".join(health.lines(report)))
    return 0 if report.is_well else 1


def _rules(command: argparse.ArgumentParser) -> None:
    command.set_defaults(command=_run_rules)


def _run_rules(options: argparse.Namespace) -> int:
    from cascade_otel.alerting import rules

    sys.stdout.write(rules.render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
