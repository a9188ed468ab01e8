"""The price of a call, by ``genai-prices`` where it is installed; unknown where it does not know."""

from __future__ import annotations

import functools
import os
import threading
import time
from typing import Any, NamedTuple

from cascade_otel import semconv
from cascade_otel.instrumentation._guard import warn_once
from cascade_otel.instrumentation._usage import Found

SOURCE = semconv.COST_SOURCES[2]
MOST_PRICED = 2_000
"""Pairs of model and provider whose rates are kept."""
_LONGEST_WAIT = 10.0  # seconds that a fork waits for the import
_HEAD_START = 0.01  # seconds: an import at once would keep the call that begins it from going on
_MINUTE = 60.0
# genai-prices' names for OpenTelemetry's, and for those that LiteLLM puts before the name of a model
_PROVIDERS = {
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "bedrock": "aws",
    "fireworks_ai": "fireworks",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "mistral_ai": "mistral",
    "moonshot": "moonshotai",
    "moonshot_ai": "moonshotai",
    "together_ai": "together",
    "vertex_ai": "google",
    "x_ai": "x-ai",
    "xai": "x-ai",
}
_PREFIXES = {
    each: each for each in ("openai", "anthropic", "azure", "groq", "mistral", "openrouter")
} | _PROVIDERS
# A model of these makers costs the same wherever it is served; what has open weights anyone may serve.
_SOLE_MAKERS = ("anthropic", "google", "openai", "x-ai")
_OPEN_WEIGHTS = ("gpt-oss", "gemma")
_MODALITIES = ("audio", "image", "video")

Steps = tuple[tuple[int, float], ...]
"""USD per token above a number of input tokens, from the highest number to 0."""


class Rates(NamedTuple):
    """What one model costs at one time."""

    sent: Steps
    received: Steps
    cached: Steps
    written: Steps
    written_1h: Steps
    request: float
    """USD per request."""
    modalities: tuple[str, ...]
    """Those with a price of their own, which is not known here."""


_library: Any = None
_loading: threading.Thread | None = None
_begun = False
_beginning = threading.Lock()


def begin_loading() -> None:
    """Loads the prices, once, in a thread of its own.

    It takes .2 s (.6 s where no bytecode is kept), which no call shall wait for: begun as the first tier
    call begins, it is nearly always done before that call's answer is there. Until then costs are unknown.
    """
    global _begun, _loading
    if _begun:
        return
    with _beginning:
        if _begun:
            return
        _begun = True
        # No daemon: killed at exit within a native module it would take the process with it.
        loading = threading.Thread(target=_load, name="cascade-otel-prices")
        try:
            loading.start()
        except RuntimeError:  # at exit none can be started; costs stay unknown
            return
        _loading = loading
        if hasattr(os, "register_at_fork"):  # not on Windows
            # A child forked amid an import inherits locks that nobody will ever release.
            os.register_at_fork(before=wait_until_loaded, after_in_child=_after_fork)


def wait_until_loaded() -> None:
    """Returns when loading, if it has begun, is over, at the latest after ten seconds."""
    loading = _loading
    if loading is not None and loading is not threading.current_thread():
        loading.join(_LONGEST_WAIT)


def _after_fork() -> None:
    global _beginning
    _beginning = threading.Lock()


def _load() -> None:
    """Never asks the network: genai-prices does so only where the host itself starts its ``UpdatePrices``."""
    global _library
    time.sleep(_HEAD_START)
    try:
        import genai_prices

        genai_prices.calc_price(genai_prices.Usage(), "gpt-4o", provider_id="openai")  # builds its tables
        _library = genai_prices
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "genai_prices":
            return  # not installed, which is nobody's fault
        warn_once("prices", "genai-prices", "costs stay unknown, genai-prices does not load: %r", error)


def price(model: str | None, provider: str | None, found: Found) -> float | None:
    """US dollars of one call at the list prices of now, or None where model, price or tokens are unknown.

    ``model`` is the one asked for; the one that answered, ``found.model``, goes before it. ``provider`` is a
    ``gen_ai.provider.name``. Every token is priced once: those read from a cache and those written to it at
    their own rates, or as input where a model has none; of a stepped price, the step that the whole input
    reaches holds for all tokens, as the providers bill. Not known, hence not in it: batch and priority
    discounts, tools that the provider runs.
    """
    name, sent, received = found.model or model, found.input_tokens, found.output_tokens
    if not isinstance(name, str) or sent is None or received is None:
        return None
    begin_loading()
    if _library is None:
        return None
    rates = _rates(name, provider, int(time.time() / _MINUTE))
    if rates is None or any(each in rates.modalities for each in found.modalities):
        return None
    cached, written = found.cached_tokens or 0, found.cache_written_tokens or 0
    hour = found.written_1h_tokens or 0
    plain = sent - cached - written
    if min(plain, received, cached, written - hour, hour) < 0:
        return None
    cost = rates.request
    for count, steps in (
        (plain, rates.sent),
        (received, rates.received),
        (cached, rates.cached),
        (written - hour, rates.written),
        (hour, rates.written_1h),
    ):
        if count:
            for above, rate in steps:
                if sent > above or not above:
                    cost += count * rate
                    break
            else:
                return None
    return cost


@functools.lru_cache(MOST_PRICED)
def _rates(model: str, provider: str | None, minute: int) -> Rates | None:
    """The rates that hold in this minute: some change by date, some by the time of day."""
    asked, name = _PROVIDERS.get(provider, provider) if provider else None, model
    if asked is None:
        prefix, _, rest = model.partition("/" if "/" in model else ":")
        if prefix in _PREFIXES:
            asked, name = _PREFIXES[prefix], rest
    library = _library
    try:
        answer = library.calc_price(library.Usage(), name, provider_id=asked)
    except LookupError:
        return None
    # genai-prices takes any provider whose name contains the one it knows
    if answer.provider.id not in (_SOLE_MAKERS if asked is None else (asked.lower(),)):
        return None
    if provider is None and name.lower().startswith(_OPEN_WEIGHTS):
        return None
    return _read(answer.model_price)


def _read(prices: Any) -> Rates | None:
    """Of a ``genai_prices.types.ModelPrice``; None where it prices apart what results do not tell apart."""
    by_name = {key: value for key, value in vars(prices).items() if value is not None}
    sent, received = _steps(by_name.pop("input_mtok", None)), _steps(by_name.pop("output_mtok", None))
    cached, written = (
        _steps(by_name.pop("cache_read_mtok", None)),
        _steps(by_name.pop("cache_write_mtok", None)),
    )
    written_1h = _steps(by_name.pop("cache_write_1h_mtok", None))
    others = [key for key in by_name if key.endswith("_mtok")]
    modalities = tuple(each for each in _MODALITIES if any(each in key for key in others))
    if not (sent or received) or not all(any(each in key for each in _MODALITIES) for key in others):
        return None
    return Rates(
        sent,
        received,
        cached or sent,
        written or sent,
        written_1h or written or sent,
        float(by_name.get("requests_kcount", 0)) / 1_000,
        modalities,
    )


def _steps(price: Any) -> Steps:
    """Of a ``Decimal`` or a ``genai_prices.types.TieredPrices``, USD per million tokens."""
    if price is None:
        return ()
    if not hasattr(price, "tiers"):
        return ((0, float(price) / 1e6),)
    steps = [(tier.start, float(tier.price) / 1e6) for tier in price.tiers]
    return (*sorted(steps, reverse=True), (0, float(price.base) / 1e6))
