"""Who may reach the receiver: loopback freely, the rest of the world with a token and over TLS."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cascade_otel.records import UserError


@dataclass(frozen=True)
class Tls:
    """Files in PEM: the certificate with what leads to its root, and its private key without a password."""

    certificate: Path
    key: Path


def tls_of(certificate: Path | None, key: Path | None) -> Tls | None:
    """Both files, tried together, or None where neither is given.

    Raises UserError if one is missing, cannot be read, or does not belong to the other.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        given, missing = ("--tls-key", "--tls-cert") if certificate is None else ("--tls-cert", "--tls-key")
        raise UserError(f"{given} arrived alone; wanted: both files; type {missing} FILE as well")
    for option, path in (("--tls-cert", certificate), ("--tls-key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise UserError(
                f"{option} {path} cannot be read ({error.strerror}); wanted: a file in PEM; "
                f"type {option} FILE"
            ) from error
    try:
        # Without a password of ours OpenSSL would ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise UserError(
            f"--tls-cert {certificate} and --tls-key {key} do not make a pair "
            f"({getattr(error, 'reason', None) or error}); wanted: a certificate and its private key in PEM, "
            "without a password"
        ) from error
    return Tls(certificate, key)


def check_reach(host: str, token: str | None, tls: Tls | None = None, behind_proxy: bool = False) -> None:
    """Raises UserError if ``host`` can be reached from other machines and there is no token, or nothing
    that keeps the token from being read on its way: neither TLS nor a proxy that does it."""
    if _is_loopback(host):
        return
    reach = f"--host {host} can be reached from other machines"
    if not token:
        raise UserError(
            f"{reach}; wanted: a token; type CASCADE_OTEL_TOKEN=… before the command, and in the services "
            "set OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20…"
        )
    if tls is None and not behind_proxy:
        raise UserError(
            f"{reach}, and the token could be read on its way; wanted: TLS; type --tls-cert FILE "
            "--tls-key FILE, or --behind-proxy where a proxy in front of it does TLS"
        )


def is_same(arrived: str, token: str) -> bool:
    """Whether an Authorization header bears the token; takes as long for a wrong one as for the right."""
    return hmac.compare_digest(arrived.encode(errors="replace"), f"Bearer {token}".encode())


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
