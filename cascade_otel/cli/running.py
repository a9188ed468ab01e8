"""Commands that run something, or look after it: demo, serve, replay, doctor, rules."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from cascade_otel.cli.stores import existing, state_path


def demo(command: argparse.ArgumentParser) -> None:
    """The grammar of ``demo``."""
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


def serve(command: argparse.ArgumentParser) -> None:
    """The grammar of ``serve``."""
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


def replay(command: argparse.ArgumentParser) -> None:
    """The grammar of ``replay``."""
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


def doctor(command: argparse.ArgumentParser) -> None:
    """The grammar of ``doctor``."""
    command.description = "What arrived, and what is wrong. The exit code is 1 if something is wrong."
    command.add_argument("--json", action="store_true", help="one JSON object with every remark")
    command.set_defaults(command=_run_doctor)


def _run_doctor(options: argparse.Namespace) -> int:
    from cascade_otel.storage import health
    from cascade_otel.storage.segments import Store

    report = health.report(Store(existing(options.store), create=False), state_path(options))
    print(json.dumps(health.as_json(report), indent=1) if options.json else "\n".join(health.lines(report)))
    return 0 if report.is_well else 1


def rules(command: argparse.ArgumentParser) -> None:
    """The grammar of ``rules``."""
    command.set_defaults(command=_run_rules)


def _run_rules(options: argparse.Namespace) -> int:
    from cascade_otel.alerting import rules

    sys.stdout.write(rules.render())
    return 0
