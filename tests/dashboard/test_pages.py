from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from cascade_otel.presentation import words
from cascade_otel.presentation.second_opinion import MethodPages, SecondOpinion, SecondOpinions, keep
from cascade_otel.records import ALL_TASKS, HOUR_NS, SECOND_NS
from cascade_otel.storage.calls import two_tier_rows
from cascade_otel.storage.segments import Store
from cascade_otel.storage.state import Baseline, State
from tests.dashboard.conftest import Open
from tests.presentation.small_store import NOW_HOUR, Built, alert, build, calls, findings

NOW, TASK = "app.py", "views/task.py"
HOSTILE = {
    "steady": "![x](http://203.0.113.9/beacon.png)",
    "shifted": "<script>alert('x')</script>\n# *head* $x$ :red[y]",
    "young": '=HYPERLINK("http://203.0.113.9")' + "\u202e" + "z" * 10_000,
}


def html(test: AppTest) -> str:
    """All that the page wrote as HTML."""
    return "\n".join(element.proto.body for element in test.get("html"))


def metrics(test: AppTest) -> dict[str, tuple[str, str]]:
    return {metric.label: (metric.value, metric.delta) for metric in test.metric}


def commands(test: AppTest) -> str:
    return "\n".join(code.value for code in test.code)


def one_call(store: Path) -> None:
    frame = calls("only", np.array([NOW_HOUR]), 1, 0)
    frame["trace_hi"] = frame["trace_lo"] = 77
    Store(store).append(two_tier_rows(frame))


def test_the_first_screen_shows_the_alert_the_numbers_and_the_tasks(page: Open, current: Built) -> None:
    test = page(NOW, current.source.store)
    assert "is drifting: escalation 20% → 40% since" in html(test)
    assert "likely the model (+19 points), +$3.84 a day" in html(test)
    shown = metrics(test)
    assert shown["Calls"] == ("7,205", "1,029 a day")
    assert shown["Escalation rate"] == ("22%", "1,584 escalated")
    assert shown["Cost"] == ("$30.25", "58% saved against strong-only")
    assert shown["Latency, escalated"][0].startswith("2.")
    table = test.dataframe[0].value
    assert table["task"].tolist() == ["shifted", "young", "steady"]
    assert table["now"].round(6).tolist() == [40.0, 10.0, 20.0]


def test_the_range_comes_from_the_address(page: Open, current: Built) -> None:
    test = page(NOW, current.source.store, range="24h")
    # 20 + 20 + 10 calls an hour, and the five of the unfinished one.
    assert metrics(test)["Calls"][0] == "1,205"
    assert "is drifting: escalation 20% → 40% since" in html(test)


def test_a_nonsense_range_is_no_error(page: Open, current: Built) -> None:
    assert metrics(page(NOW, current.source.store, range="<b>"))["Calls"][0] == "7,205"


@pytest.mark.parametrize("view", [NOW, TASK])
def test_without_a_store_both_pages_say_how_to_start(page: Open, tmp_path: Path, view: str) -> None:
    test = page(view, tmp_path / "none")
    assert f"cascade-otel serve --store {tmp_path / 'none'}" in commands(test)
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in commands(test)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("view", [NOW, TASK])
def test_an_empty_store_says_so(page: Open, tmp_path: Path, view: str) -> None:
    Store(tmp_path / "store")
    assert "cascade-otel demo" in commands(page(view, tmp_path / "store"))


def test_one_call_is_enough_for_the_first_screen(page: Open, tmp_path: Path) -> None:
    one_call(tmp_path)
    test = page(NOW, tmp_path)
    assert metrics(test)["Calls"] == ("1", "")
    assert metrics(test)["Escalation rate"] == ("0%", "0 escalated")
    assert "the drift job has not run" in html(test)
    assert test.dataframe[0].value["state"].tolist() == [["not judged yet"]]


