"""What a call costs by genai-prices: each token at its own rate, unknown where anything is unknown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import genai_prices
import pytest
from genai_prices import Usage, calc_price
from genai_prices.types import ModelPrice, TieredPrices
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_otel import cascade, tier
from cascade_otel.instrumentation import _prices
from cascade_otel.instrumentation._prices import price
from cascade_otel.instrumentation._usage import Found
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import run_python

MODELS = [
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-5"),
    ("openai", "text-davinci-003"),
    ("anthropic", "claude-3-5-haiku-20241022"),
    ("anthropic", "claude-sonnet-4-5"),
    ("google", "gemini-2.5-pro"),
    ("google", "gemini-2.5-flash"),
    ("deepseek", "deepseek-chat"),
    ("aws", "us.anthropic.claude-sonnet-4-20250514-v1:0"),
    ("azure", "gpt-4o"),
    ("perplexity", "sonar"),
]


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    _prices.begin_loading()
    _prices.wait_until_loaded()


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from(MODELS),
    st.integers(0, 300_000),
    st.integers(0, 300_000),
    st.integers(0, 300_000),
    st.integers(0, 9_000),
    st.integers(0, 9_000),
)
def test_it_is_what_genai_prices_itself_reckons(
    asked: tuple[str, str], plain: int, received: int, cached: int, written: int, hour: int
) -> None:
    provider, model = asked
    sent, written = plain + cached + written + hour, written + hour
    told = Found(sent, received, model, cached, written, written_1h_tokens=hour)
    theirs = Usage(
        input_tokens=sent,
        output_tokens=received,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=hour,
    )
    expected = calc_price(theirs, model, provider_id=provider).total_price
    assert price(None, provider, told) == pytest.approx(float(expected), rel=1e-12)


def test_cached_tokens_are_priced_once_at_their_own_rate() -> None:
    """gpt-4o-mini: 0.15 USD per million in, 0.075 from the cache, 0.60 out."""
    assert price("gpt-4o-mini", "openai", Found(1000, 100, None, 800)) == pytest.approx(
        (200 * 0.15 + 800 * 0.075 + 100 * 0.6) / 1e6
    )


def test_a_retired_model_has_the_price_it_had() -> None:
    """Its own of 20 USD per million tokens, not that of what replaced it."""
    assert price("text-davinci-003", "openai", Found(1000, 100)) == pytest.approx(0.022)


def test_the_model_that_answered_goes_before_the_one_asked_for() -> None:
    answered = price("gpt-4o", "openai", Found(1000, 100, "gpt-4o-mini-2024-07-18"))
    assert (
        answered
        == price("gpt-4o-mini", "openai", Found(1000, 100))
        != price("gpt-4o", "openai", Found(1000, 100))
    )


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o", "openai"),
        ("gpt-4o", None),
        ("openai/gpt-4o", None),
        ("openai:gpt-4o", None),
        ("azure/gpt-4o", None),
        ("gpt-4o", "azure.ai.openai"),
        ("gemini-2.5-flash", "gcp.gen_ai"),
        ("gemini-2.5-flash", "gcp.vertex_ai"),
        ("vertex_ai/gemini-2.5-flash", None),
        ("grok-3", "x_ai"),
        ("mistral-small-latest", "mistral_ai"),
        ("anthropic.claude-3-haiku-20240307-v1:0", "aws.bedrock"),
        ("bedrock/anthropic.claude-3-haiku-20240307-v1:0", None),
        ("groq/llama3-8b-8192", None),
    ],
)
def test_models_are_known_by_the_usual_names_of_their_providers(model: str, provider: str | None) -> None:
    assert price(model, provider, Found(1000, 100))


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        (None, "openai"),
        ("", "openai"),
        ("gpt-99", "openai"),
        ("gpt-99", None),
        ("gpt-4o-of-our-own", "openai"),
        ("ft:gpt-4o-mini:acme::1", "openai"),
        ("gpt-4o", "an-openai-proxy"),
        ("gpt-4o", "nobody"),
        ("mistral-7b", None),  # anyone may serve what has open weights
        ("gpt-oss-20b", None),
        ("openai/gpt-oss-20b", None),
        ("google/gemma-3-27b-it", None),
        ("meta-llama/Llama-3-8B", None),
        ("text-embedding-3-small", "openai"),  # what goes out has no price
        ("whisper-1", "openai"),  # priced by the minute
        ("sonar-deep-research", "perplexity"),  # citations and thoughts are priced apart
    ],
)
def test_what_is_not_surely_known_has_no_price(model: str | None, provider: str | None) -> None:
    assert price(model, provider, Found(1000, 100)) is None


@pytest.mark.parametrize(
    "told",
    [Found(), Found(5), Found(None, 5), Found(-1, 5), Found(5, -1), Found(100, 5, None, 80, 30),
     Found(100, 5, None, 0, 10, written_1h_tokens=20), Found(100, 5, modalities=("audio",))],
)  # fmt: skip
def test_tokens_that_are_unknown_or_impossible_have_no_price(told: Found) -> None:
    assert price("gemini-2.5-flash", "gcp.gemini", told) is None


def test_a_modality_without_a_rate_of_its_own_costs_what_text_costs() -> None:
    told = Found(1000, 100, modalities=("image",))
    assert price("gemini-2.5-flash", None, told) == price(
        "gemini-2.5-flash", None, told._replace(modalities=())
    )


def test_a_model_that_is_listed_without_prices_has_none_even_for_no_tokens() -> None:
    assert _prices._read(ModelPrice()) is None


def test_prices_that_change_by_the_hour_are_read_anew_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(_prices.time, "time", lambda: clock[0])

    def at(*_: Any, **__: Any) -> Any:
        rate = TieredPrices(1 if clock[0] < 3600 else 2, [])  # type: ignore[arg-type]  # as good as a Decimal
        prices = ModelPrice(input_mtok=rate, output_mtok=rate)
        return SimpleNamespace(provider=SimpleNamespace(id="openai"), model_price=prices)

    monkeypatch.setattr(_prices, "_library", SimpleNamespace(calc_price=at, Usage=lambda: None))
    _prices._rates.cache_clear()
    million = Found(1_000_000, 0)
    assert price("m", "openai", million) == 1
    clock[0] = 3600.0
    assert price("m", "openai", million) == 2
    _prices._rates.cache_clear()


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A process in which loading takes until the event is set."""
    release = threading.Event()
    load = _prices._load
    monkeypatch.setattr(_prices, "_load", lambda: (release.wait(30), load()))
    monkeypatch.setattr(_prices, "_library", None)
    monkeypatch.setattr(_prices, "_begun", False)
    monkeypatch.setattr(_prices.os, "register_at_fork", lambda **_: None)
    yield release
    release.set()
    _prices.wait_until_loaded()


