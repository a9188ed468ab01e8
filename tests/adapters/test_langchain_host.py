"""The host gets what it would get without us: outputs, exceptions, callbacks, batches, streams."""

from __future__ import annotations

import asyncio
import gc
import inspect
import types
from collections.abc import Callable
from contextvars import copy_context
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler, CallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableLambda, RunnableWithFallbacks
from langgraph.pregel import Pregel
from opentelemetry import context, trace

from cascade_otel import cascade
from cascade_otel.adapters import (
    _langchain_alternatives,
    _langchain_cascades,
    _langchain_config,
    _langchain_models,
)
from cascade_otel.instrumentation._calls import nobody
from cascade_otel.testing import Recorded
from tests.adapters.langchain_toys import LowConfidence, Toy, gate, instrumented, two_tiers
from tests.adapters.langchain_ways import QUESTION, Run, every_way

Chain = Callable[[], Runnable[Any, Any]]
CHAINS: dict[str, Chain] = {
    "accepted": lambda: two_tiers(0.9),
    "escalated": lambda: two_tiers(0.3),
    "all turned down": lambda: (Toy(model="small-1", sure={QUESTION: 0.1}) | gate(0.8)).with_fallbacks(
        [Toy(model="large-1", sure={QUESTION: 0.2}) | gate(0.8)]
    ),
    "not handled": lambda: Toy(model="small-1", down=True).with_fallbacks(
        [Toy(model="large-1")], exceptions_to_handle=(LowConfidence,)
    ),
    "a key wanted for the exception": lambda: two_tiers(0.3, exception_key="error"),
}


class Heard(BaseCallbackHandler):
    """The names of the chains and models that ran, each after its parent's."""

    def __init__(self) -> None:
        self.names: dict[UUID, str] = {}
        self.events: list[tuple[str, ...]] = []

    def on_chain_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **rest: Any) -> None:
        self.names[run_id] = str(rest.get("name"))
        parent = self.names.get(parent_run_id) if parent_run_id else None
        self.events.append(("chain", str(rest.get("name")), str(parent), str(rest.get("tags"))))

    def on_chat_model_start(self, *_: Any, parent_run_id: UUID | None = None, **rest: Any) -> None:
        parent = self.names.get(parent_run_id) if parent_run_id else None
        metadata = {key: said for key, said in rest["metadata"].items() if key.startswith("mine")}
        self.events.append(("model", str(rest["metadata"]["ls_model_name"]), str(parent), str(metadata)))

    def on_chain_error(self, error: BaseException, **_: Any) -> None:
        self.events.append(("error", type(error).__name__))


def outcome(run: Run, chain: Runnable[Any, Any]) -> tuple[Any, ...]:
    heard = Heard()
    config = {"callbacks": [heard], "metadata": {"mine": 1}, "tags": ["b", "a"]}
    try:
        got = run(chain, config)
    except Exception as error:
        return type(error), str(error), heard.events
    return type(got), got.content, got.usage_metadata, got.response_metadata, heard.events


@every_way
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_outputs_exceptions_and_callbacks_are_what_they_are_without_us(
    run: Run, chain: Chain, seen: Recorded
) -> None:
    without = outcome(run, chain())
    with instrumented():
        assert outcome(run, chain()) == without
        with cascade("extract"):
            assert outcome(run, chain()) == without


@pytest.mark.parametrize("at_once", [True, False])
def test_each_input_of_a_batch_is_a_cascade_of_its_own(at_once: bool, seen: Recorded) -> None:
    small = Toy(model="small-1", sure={"a": 0.3, "c": 0.2})
    chain = (small | gate(0.8)).with_fallbacks([Toy(model="large-1")])
    configs: Any = [{"metadata": {"cascade_task": task}} for task in ("first", "second", "third")]
    with instrumented():
        if at_once:
            chain.batch(["a", "b", "c"], configs)
        else:
            asyncio.run(chain.abatch(["a", "b", "c"], configs))
    found = {call.task: [(each.tier, each.confidence) for each in call.tiers] for call in seen.cascades}
    assert found == {
        "first": [("small-1", 0.3), ("large-1", None)],
        "second": [("small-1", None)],
        "third": [("small-1", 0.2), ("large-1", None)],
    }
    assert len({call.trace_id for call in seen.cascades}) == 3


def test_an_alternative_s_own_batch_is_still_asked_once_for_all_inputs(seen: Recorded) -> None:
    class Together(Toy):
        def batch(self, inputs: Any, config: Any = None, **kwargs: Any) -> Any:
            asked.append(list(inputs))
            return super().batch(inputs, config, **kwargs)

    asked: list[list[str]] = []
    with instrumented():
        Together(model="small-1").with_fallbacks([Together(model="large-1")]).batch(["a", "b"])
    assert asked == [["a", "b"]]
    assert [[each.tier for each in call.tiers] for call in seen.cascades] == [["small-1"], ["small-1"]]