def test_one_call_is_enough_for_its_task(page: Open, tmp_path: Path) -> None:
    one_call(tmp_path)
    test = page(TASK, tmp_path, task="only")
    assert "has not been judged yet" in html(test)
    assert test.dataframe[0].value["confidence"].tolist() == [0.9]
    assert "1 labelled call so far; the chart starts at 50." in html(test)


def test_the_task_page_explains_the_shift_and_tells_what_to_type(page: Open, current: Built) -> None:
    test = page(TASK, current.source.store, task="shifted", range="7d")
    assert "<strong>shifted</strong> is drifting: escalation 20% → 40%" in html(test)
    assert "small-b answers now." in html(test)
    assert "Evidence of a change: 25.0; an alert needs 10.9." in html(test)
    assert "960 calls; ticks: reference, 3,840 calls" in html(test)
    assert "cascade-otel drift accept shifted" in commands(test)
    assert "cascade-otel drift --evidently shifted" in commands(test)
    assert "cascade-otel drift --also psi,wasserstein,ks" in commands(test)
    watched = test.dataframe[0].value
    assert watched[["stream", "state", "before", "now"]].to_numpy().tolist() == [
        ["escalation rate", "drifting", "20%", "40%"]
    ]
    table = test.dataframe[1].value
    assert len(table) == 50
    assert set(table["path"]) == {"small", "small → large"}
    assert len(test.get("vega_lite_chart")) == 6


def test_the_task_page_opens_on_the_worst_task(page: Open, current: Built) -> None:
    assert page(TASK, current.source.store).selectbox[0].value == "shifted"


def test_a_task_that_there_is_not_is_said_and_another_can_be_chosen(page: Open, current: Built) -> None:
    test = page(TASK, current.source.store, task="<b>gone")
    assert "There is no task &lt;b&gt;gone in this store" in html(test)
    assert test.selectbox[0].value is None
    assert not test.get("vega_lite_chart")
    test.selectbox[0].select("steady").run()
    assert not test.exception
    assert test.query_params["task"] == "steady"
    assert test.selectbox[0].value == "steady"
    assert "<strong>steady</strong> is quiet" in html(test)


def test_a_store_of_five_minutes_says_when_it_is_judged(page: Open, tmp_path: Path) -> None:
    one_call(tmp_path)
    with State(tmp_path / "state.sqlite") as state:
        state.tick("drift", NOW_HOUR * HOUR_NS + 240 * SECOND_NS)
    test = page(NOW, tmp_path)
    assert "Nothing to judge yet: first judged when the hour is over, 17:00 UTC." in html(test)
    assert 'aria-label="Note"' in html(test)
    assert test.dataframe[0].value["state"].tolist() == [["first judged 17:00 UTC"]]
    test = page(TASK, tmp_path, task="only")
    assert "is new: first judged when the hour is over, 17:00 UTC." in html(test)
    assert "No hour with calls is over yet: the curve begins at 17:00 UTC." in html(test)
    assert len(test.get("vega_lite_chart")) == 2


def test_a_quiet_task_offers_no_cause_and_nothing_to_accept(page: Open, current: Built) -> None:
    test = page(TASK, current.source.store, task="steady")
    assert "is quiet: 20% of calls escalate, 20% in the reference." in html(test)
    assert "accept" not in commands(test)
    assert len(test.get("vega_lite_chart")) == 5


def test_a_suspect_is_seen_on_both_pages(page: Open, tmp_path: Path) -> None:
    built = build(tmp_path / "store")
    steady, young, shifted = findings()
    suspect = replace(
        shifted, state="suspect", suspect_hour=NOW_HOUR - 3, paged_hour=None, log_evidence=11.4, cause=None
    )
    with State(built.source.state) as state:
        state.put_findings([steady, young, suspect])
        state.put_alert(replace(alert(suspect), status="pending"))
        state.put_baseline(Baseline("shifted", NOW_HOUR - 240, NOW_HOUR - 48, "pinned", NOW_HOUR * HOUR_NS))
    now = page(NOW, built.source.store)
    assert "has been suspect for 3 h: escalation 20% → 40%" in html(now)
    assert "evidence 11.4 of 10.9. Nobody is alerted yet" in html(now)
    assert now.dataframe[0].value["state"].tolist() == [["suspect"], ["learning, day 3 of 7"], ["quiet"]]
    test = page(TASK, built.source.store, task="shifted")
    assert "has been suspect for 3 h: escalation 20% → 40%" in html(test)
    assert "past days that are held still until the task is quiet again." in html(test)
    spec = test.get("vega_lite_chart")[0].proto.spec
    assert f"suspect {words.hour(NOW_HOUR - 3)}" in spec
    assert "alarm " not in spec


