from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from cascade_otel import policy
from cascade_otel.policy import (
    HOURS_PER_YEAR,
    PageBudget,
    Policy,
    PolicyError,
    Reference,
    TaskPolicy,
    TierPolicy,
)
from cascade_otel.policy.places import line_of
from cascade_otel.records import UserError


def example() -> str:
    """The file shown in the docstring, without its indent."""
    lines = (Policy.__doc__ or "").split("::\n", 1)[1].splitlines()
    return "\n".join(line.strip() for line in lines)


def test_no_file_gives_the_defaults() -> None:
    found = policy.load(None)
    assert found == Policy()
    assert found.of("anything") == TaskPolicy()
    assert found.page_budget == PageBudget(1.0, 720.0)


def test_the_documented_example_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cascade.toml"
    path.write_text(example(), encoding="utf-8")
    found = policy.load(path)
    assert found.webhook == "https://hooks.example.com/cascade"
    assert found.tiers == {"small": TierPolicy("gpt-5-nano", "openai", "model")}
    assert found.of("colour") == TaskPolicy(
        owner="catalogue team",
        threshold=0.8,
        cost_per_day=20.0,
        escalation_limit=0.6,
        tiers=("small", "large"),
        audit_rate=0.02,
        audit_cost_per_day=1.0,
        version="prompt 3",
        risk_limit=0.05,
        reference=Reference(version="prompt 3"),
    )
    assert found.of("size") == TaskPolicy(tiers=("small", "large"))


def test_a_task_takes_what_it_does_not_say_from_the_defaults() -> None:
    found = policy.parse("[defaults]\nmin_calls = 5\n[tasks.colour]\nowner = 'me'", "cascade.toml")
    assert found.of("colour") == TaskPolicy(owner="me", min_calls=5)
    assert found.of("size").min_calls == 5


def test_pages_may_be_given_per_year() -> None:
    assert policy.parse("[alerts]\npages_per_year = 2", "f").page_budget == PageBudget(2.0, HOURS_PER_YEAR)


def test_one_threshold_is_that_of_every_tier_but_the_last() -> None:
    task = policy.parse("[tasks.a]\ntiers = ['x', 'y', 'z']\nthreshold = 0.7", "f").of("a")
    assert [task.threshold_of(tier) for tier in task.tiers] == [0.7, 0.7, None]


def test_tiers_may_differ_in_their_threshold_and_the_first_ones_is_the_tasks() -> None:
    text = "[tasks.a]\ntiers = ['x', 'y', 'z']\nthresholds = {x = 0.9, y = 0.6}"
    task = policy.parse(text, "f").of("a")
    assert [task.threshold_of(tier) for tier in task.tiers] == [0.9, 0.6, None]
    assert task.threshold == 0.9


@pytest.mark.parametrize(
    ("defaults", "said", "thresholds"),
    [
        ("threshold = 0.5", "thresholds = {x = 0.9}", [0.9, None]),
        ("thresholds = {x = 0.5}", "threshold = 0.9", [0.9, None]),
        ("thresholds = {x = 0.5, y = 0.4}", "version = '2'", [0.5, None]),
        ("threshold = 0.5", "version = '2'", [0.5, None]),
    ],
)
def test_a_task_that_says_its_thresholds_either_way_takes_none_of_the_defaults(
    defaults: str, said: str, thresholds: list[float | None]
) -> None:
    text = f"[defaults]\n{defaults}\n[tasks.a]\ntiers = ['x', 'y']\n{said}"
    task = policy.parse(text, "f").of("a")
    assert [task.threshold_of(tier) for tier in task.tiers] == thresholds


def test_a_task_may_go_straight_to_one_tier_whatever_the_defaults() -> None:
    text = "[defaults]\ntiers = ['x', 'y']\nthreshold = 0.5\n[tasks.hard]\ntiers = ['y']"
    task = policy.parse(text, "f").of("hard")
    assert [task.threshold_of(tier) for tier in task.tiers] == [None]