def test_a_batch_gives_exceptions_back_where_it_is_asked_to(seen: Recorded) -> None:
    chain = Toy(model="small-1", down=True).with_fallbacks([Toy(model="large-1", down=True)])
    with instrumented():
        outputs = chain.batch(["a", "b"], return_exceptions=True)
        with pytest.raises(ConnectionError):
            chain.batch(["a"])
        assert chain.batch([]) == []
    assert [type(each) for each in outputs] == [ConnectionError, ConnectionError]
    assert [call.outcome for call in seen.cascades] == ["error"] * 3


def test_arguments_may_be_given_by_name_and_one_run_s_id_is_warned_of_once(seen: Recorded) -> None:
    chain = two_tiers(0.3)
    with instrumented():
        chain.invoke(input=QUESTION, config={"run_name": "organic"})
        with pytest.warns(RuntimeWarning, match="run_id") as warned:
            chain.batch(inputs=[QUESTION, "b"], config={"run_name": "organic", "run_id": UUID(int=7)})
    assert len(warned) == 1
    assert [call.task for call in seen.cascades] == ["organic"] * 3


def test_a_batch_in_a_cascade_of_the_user_s_makes_no_other(seen: Recorded) -> None:
    with instrumented(), cascade("extract"):
        two_tiers(0.3).batch([QUESTION, "b"])
    (call,) = seen.cascades
    assert {each.tier for each in call.tiers} == {"small-1", "large-1"}
    assert len(call.tiers) == 3


def test_the_tier_s_span_is_the_current_one_while_the_model_works(seen: Recorded) -> None:
    class Client(Toy):
        def _answer(self, messages: Any) -> Any:
            with trace.get_tracer("client").start_as_current_span("POST"):
                return super()._answer(messages)

    chain = Client(model="small-1").with_fallbacks([Client(model="large-1")])
    with instrumented():
        chain.invoke(QUESTION)
        chain.batch(["a", "b"])
    spans = {span.context.span_id: span for span in seen.spans if span.context}
    requests = [span for span in seen.spans if span.name == "POST"]
    assert [spans[span.parent.span_id].name for span in requests if span.parent] == ["chat small-1"] * 3


def test_a_stream_reaches_the_host_chunk_by_chunk_and_its_tier_lasts_as_long(seen: Recorded) -> None:
    with instrumented(), cascade("extract"):
        stream = Toy(model="small-1").stream(QUESTION)
        next(stream)
        assert seen.tiers == []
        rest = list(stream)
    (call,) = seen.tiers
    assert rest[-1].chunk_position == "last"
    assert (call.outcome, call.input_tokens, call.response_model) == ("accepted", 10, "small-1-2026")


@pytest.mark.parametrize("fallbacks", [True, False])
def test_a_stream_that_is_closed_early_is_abandoned(fallbacks: bool, seen: Recorded) -> None:
    def closed() -> None:
        stream: Any = (two_tiers(0.9) if fallbacks else Toy(model="small-1")).stream(QUESTION)
        next(stream)
        stream.close()

    async def closed_async() -> None:
        stream: Any = (two_tiers(0.9) if fallbacks else Toy(model="small-1")).astream(QUESTION)
        await anext(stream)
        await stream.aclose()

    with instrumented(), cascade("extract"):
        closed()
        asyncio.run(closed_async())
    abandoned = [each.outcome for each in seen.tiers]
    # a gate reads the whole answer before it lets anything through: there the tier had ended
    assert abandoned == (["repeated", "accepted"] if fallbacks else ["repeated", "abandoned"])


def test_an_alternative_may_stream_as_any_iterator(seen: Recorded) -> None:
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def __aiter__(self) -> Counter:
            return self

        async def __anext__(self) -> str:
            self.count += 1
            if self.count > 3:
                raise StopAsyncIteration
            return str(self.count)

    class Rule(Runnable[Any, Any]):
        def invoke(self, *_: Any, **__: Any) -> str:
            return "123"

        def astream(self, *_: Any, **__: Any) -> Any:
            return Counter()

        def stream(self, *_: Any, **__: Any) -> Any:
            return iter("123")

    async def run() -> list[str]:
        return [chunk async for chunk in chain.astream(QUESTION)]

    chain: Any = Toy(model="small-1", down=True).with_fallbacks([Rule()])
    with instrumented():
        assert asyncio.run(run()) == list(chain.stream(QUESTION)) == ["1", "2", "3"]
    assert [[each.tier for each in call.tiers] for call in seen.cascades] == [["small-1", "Rule"]] * 2


