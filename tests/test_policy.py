from pathlib import Path

import pytest

from cascade_otel import policy
from cascade_otel.policy import HOURS_PER_YEAR, PageBudget, Policy, PolicyError, TaskPolicy
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
    assert found.of("colour") == TaskPolicy(
        owner="catalogue team", threshold=0.8, cost_per_day=20.0, escalation_limit=0.6
    )
    assert found.of("size") == TaskPolicy()


def test_a_task_takes_what_it_does_not_say_from_the_defaults() -> None:
    found = policy.parse("[defaults]\nmin_calls = 5\n[tasks.colour]\nowner = 'me'", "cascade.toml")
    assert found.of("colour") == TaskPolicy(owner="me", min_calls=5)
    assert found.of("size").min_calls == 5


def test_pages_may_be_given_per_year() -> None:
    assert policy.parse("[alerts]\npages_per_year = 2", "f").page_budget == PageBudget(2.0, HOURS_PER_YEAR)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[alrets]", "unknown key alrets; wanted: alerts, webhook, defaults, tasks"),
        ("[alerts]\npages = 1", "unknown key alerts.pages"),
        ("[alerts]\npages_per_month = 0", "alerts.pages_per_month is 0; wanted: a number above 0"),
        ("[alerts]\npages_per_month = inf", "alerts.pages_per_month is inf"),
        ("[alerts]\npages_per_month = 1\npages_per_year = 1", "wanted: one of the two"),
        ("[defaults]\nmin_calls = 1.5", "defaults.min_calls is 1.5; wanted: a whole number from 1 on"),
        ("[defaults]\nmin_calls = true", "defaults.min_calls is True"),
        ('[tasks."a b"]\nthreshold = 1.5', 'tasks."a b".threshold is 1.5; wanted: a number at least 0 and'),
        ("[tasks.a]\nthreshold = true", "threshold is True"),
        ("[tasks.a]\nthreshold = nan", "threshold is nan"),
        (
            "[tasks.a]\ntier_error_rate = 'x'",
            "tier_error_rate is 'x'; wanted: a number above 0 and at most 1",
        ),
        ("[tasks.a]\nowner = ''", "owner is ''; wanted: a text in quotes"),
        ("[tasks]\na = 3", 'tasks."a" is 3; wanted: a table'),
        ("tasks = 3", "tasks is 3; wanted: a table, type [tasks]"),
        ("[alerts", "is not TOML"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, said: str) -> None:
    with pytest.raises(PolicyError) as error:
        policy.parse(text, "cascade.toml")
    assert str(error.value).startswith("cascade.toml")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_address_that_is_none_is_refused_without_being_repeated() -> None:
    with pytest.raises(PolicyError, match=r"webhook\.url is no web address") as error:
        policy.parse("[webhook]\nurl = 'file:///etc/secret'", "f")
    assert "secret" not in str(error.value)


def test_a_file_that_is_not_there_is_a_mistake_of_the_person(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        policy.load(tmp_path / "none.toml")