TASK = "[tasks.a]\ntiers = ['x', 'y']\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[alrets]", "1: alrets is an unknown key; wanted: alerts, webhook, store, tiers, defaults, tasks"),
        ("\n[alerts]\n\npages = 1", "4: alerts.pages is an unknown key; wanted: pages_per_month,"),
        ("[alerts]\npages_per_month = 0", "2: alerts.pages_per_month is 0; wanted: a number above 0"),
        ("[alerts]\npages_per_month = inf", "2: alerts.pages_per_month is inf"),
        (
            "[alerts]\npages_per_month = 1\npages_per_year = 1",
            "3: alerts.pages_per_year is there beside pages_per_month; wanted: one of the two",
        ),
        ("[defaults]\nmin_calls = 1.5", "2: defaults.min_calls is 1.5; wanted: a whole number from 1 on"),
        ("[defaults]\nmin_calls = true", "2: defaults.min_calls is True"),
        (
            '[tasks."a b"]\nthreshold = 1.5',
            '2: tasks."a b".threshold is 1.5; wanted: a number at least 0 and',
        ),
        ("[tasks.a]\nthreshold = true", "2: tasks.a.threshold is True"),
        ("[tasks.a]\nthreshold = nan", "threshold is nan"),
        ("[tasks.a]\ntier_error_rate = 'x'", "is 'x'; wanted: a number above 0 and at most 1"),
        ("[tasks.a]\nowner = ''", "owner is ''; wanted: a text in quotes"),
        ("[tasks.a]\nversion = 3", "version is 3; wanted: a text in quotes"),
        ("[tasks]\na = 3", "2: tasks.a is 3; wanted: a table, type [tasks.a]"),
        ("tasks = 3", "1: tasks is 3; wanted: a table, type [tasks]"),
        ("[alerts", "1: is not TOML: "),
        ("[alerts]\na = [1,\n\n", "2: is not TOML: "),
        ("[alerts]\n\na b = 3", "3: is not TOML: "),
        (
            "[tasks.a]\naudit_rate = 1.1",
            "2: tasks.a.audit_rate is 1.1; wanted: a number at least 0 and at most",
        ),
        ("[tasks.a]\naudit_cost_per_day = 0", "2: tasks.a.audit_cost_per_day is 0; wanted: a number above 0"),
        ("[tasks.a]\ntiers = 'x'", "2: tasks.a.tiers is 'x'; wanted: names in the order they are asked"),
        ("[tasks.a]\ntiers = []", "2: tasks.a.tiers is []; wanted: names"),
        ("[tasks.a]\ntiers = ['x', 1]", "2: tasks.a.tiers is 1; wanted: a text"),
        ("[tasks.a]\ntiers = ['x', 'y', 'x']", "2: tasks.a.tiers has 'x' 2 times; wanted: each tier once"),
        (TASK, "1: tasks.a has no τ for its tier 'x'; wanted: threshold = 0.8"),
        ("[tasks.a]\ntiers = ['x', 'y', 'z']\nthresholds = {x = 1}", "1: tasks.a has no τ for its tier 'y'"),
        (
            "[defaults]\ntiers = ['x', 'y', 'z']\nthresholds = {x = 1, y = 1}\n[tasks.a]\ntiers = ['w', 'z']",
            "4: tasks.a has no τ for its tier 'w'; wanted: thresholds = {\"w\" = 0.8}",
        ),
        (
            "[defaults]\nthreshold = 1\n[tasks.a]\ntiers = ['x', 'y', 'z']\nthresholds = {x = 1}",
            "3: tasks.a has no τ for its tier 'y'",
        ),
        (
            "[defaults]\ntiers = ['x', 'y', 'z']\nthresholds = {x = 1}",
            "1: defaults has no τ for its tier 'y'",
        ),
        (TASK + "threshold = 1\nthresholds = {x = 1}", "4: tasks.a.thresholds is there beside threshold"),
        (TASK + "thresholds = {x = 1, y = 1}", "3: tasks.a.thresholds.y is a τ for the last tier"),
        (
            TASK + "[tasks.a.thresholds]\nx = 1\nw = 1",
            "5: tasks.a.thresholds.w is no tier of it; wanted: 'x'",
        ),
        (TASK + "[tasks.a.thresholds]\nx = 1.5", "4: tasks.a.thresholds.x is 1.5; wanted: a number"),
        ("[tasks.a]\nthresholds = {x = 1}", "2: tasks.a.thresholds needs the tiers in their order"),
        ("[tasks.a]\ntiers = ['x']\nthreshold = 1", "3: tasks.a.threshold is for a tier before the last"),
        ("[tiers.x]\nmodel = 'm'", "1: tiers.x is asked by no task; asked are: none"),
        (TASK + "threshold = 1\n[tiers.w]", "4: tiers.w is asked by no task; asked are: 'x', 'y'"),
        (
            TASK + "threshold = 1\n[tiers.x]\nkind = 'ai'",
            "5: tiers.x.kind is 'ai'; wanted: one of model, multi",
        ),
        (TASK + "threshold = 1\n[tiers.x]\nname = 'm'", "5: tiers.x.name is an unknown key; wanted: model, "),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(text: str, said: str) -> None:
    with pytest.raises(PolicyError) as error:
        policy.parse(text, "cascade.toml")
    assert str(error.value).startswith(f"cascade.toml:{said}" if said[0].isdigit() else "cascade.toml:2: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


LINES = """\
# a comment
name = "x"
many = [
  1,
  2,
]
text = '''
[tasks.a]
'''

[tasks.a]  # the real one
owner = "me"
tasks.b.owner = "you"
[tasks."c d"]
limits = { low = 1, high = 2 }

[tasks.a.more]
deep = true
"""


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (("name",), 2),
        (("many",), 3),
        (("text",), 7),
        (("tasks",), 11),
        (("tasks", "a"), 11),
        (("tasks", "a", "owner"), 12),
        (("tasks", "a", "tasks", "b", "owner"), 13),
        (("tasks", "c d"), 14),
        (("tasks", "c d", "limits", "high"), 15),
        (("tasks", "a", "more"), 17),
        (("tasks", "a", "more", "deep"), 18),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_line_of_a_key_is_where_it_begins(keys: tuple[str, ...], line: int, newline: str) -> None:
    assert line_of(LINES.replace("\n", newline), keys) == line


def test_a_mistake_at_the_end_of_a_long_file_is_found_at_once() -> None:
    text = "".join(f"[tasks.t{n}]\nowner = 'team {n}'\n" for n in range(2_000)) + "[tasks.last]\nowner = 3\n"
    with pytest.raises(PolicyError, match=r"^f:4002: tasks.last.owner is 3"):
        policy.parse(text, "f")


@pytest.mark.parametrize("url", ["file:///etc/secret", "http://[secret", "secret"])
def test_an_address_that_is_none_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(PolicyError, match=r"f:2: webhook\.url is no web address") as error:
        policy.parse(f"[webhook]\nurl = '{url}'", "f")
    assert "secret" not in str(error.value)


def test_a_file_that_is_not_there_is_a_mistake_of_the_person(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        policy.load(tmp_path / "none.toml")


def test_the_reference_names_every_key() -> None:
    text = (Path(__file__).parents[1] / "docs" / "reference" / "policy.md").read_text()
    for key in (*fields(TaskPolicy), *fields(TierPolicy)):
        assert re.search(rf"^{key.name} = |`{key.name}`", text, re.MULTILINE), key.name


def test_a_store_may_keep_so_many_days_and_keeps_all_unless_told():
    assert policy.parse("", "f").keep_days is None
    assert policy.parse("[store]\nkeep_days = 400", "f").keep_days == 400
    for value in ("0", "-1", "1.5", "true", '"all"'):
        with pytest.raises(PolicyError, match=r"f:2: store\.keep_days is .*; wanted: a whole number from 1"):
            policy.parse(f"[store]\nkeep_days = {value}", "f")


def test_a_reference_may_be_fixed_days_both_included() -> None:
    said = policy.parse("[tasks.a]\nreference = {from = 1970-01-02, to = 1970-01-08}", "f").of("a").reference
    assert said == Reference(start_day=1, end_day=8)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("{from = 2026-01-01, to = 2026-01-06}", "makes 6 days; wanted: at least 7"),
        ("{from = 2026-01-01}", "wants {version"),
        ("{from = 2026-01-01T00:00:00, to = 2026-02-01}", "from is datetime"),
        ("{version = 3}", "version is 3; wanted: a text"),
        ("{since = 3}", "since is an unknown key"),
    ],
)
def test_a_reference_that_says_nothing_usable_is_refused(said: str, complaint: str) -> None:
    with pytest.raises(PolicyError) as error:
        policy.parse(f"[defaults]\nreference = {said}", "f")
    assert complaint in str(error.value)
