"""What the host gave a call is let go of with the call, and what the host keeps stays its own."""

from __future__ import annotations

import contextvars
import gc
import logging
import weakref
from typing import Any

import pytest

from cascade_otel import Audit, cascade, scorer, tier
from cascade_otel.instrumentation import _guard, _prices, _shapes
from cascade_otel.instrumentation._calls import current
from cascade_otel.instrumentation._scorer import judging
from cascade_otel.instrumentation._tier_call import OpenTier
from cascade_otel.instrumentation._usage import Found
from cascade_otel.testing import Recorded


class Prompt:
    pass


def alive(references: list[weakref.ref[Prompt]]) -> int:
    gc.collect()
    return sum(each() is not None for each in references)


def test_a_function_decorated_in_a_call_goes_with_it(seen: Recorded) -> None:
    """Also one that knows itself, and through its closure the prompt."""
    prompts: list[weakref.ref[Prompt]] = []

    def answer() -> None:
        prompt = Prompt()
        prompts.append(weakref.ref(prompt))

        @tier("small")
        def small(again: bool) -> Any:
            return small(False) if again else prompt

        cascade("extract")(small)(False)

    for _ in range(20):
        answer()
    assert alive(prompts) == 0


def test_the_arguments_of_an_audited_cascade_go_with_the_call(seen: Recorded) -> None:
    """Even where something that began in it goes on, and holds its context."""
    contexts: list[contextvars.Context] = []

    @cascade("extract", audit=Audit(1e-9, lambda prompt: None))
    def extract(prompt: Prompt) -> None:
        tier("small")(lambda: contexts.append(contextvars.copy_context()))()

    prompt = Prompt()
    extract(prompt)
    reference = weakref.ref(prompt)
    del prompt
    assert alive([reference]) == 0
    assert contexts


def test_a_lazy_proxy_is_given_back_untouched(seen: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while an adapter follows the streams of its package."""

    class Lazy:
        @property
        def __class__(self) -> Any:
            raise RuntimeError("unbound proxy")

    monkeypatch.setitem(_shapes.streams, Prompt, lambda call, stream: stream)
    proxy = Lazy()
    assert tier("small", usage=lambda _: (1, 1))(lambda: proxy)() is proxy


def test_a_logging_filter_of_the_hosts_that_raises_stays_in_our_own_log(lenient: None) -> None:
    def broken(record: logging.LogRecord) -> bool:
        raise ValueError(record)

    _guard.log.addFilter(broken)
    try:
        _guard.warn_once("kind", "place", "message")
        _guard.Guard("value", "place").caught(KeyError())
    finally:
        _guard.log.removeFilter(broken)


def test_a_child_forked_while_prices_begin_to_load_can_begin_itself() -> None:
    before = _prices._beginning
    with before:
        _prices._after_fork()
        assert _prices._beginning.acquire(timeout=1)
        _prices._beginning.release()
    assert _prices._beginning is not before


def test_money_that_was_heard_of_counts_though_the_tier_fails_over_the_answer(seen: Recorded) -> None:
    @tier("small")
    def small() -> None:
        call = current()
        assert isinstance(call, OpenTier)
        call.hear(Found(100, 10, "gpt-5-nano", cost=0.5, cost_source="litellm"))
        raise ValueError("no JSON")

    with pytest.raises(ValueError, match="no JSON"):
        small()
    (only,) = seen.tiers
    assert (only.outcome, only.input_tokens, only.cost, only.cost_source) == ("error", 100, 0.5, "litellm")


@pytest.mark.parametrize(("own", "recorded"), [((9000, 900), 9000), ((5, 1), 10), (None, 10)])
def test_a_side_call_does_not_hide_the_answers_own_usage(seen: Recorded, own: Any, recorded: int) -> None:
    """A moderation beside a large answer is small; a run's own usage is never more than its calls'."""

    class Answer:
        model = "gpt-5"
        usage = None if own is None else {"prompt_tokens": own[0], "completion_tokens": own[1]}

    @tier("small")
    def small() -> Answer:
        call = current()
        assert isinstance(call, OpenTier)
        call.hear(Found(10, 2, "gpt-5-nano"))
        return Answer()

    small()
    assert seen.tiers[0].input_tokens == recorded
    assert seen.tiers[0].response_model == ("gpt-5" if recorded == 9000 else "gpt-5-nano")


def test_a_rejection_that_cannot_be_read_is_a_call_without_a_score(seen: Recorded, lenient: None) -> None:
    class NotSureError(Exception):
        @property
        def confidence(self) -> float:
            raise KeyError

    @tier("small", threshold=0.8, rejections=NotSureError)
    def small() -> str:
        raise NotSureError

    @cascade("extract")
    def run() -> str:
        try:
            return small()
        except NotSureError:
            return tier("large")(lambda: "yes")()

    assert run() == "yes"
    assert (seen.tiers[0].escalated, seen.tiers[0].confidence) == (True, None)
    assert seen.dropped == {"callable": 1}


def test_a_cascade_of_the_judges_own_is_one_like_any_other(seen: Recorded) -> None:
    heard: list[bool] = []

    @scorer("small")
    def judge() -> float:
        heard.append(judging())
        cascade("judges own")(lambda: heard.append(judging()))()
        heard.append(judging())
        return 0.9

    cascade("extract")(lambda: (tier("small")(lambda: "yes")(), judge()))()
    assert heard == [True, False, True]
    assert not judging()
