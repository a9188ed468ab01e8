"""Who gets into the receiver: loopback freely, others with a token and over TLS; on both ways in."""

from __future__ import annotations

import http.client
import json
import signal
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from cascade_otel.records import UserError
from cascade_otel.storage.receiving import access, receiver
from cascade_otel.storage.receiving.access import Tls, check_reach, is_same, tls_of
from cascade_otel.storage.receiving.intake import Intake
from tests.storage import certificates
from tests.storage.otlp_requests import LOGS, METRICS, TRACES, Called, as_json, metrics
from tests.storage.receiver_process import ROOT, Receiver, body, free_port

BEARER = {"Authorization": "Bearer s3cret"}
WRONG = ["", "Bearer wrong", "Bearer ", "s3cret", "bearer s3cret", "Bearer s3cret ", "Bearer s3cr\u00e9t"]
REACHED = ["0.0.0.0", "::", "192.0.2.1", "example.org"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    running = Receiver(tmp_path_factory.mktemp("guarded"), free_port(), token="s3cret")
    yield running
    assert running.stop(signal.SIGINT) == 0


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return certificates.make(tmp_path_factory.mktemp("pair"))


@pytest.mark.parametrize("authorization", WRONG)
def test_without_the_token_nobody_gets_in_over_http(guarded, authorization):
    headers = {"Authorization": authorization} if authorization else {}
    assert guarded.send(body(1), **headers)[0] == 401
    assert guarded.send_json(as_json(body(1)), **headers)[0] == 401
    for method, path in (("GET", "/metrics"), ("POST", "/v1/metrics"), ("POST", "/v1/logs"), ("GET", "/x")):
        assert guarded.ask(method, path, headers=headers)[0] == 401


def test_with_the_token_one_does(guarded):
    assert guarded.send(body(1), **BEARER)[0] == 200
    exposed = guarded.ask("GET", "/metrics", headers=BEARER)[1].decode()
    assert exposed.startswith("up 1\n")
    values = dict(line.rsplit(" ", 1) for line in exposed.splitlines() if not line.startswith("#"))
    assert int(values["cascade_receiver_stored_total"]) > 0
    assert int(values["cascade_receiver_refused_total"]) > 0
    assert int(values["cascade_receiver_waiting_spans"]) == 0
    assert abs(float(values["cascade_receiver_last_commit_timestamp_seconds"]) - time.time()) < 60


@pytest.mark.parametrize("authorization", WRONG[:-2])
@pytest.mark.parametrize("service", [TRACES, METRICS, LOGS])
def test_without_the_token_nobody_gets_in_over_grpc(guarded, authorization, service):
    sent = [("authorization", authorization)] if authorization else None
    called = Called(guarded.grpc_port, body(1), service, metadata=sent)
    assert called.code == grpc.StatusCode.UNAUTHENTICATED
    assert "Bearer" in called.reason


def test_a_call_without_the_token_is_refused_before_its_message_is_received(guarded):
    """Eight at once, of 15 MB each: not even half of them is ever held."""
    before = guarded.resident("VmHWM")
    with ThreadPoolExecutor(8) as clients:
        called = clients.map(lambda _: Called(guarded.grpc_port, bytes(15 << 20)).code, range(8))
        assert set(called) == {grpc.StatusCode.UNAUTHENTICATED}
    assert guarded.resident("VmHWM") - before < 60_000


def test_with_the_token_calls_are_taken(guarded):
    sent = [("authorization", "Bearer s3cret")]
    assert Called(guarded.grpc_port, body(1), metadata=sent).code == grpc.StatusCode.OK
    assert Called(guarded.grpc_port, metrics(), METRICS, metadata=sent).code == grpc.StatusCode.OK


def test_a_health_check_without_the_token_shows_no_counts(guarded):
    assert guarded.counts() == {"status": "ok"}
    known = json.loads(guarded.ask("GET", "/healthz", headers=BEARER)[1])
    assert known["stored"] >= 0


def test_tokens_are_compared_in_constant_time(monkeypatch):
    compared = []

    def compare(arrived, wanted):
        compared.append((arrived, wanted))
        return arrived == wanted

    monkeypatch.setattr(access.hmac, "compare_digest", compare)
    assert is_same("Bearer a", "a")
    assert not is_same("Bearer \ud800", "a")
    assert compared == [(b"Bearer a", b"Bearer a"), (b"Bearer ?", b"Bearer a")]


@pytest.mark.parametrize("host", REACHED)
def test_beyond_loopback_a_token_is_wanted(host):
    for tls, behind_proxy in ((None, False), (None, True), (Tls(ROOT, ROOT), False)):
        with pytest.raises(UserError, match=r"can be reached from other machines; wanted: a token; type"):
            check_reach(host, None, tls, behind_proxy)


@pytest.mark.parametrize("host", REACHED)
def test_beyond_loopback_a_token_alone_is_not_enough(host):
    with pytest.raises(UserError, match=r"type --tls-cert FILE --tls-key FILE, or --behind-proxy"):
        check_reach(host, "token")
    check_reach(host, "token", tls=Tls(ROOT, ROOT))
    check_reach(host, "token", behind_proxy=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_neither(host):
    check_reach(host, None)


@pytest.mark.parametrize("token", ["", " ", "\n"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_an_empty_token_is_not_taken_for_one(tmp_path, token, host):
    """Anybody bears it; and nobody who passes it on wants no token at all."""
    with pytest.raises(UserError, match=r"wanted: a token"):
        Intake(tmp_path, token)
    with pytest.raises(UserError, match=r"wanted: a token"):
        receiver.run(tmp_path, host, free_port(), token, behind_proxy=True)
    with pytest.raises(UserError, match=r"wanted: a token"):
        receiver.app(tmp_path, token)


def test_the_receiver_itself_refuses_to_start_so(tmp_path):
    """Whoever starts it, and before it listens."""
    program = (
        "import sys; from cascade_otel.storage.receiving import receiver\n"
        f"receiver.run({str(tmp_path / 'store')!r}, '0.0.0.0', {free_port()}, grpc_port={free_port()})"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "wanted: a token" in ended.stderr
    assert not (tmp_path / "store").exists()


def test_both_ways_in_do_tls(tmp_path, pair):
    running = Receiver(tmp_path, free_port(), pair=pair)
    trusted = grpc.ssl_channel_credentials(pair[0].read_bytes())
    try:
        assert running.send(body(1))[0] == 200
        assert Called(running.grpc_port, body(2), credentials=trusted).code == grpc.StatusCode.OK
        assert running.counts()["stored"] == 3

        trusting, running.tls = running.tls, ssl.create_default_context()
        with pytest.raises(ssl.SSLCertVerificationError):
            running.send(body(1))
        running.tls = None
        with pytest.raises((http.client.HTTPException, OSError)):
            running.send(body(1))
        running.tls = trusting
        distrusting = Called(running.grpc_port, body(1), credentials=grpc.ssl_channel_credentials())
        assert distrusting.code == grpc.StatusCode.UNAVAILABLE
        assert Called(running.grpc_port, body(1)).code == grpc.StatusCode.UNAVAILABLE
        assert running.counts()["stored"] == 3
    finally:
        assert running.stop() == 0


def test_a_pair_is_tried_before_anything_starts(tmp_path, pair):
    assert tls_of(None, None) is None
    assert tls_of(*pair) == Tls(*pair)
    other, locked = certificates.make(tmp_path, "other"), certificates.make(tmp_path, "locked", b"password")
    (tmp_path / "text").write_text("no certificate")
    for certificate, key, said in (
        (pair[0], None, "--tls-cert arrived alone; wanted: both files; type --tls-key FILE"),
        (None, pair[1], "--tls-key arrived alone; wanted: both files; type --tls-cert FILE"),
        (tmp_path / "none", pair[1], r"--tls-cert .*none cannot be read \(No such file"),
        (pair[0], tmp_path, r"--tls-key .* cannot be read \(Is a directory\)"),
        (pair[0], other[1], "do not make a pair"),
        (tmp_path / "text", pair[1], "do not make a pair"),
        (*locked, "do not make a pair .*without a password"),
    ):
        with pytest.raises(UserError, match=said) as error:
            tls_of(certificate, key)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("token", ["p\u00e4ssw\u00f6rd", "\u65e5\u672c", " spaced", "line\n", "a\tb"])
def test_a_token_that_no_header_can_bear_is_refused_at_once(tmp_path, token):
    with pytest.raises(UserError, match="wanted: one that a header can carry"):
        receiver.app(tmp_path / "store", token)
