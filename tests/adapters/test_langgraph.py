"""LangGraph: the next node is chosen by a confidence in the state; a graph is a cascade where one says so."""

from __future__ import annotations

import asyncio
import operator
import threading
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from cascade_otel import annotate, cascade, tier
from cascade_otel.testing import Recorded
from tests.adapters.langchain_toys import Toy, confidence, instrumented, two_tiers


class State(TypedDict, total=False):
    question: str
    confidence: float
    answer: str


small_model, large_model = Toy(model="small-1", sure={"hard": 0.3}), Toy(model="large-1")


def small(state: State) -> State:
    message = small_model.invoke(state["question"])
    annotate(confidence=confidence(message), threshold=0.8)
    return {"confidence": confidence(message), "answer": "from small"}


def large(state: State) -> State:
    large_model.invoke(state["question"])
    return {"answer": "from large"}


async def small_async(state: State) -> State:
    message = await small_model.ainvoke(state["question"])
    annotate(confidence=confidence(message), threshold=0.8)
    return {"confidence": confidence(message), "answer": "from small"}


async def large_async(state: State) -> State:
    await large_model.ainvoke(state["question"])
    return {"answer": "from large"}


def next_node(state: State) -> str:
    return "large" if state["confidence"] < 0.8 else END


def graph(first: Any = small, second: Any = large, **options: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("small", first)
    builder.add_node("large", second)
    builder.add_edge(START, "small")
    builder.add_conditional_edges("small", next_node, ["large", END])
    return builder.compile(**options)


@pytest.fixture(autouse=True)
def on() -> Iterator[None]:
    with instrumented():
        yield


def invoke(built: Any, question: str, config: Any = None) -> Any:
    return built.invoke({"question": question}, config)["answer"]


def stream(built: Any, question: str, config: Any = None) -> Any:
    return list(built.stream({"question": question}, config, stream_mode="values"))[-1]["answer"]


def ainvoke(built: Any, question: str, config: Any = None) -> Any:
    return asyncio.run(built.ainvoke({"question": question}, config))["answer"]


def astream(built: Any, question: str, config: Any = None) -> Any:
    async def run() -> Any:
        chunks = built.astream({"question": question}, config, stream_mode="values")
        return [chunk async for chunk in chunks][-1]

    return asyncio.run(run())["answer"]


Run = Callable[..., Any]
every_way = pytest.mark.parametrize(
    ("run", "first", "second"),
    [
        (invoke, small, large),
        (stream, small, large),
        (ainvoke, small, large),  # LangGraph runs these in threads
        (astream, small, large),
        (ainvoke, small_async, large_async),
        (astream, small_async, large_async),
    ],
)


def escalated(seen: Recorded) -> list[tuple[Any, ...]]:
    (call,) = seen.cascades
    return [(call.task, each.tier, each.confidence, each.reason, each.input_tokens) for each in call.tiers]


@every_way
def test_a_cascade_around_a_graph_has_its_models_for_tiers(
    run: Run, first: Any, second: Any, seen: Recorded
) -> None:
    @cascade(task="organic")
    def extract(question: str) -> Any:
        return run(graph(first, second), question)

    assert extract("hard") == "from large"
    assert escalated(seen) == [
        ("organic", "small-1", 0.3, "low_confidence", 10),
        ("organic", "large-1", None, None, 10),
    ]


@every_way
def test_a_graph_whose_config_names_a_task_is_a_cascade(
    run: Run, first: Any, second: Any, seen: Recorded
) -> None:
    named = {"metadata": {"cascade_task": "organic"}}
    assert run(graph(first, second).with_config(named), "hard") == "from large"
    assert run(graph(first, second), "easy", named) == "from small"
    hard, easy = seen.cascades
    assert (hard.task, hard.escalated, hard.final_tier) == ("organic", True, "large-1")
    assert (easy.task, easy.escalated, easy.final_tier) == ("organic", False, "small-1")


@every_way
def test_a_graph_of_which_nobody_says_so_is_no_cascade(
    run: Run, first: Any, second: Any, lenient: None, seen: Recorded
) -> None:
    assert run(graph(first, second), "hard") == "from large"
    assert seen.spans == []


@pytest.mark.parametrize(("run", "asynchronous"), [(invoke, False), (stream, False), (ainvoke, True)])
def test_node_functions_may_be_tiers_with_the_confidence_read_from_the_update(
    run: Run, asynchronous: bool, seen: Recorded
) -> None:
    def of(update: State) -> float:
        return update["confidence"]

    def sure(state: State) -> State:
        return {"confidence": confidence(small_model.invoke(state["question"])), "answer": "from small"}

    async def sure_async(state: State) -> State:
        message = await small_model.ainvoke(state["question"])
        return {"confidence": confidence(message), "answer": "from small"}

    first = tier("small", model="small-1", threshold=0.8, confidence=of)(sure_async if asynchronous else sure)
    second = tier("large", model="large-1")(large_async if asynchronous else large)
    named = {"metadata": {"cascade_task": "organic"}}
    assert run(graph(first, second), "hard", named) == "from large"
    (call,) = seen.cascades
    assert [(each.tier, each.confidence, each.reason) for each in call.tiers] == [
        ("small", 0.3, "low_confidence"),
        ("large", None, None),
    ]


def test_a_node_s_metadata_names_the_tier_of_its_models(seen: Recorded) -> None:
    builder = StateGraph(State)
    builder.add_node("draft", small, metadata={"cascade_tier": "draft"})
    builder.add_edge(START, "draft")
    with cascade("extract"):
        builder.compile().invoke({"question": "easy"})
    assert [each.tier for each in seen.tiers] == ["draft"]


def test_nodes_that_run_at_once_in_langgraph_s_threads_are_in_the_cascade(seen: Recorded) -> None:
    both = threading.Barrier(2, timeout=10)

    class Slow(Toy):
        def _answer(self, messages: Any) -> Any:
            both.wait()
            return super()._answer(messages)

    class Votes(TypedDict):
        votes: Annotated[list[str], operator.add]

    def voter(name: str) -> Callable[[Votes], Votes]:
        model = Slow(model=name)
        return lambda _: {"votes": [str(model.invoke("easy").content)]}

    builder = StateGraph(Votes)
    for name in ("one-1", "two-1"):
        builder.add_node(name, voter(name))
        builder.add_edge(START, name)
    with cascade("extract"):
        builder.compile().invoke({"votes": []})
    (call,) = seen.cascades
    assert {(each.tier, each.escalated) for each in call.tiers} == {("one-1", False), ("two-1", False)}


def test_fallbacks_in_a_node_are_tiers_of_the_graph_s_cascade(seen: Recorded) -> None:
    def answer(state: State) -> State:
        return {"answer": str(two_tiers(0.3).invoke("sure?").content)}

    builder = StateGraph(State)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.compile().invoke({"question": "hard"}, {"metadata": {"cascade_task": "organic"}})
    (call,) = seen.cascades
    assert [(each.tier, each.reason) for each in call.tiers] == [
        ("small-1", "low_confidence"),
        ("large-1", None),
    ]


def test_a_graph_in_a_graph_makes_no_second_cascade(seen: Recorded) -> None:
    inner = graph()

    def ask(state: State) -> State:
        return {"answer": inner.invoke({"question": state["question"]})["answer"]}

    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_node("inner", inner)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "inner")
    builder.compile().invoke({"question": "easy"}, {"metadata": {"cascade_task": "organic"}})
    assert len(seen.cascades) == 1
    assert [each.outcome for each in seen.tiers] == ["repeated", "accepted"]