def test_the_page_of_a_group_lists_its_tasks(page: Open, tmp_path: Path) -> None:
    built = build(tmp_path / "store")
    steady, young, shifted = findings()
    group = replace(
        shifted, task=ALL_TASKS, tier="", group=ALL_TASKS, tasks=("shifted", "steady<b>"), cause=None
    )
    with State(built.source.state) as state:
        state.put_findings([steady, young, shifted, group])
    test = page(TASK, built.source.store, task=ALL_TASKS)
    assert "2 tasks affected" in html(test)
    assert "task?task=shifted&amp;range=7d" in html(test)
    assert "steady&lt;b&gt;" in html(test)
    assert "It is about all tasks: one page for all of them." in html(test)
    table = test.dataframe[0].value
    # No finding is about a task of that other name.
    assert table[["task", "state", "before", "now"]].to_numpy().tolist() == [
        ["shifted", "drifting", "20%", "40%"]
    ]
    assert commands(test) == ""
    now = page(NOW, built.source.store)
    assert now.dataframe[0].value["task"].tolist()[:2] == ["all tasks", "shifted"]
    assert "shifted: escalation rate" in html(now).replace("<strong>", "")


def test_evidentlys_pages_are_shown_as_last_counted(page: Open, tmp_path: Path) -> None:
    built = build(tmp_path / "store")
    counted = SecondOpinion("shifted", ("confidence", "escalated"), 3, 1, (MethodPages("psi", 2, 1, 3),))
    with State(built.source.state) as state:
        keep(state, SecondOpinions(20_414, 20_417, {"psi": 0.1}, (counted,)), NOW_HOUR)
    test = page(TASK, built.source.store, task="shifted")
    assert "Pages about this task in 3 days. Evidently: psi 2; the detector: 1." in html(test)
    table = test.dataframe[2].value
    assert table[["who", "pages", "spells", "days"]].to_numpy().tolist() == [
        ["the detector", 1, 1, 3],
        ["Evidently, psi", 2, 1, 3],
    ]
    assert "Counted when you ask for it" in html(page(TASK, built.source.store, task="steady"))


def test_old_data_are_shown_up_to_their_end_and_called_old(page: Open, tmp_path: Path) -> None:
    built = build(tmp_path / "store", NOW_HOUR - 60 * 24)
    test = page(NOW, built.source.store)
    assert "The last call ended 60 d ago" in html(test)
    assert "The drift job last ran 60 d ago" in html(test)
    assert "7 days to the last call" in html(test)
    assert metrics(test)["Calls"][0] == "7,165"


def test_hostile_names_are_text_on_both_pages(page: Open, tmp_path: Path) -> None:
    built = build(tmp_path / "store", NOW_HOUR, names=HOSTILE)
    now = page(NOW, built.source.store)
    assert "<script>" not in html(now)
    assert "&lt;script&gt;alert" in html(now)
    assert len(now.dataframe[0].value["task"][1]) <= 49
    for name in HOSTILE.values():
        test = page(TASK, built.source.store, task=name)
        assert test.selectbox[0].value == name
        assert "<script>" not in html(test)
        assert not test.markdown
        assert "\u202e" not in html(test)


def test_a_file_that_is_no_state_is_said_in_words(page: Open, tmp_path: Path) -> None:
    one_call(tmp_path)
    (tmp_path / "state.sqlite").write_bytes(b"not a database" * 100)
    for view in (NOW, TASK):
        assert "state.sqlite" in html(page(view, tmp_path))