def answer() -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}


def test_a_call_does_not_wait_for_the_prices_and_its_cost_is_unknown(
    seen: Recorded, unloaded: threading.Event
) -> None:
    small = tier("small", provider="openai")(answer)
    small()
    unloaded.set()
    _prices.wait_until_loaded()
    small()
    first, second = seen.tiers
    assert (first.cost, first.cost_source) == (None, None)
    assert (second.cost, second.cost_source) == (pytest.approx(0.00021), "genai-prices")


def test_calls_of_many_threads_begin_loading_once(unloaded: threading.Event) -> None:
    threads = [threading.Thread(target=_prices.begin_loading) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [each.name for each in threading.enumerate()].count("cascade-otel-prices") == 1


def test_without_the_package_costs_are_unknown(
    monkeypatch: pytest.MonkeyPatch, unloaded: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "genai_prices", None)
    unloaded.set()
    assert price("gpt-4o", "openai", Found(1, 1)) is None
    _prices.wait_until_loaded()
    assert price("gpt-4o", "openai", Found(1, 1)) is None


def test_a_package_that_does_not_load_is_said_once(
    monkeypatch: pytest.MonkeyPatch, unloaded: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(genai_prices, "calc_price", None)
    unloaded.set()
    price("gpt-4o", "openai", Found(1, 1))
    _prices.wait_until_loaded()
    assert price("gpt-4o", "openai", Found(1, 1)) is None
    assert [each.getMessage().split(":")[0] for each in caplog.records] == [
        "costs stay unknown, genai-prices does not load"
    ]


def test_user_s_cost_then_the_result_s_own_then_list_prices_then_unknown(seen: Recorded) -> None:
    @cascade
    def ask() -> None:
        tier("user", provider="openai", cost=0.1)(answer)()
        tier("prices", provider="openai")(answer)()
        tier("fails", provider="openai", cost=lambda _: None)(answer)()
        tier("unknown", provider="nobody")(answer)()
        with tier("block", model="gpt-4o-mini", provider="openai") as call:
            call.input_tokens, call.output_tokens = 1000, 100
        tier("pair", model="gpt-4o-mini", usage=lambda _: (1000, 100))(lambda: "x")()

    ask()
    listed = (pytest.approx(0.00021), "genai-prices")
    assert {call.tier: (call.cost, call.cost_source) for call in seen.tiers} == {
        "user": (0.1, "user"),
        "prices": listed,
        "fails": listed,
        "unknown": (None, None),
        "block": listed,
        "pair": listed,
    }


OFFLINE = """
import sys, socket, threading
def refuse(*a, **k): raise SystemExit("the network was asked")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import cascade_otel
assert "genai_prices" not in sys.modules
from cascade_otel.instrumentation import _prices
from cascade_otel.instrumentation._usage import Found
_prices.begin_loading(); _prices.wait_until_loaded()
assert "genai_prices" in sys.modules
print(_prices.price("gpt-4o", "openai", Found(1000, 100)), [each.name for each in threading.enumerate()])
"""
FORKED = """
import os
from cascade_otel.instrumentation import _prices
from cascade_otel.instrumentation._usage import Found
_prices.begin_loading()
if (pid := os.fork()) == 0:
    import genai_prices.data
    print(_prices.price("gpt-4o", "openai", Found(1000, 100)), flush=True)
    os._exit(0)
print(os.waitpid(pid, 0)[1])
"""


def test_the_network_is_never_asked_and_no_thread_stays() -> None:
    assert run_python(OFFLINE) == "0.0035 ['MainThread']"


def test_a_child_forked_amid_loading_has_prices() -> None:
    assert run_python(FORKED) == "0.0035\n0"


@pytest.mark.parametrize(
    ("models", "cost"), [(("gpt-4o-mini", "gpt-4o"), 0.00021 + 0.0035), (("gpt-99", "gpt-4o"), None)]
)
def test_results_heard_within_a_call_are_priced_each_for_itself(
    seen: Recorded, models: tuple[str, str], cost: float | None
) -> None:
    with tier("small", provider="openai") as call:
        for model in models:
            call.hear({**answer(), "model": model})
    (recorded,) = seen.tiers
    assert (recorded.input_tokens, recorded.output_tokens) == (2000, 200)
    assert recorded.cost == (cost if cost is None else pytest.approx(cost))