def test_a_graph_that_stops_for_a_human_ends_its_cascade_call(seen: Recorded) -> None:
    def review(state: State) -> State:
        return {"answer": interrupt("is it right?")}

    named: Any = {"metadata": {"cascade_task": "organic"}, "configurable": {"thread_id": "1"}}
    built = graph(small, review, checkpointer=InMemorySaver())
    assert "__interrupt__" in built.invoke({"question": "hard"}, named)
    assert built.invoke(Command(resume="yes"), named)["answer"] == "yes"
    asked, resumed = seen.cascades
    assert (asked.outcome, [each.tier for each in asked.tiers]) == ("accepted", ["small-1"])
    assert (resumed.outcome, resumed.tiers) == ("accepted", ())


def test_an_agent_s_fallback_middleware_is_a_cascade_where_its_config_says_so(seen: Recorded) -> None:
    agent: Any = create_agent(
        Toy(model="small-1", down=True), middleware=[ModelFallbackMiddleware(Toy(model="large-1"))]
    ).with_config(metadata={"cascade_task": "organic"})
    agent.invoke({"messages": [("user", "easy")]})
    (call,) = seen.cascades
    assert (call.task, call.final_tier) == ("organic", "large-1")
    assert [(each.tier, each.reason, each.error) for each in call.tiers] == [
        ("small-1", "error", "ConnectionError"),
        ("large-1", None, None),
    ]