def test_a_stream_that_breaks_off_after_its_first_chunk_has_failed(seen: Recorded) -> None:
    class Breaking(Toy):
        def _stream(self, *args: Any, **kwargs: Any) -> Any:
            yield from list(super()._stream(*args, **kwargs))[:2]
            raise ConnectionResetError

    with instrumented(), pytest.raises(ConnectionResetError):
        list(Breaking(model="small-1").with_fallbacks([Toy(model="large-1")]).stream(QUESTION))
    (call,) = seen.cascades
    assert [(each.tier, each.error) for each in call.tiers] == [("small-1", "ConnectionResetError")]
    assert call.outcome == "error"


def test_cascades_that_run_at_once_keep_apart(seen: Recorded) -> None:
    async def run() -> None:
        chain = two_tiers(0.3)
        await asyncio.gather(
            *(chain.ainvoke(QUESTION, {"metadata": {"cascade_task": f"task {n}"}}) for n in range(20))
        )

    with instrumented():
        asyncio.run(run())
    assert len(seen.cascades) == 20
    assert all([each.tier for each in call.tiers] == ["small-1", "large-1"] for call in seen.cascades)


METHODS = [
    (owner, name)
    for owner, names in (
        (BaseChatModel, ("invoke", "ainvoke", "stream", "astream")),
        (RunnableWithFallbacks, ("invoke", "ainvoke", "stream", "astream", "batch", "abatch")),
        (RunnableLambda, ("invoke", "ainvoke")),
        (Pregel, ("stream", "astream")),
    )
    for name in names
]


def test_methods_keep_their_kind_and_signature_and_are_put_back_as_they_were(seen: Recorded) -> None:
    before = [vars(owner)[name] for owner, name in METHODS]
    for _ in range(2):
        with instrumented():
            during = [vars(owner)[name] for owner, name in METHODS]
            assert not set(map(id, during)) & set(map(id, before))
            for kind in (
                inspect.iscoroutinefunction,
                inspect.isgeneratorfunction,
                inspect.isasyncgenfunction,
            ):
                assert [kind(each) for each in during] == [kind(each) for each in before]
            assert [inspect.signature(each) for each in during] == [
                inspect.signature(each) for each in before
            ]
        assert [vars(owner)[name] for owner, name in METHODS] == before


FAULTS = [
    (_langchain_models, "name_of"),
    (_langchain_models, "ensure_config"),
    (_langchain_alternatives, "ensure_config"),
    (_langchain_alternatives, "standing"),
    (_langchain_alternatives, "turn_down"),
    (_langchain_alternatives, "marked"),
    (_langchain_cascades, "model_in"),
    (_langchain_cascades, "task_of"),
]


@every_way
@pytest.mark.parametrize(("module", "name"), FAULTS, ids=[name for _, name in FAULTS])
def test_a_fault_of_ours_stays_ours(
    run: Run, module: Any, name: str, lenient: None, seen: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a fault of ours")

    without = outcome(run, two_tiers(0.3))
    with instrumented():
        monkeypatch.setattr(module, name, fail)
        assert outcome(run, two_tiers(0.3)) == without
    (dropped,) = seen.metric("cascade.telemetry.dropped")
    assert dict(dropped) == {"cascade.drop.reason": "callable"}


def test_the_mark_in_a_config_hears_of_nothing_that_langchain_tells() -> None:
    mark = _langchain_config.Mark(nobody)
    ignored = [name for name in dir(BaseCallbackHandler) if name.startswith("ignore_")]
    assert len(ignored) >= 7
    assert all(getattr(mark, name) is True for name in ignored)


def test_a_coroutine_that_is_closed_elsewhere_than_it_began_leaves_no_context_behind() -> None:
    @types.coroutine
    def pause() -> Any:
        yield

    async def call() -> None:
        await pause()

    coroutine = _langchain_config.within(context.set_value("key", 1), call)()
    copy_context().run(coroutine.send, None)
    coroutine.close()
    assert context.get_value("key") is None


def test_a_manager_of_callbacks_that_the_host_uses_again_is_as_it_was(seen: Recorded) -> None:
    manager = CallbackManager([Heard()])
    with instrumented():
        two_tiers(0.3).invoke(QUESTION, {"callbacks": manager})
        two_tiers(0.3).batch([QUESTION], {"callbacks": manager})
    assert [type(each) for each in (*manager.handlers, *manager.inheritable_handlers)] == [Heard]


def test_no_call_leaves_work_for_the_garbage_collector(seen: Recorded) -> None:
    def left_by(chain: Runnable[Any, Any]) -> list[Any]:
        chain.invoke(QUESTION)  # what is prepared once
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            chain.invoke(QUESTION)
            gc.collect()
            return [each for each in gc.garbage if type(each).__module__.startswith("cascade_otel")]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()

    with instrumented():
        assert left_by(two_tiers(0.9)) == []
