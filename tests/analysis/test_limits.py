from pathlib import Path

import numpy as np
import pytest

from cascade_otel.analysis.watching import limits
from cascade_otel.policy import Policy, TaskPolicy, parse
from cascade_otel.records import HOUR_NS, SECOND_NS, Finding
from cascade_otel.storage import schema
from cascade_otel.storage.reading.rollup import Reader, open_reader
from cascade_otel.storage.segments import Store
from tests.analysis.made_up import END

NOW_NS = END * HOUR_NS + 3 * 60 * SECOND_NS
"""Three minutes past: the ten minutes reach into the hour before."""
DEFAULTS = Policy()


def tier_calls(task: str, minutes_ago: np.ndarray, **columns: object) -> dict[str, object]:
    """Columns of tier spans that began so many minutes ago."""
    n = len(minutes_ago)
    ids = np.random.default_rng([len(task), n, int(minutes_ago[0] * 100)]).integers(1, 2**62, (3, n))
    given = {
        "kind": np.full(n, schema.TIER, np.int8),
        "trace_hi": ids[0],
        "trace_lo": ids[1],
        "span_id": ids[2],
        "start_ns": (NOW_NS - minutes_ago * 60 * SECOND_NS).astype(np.int64),
        "duration_ns": np.full(n, SECOND_NS),
        "cascade": ["extract"] * n,
        "task": [task] * n,
        "tier": ["small"] * n,
        "tier_index": np.zeros(n, np.int16),
        "escalated": np.zeros(n, bool),
        "threshold": np.full(n, 0.8),
        "confidence_nano": np.full(n, 900_000_000),
    }
    return given | {
        name: [value] * n if isinstance(value, str | float | int) else value
        for name, value in columns.items()
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def look(store: Store, *calls: dict[str, object], policy: Policy = DEFAULTS) -> list[Finding]:
    for columns in calls:
        store.append(schema.rows(columns))  # type: ignore[arg-type]  # columns of any kind
    with open_reader(store) as reader:
        return limits.check(reader, policy, NOW_NS)


def summary(findings: list[Finding]) -> list[tuple[str, str, str, str, float | None]]:
    return [(one.task, one.tier, one.stream, one.state, one.value) for one in findings]


RECENT = np.linspace(9.9, 0, 40)
FAILED = {
    "error_type": "TimeoutError",
    "outcome": "escalated",
    "reason": "error",
    "escalated": np.ones(40, bool),
}


def test_a_tier_whose_calls_all_fail_passes_its_limit(store: Store) -> None:
    found = look(store, tier_calls("t", RECENT, **FAILED, confidence_nano=np.full(40, np.nan)))
    assert summary(found) == [("t", "small", "tier_errors", "drifting", 1.0)]
    assert (found[0].limit, found[0].hour) == (0.5, END)
    assert found[0].current is not None
    assert (found[0].current.calls, found[0].current.escalated) == (40, 40), "what was counted"


@pytest.mark.parametrize(
    "how",
    [
        {"reason": "error", "outcome": "escalated"},
        {"reason": "timeout", "outcome": "cancelled"},
        {"error_type": "ValueError"},
    ],
)
def test_whatever_says_that_a_call_failed_counts(store: Store, how: dict[str, object]) -> None:
    (errors,) = (one for one in look(store, tier_calls("t", RECENT, **how)) if one.stream == "tier_errors")
    assert errors.value == 1.0


def test_a_cascade_that_fails_in_the_hosts_own_code_blames_no_tier(store: Store) -> None:
    """Its tiers had answered; the outcome they take over is the cascade's."""
    found = look(store, tier_calls("t", RECENT, outcome="error", escalated=[None] * 40))
    assert summary(found) == [("t", "small", "tier_errors", "quiet", 0.0)]


def test_a_call_that_its_caller_gave_up_did_not_fail(store: Store) -> None:
    found = look(store, tier_calls("t", RECENT, error_type="CancelledError", outcome="cancelled"))
    assert found[0].value == 0.0


def test_below_its_limit_a_tier_is_quiet(store: Store) -> None:
    found = look(store, tier_calls("t", RECENT, error_type=["ValueError"] * 19 + [None] * 21))
    assert summary(found)[0] == ("t", "small", "tier_errors", "quiet", 0.475)


def test_too_few_calls_say_nothing(store: Store) -> None:
    assert look(store, tier_calls("t", RECENT[:29], error_type="ValueError")) == []


def test_calls_before_the_ten_minutes_do_not_count(store: Store) -> None:
    old = tier_calls("t", np.linspace(40, 10.1, 100), error_type="ValueError")
    found = look(store, old, tier_calls("t", RECENT, outcome="accepted"))
    assert found[0].value == 0.0


def test_audits_do_not_count(store: Store) -> None:
    assert look(store, tier_calls("t", RECENT, error_type="ValueError", purpose="audit")) == []


def test_missing_confidences_count_where_a_threshold_waits_for_them(store: Store) -> None:
    missing = np.where(np.arange(40) < 30, np.nan, 900_000_000.0)
    found = look(
        store,
        tier_calls("declared", RECENT, confidence_nano=missing),
        tier_calls("not expected", RECENT, confidence_nano=missing, threshold=np.full(40, np.nan)),
        tier_calls("said", RECENT, confidence_nano=np.full(40, np.nan), threshold=np.full(40, np.nan),
                   reason="missing_confidence", escalated=np.ones(40, bool)),
    )  # fmt: skip
    told = {one.task: one.value for one in found if one.stream == "missing_confidence"}
    assert told == {"declared": 0.75, "said": 1.0}


def test_an_escalation_limit_holds_for_the_first_tier_of_the_task_that_sets_it(store: Store) -> None:
    policy = parse('[tasks."t"]\nescalation_limit = 0.6\nmin_calls = 10', "f")
    found = look(
        store,
        tier_calls("t", RECENT, escalated=np.arange(40) < 28),
        tier_calls("t", RECENT[:30], tier="large", tier_index=np.ones(30, np.int16)),
        tier_calls("u", RECENT, escalated=np.ones(40, bool)),
        policy=policy,
    )
    told = [one for one in found if one.stream == "escalation_limit"]
    assert summary(told) == [("t", "small", "escalation_limit", "drifting", 0.7)]


def test_a_budget_counts_the_days_cost_so_far(store: Store) -> None:
    policy = Policy(tasks={"t": TaskPolicy(cost_per_day=0.05)})
    today = END // 24 * 24 * HOUR_NS

    def calls(start_ns: int, n: int, **more: object) -> dict[str, object]:
        columns = tier_calls("t", np.zeros(n), **more)
        columns |= {"kind": np.full(n, schema.CASCADE, np.int8), "cost_nano": np.full(n, 1_000_000)}
        return columns | {"start_ns": np.full(n, start_ns), "span_id": start_ns % 10**9 + np.arange(n)}

    found = look(store, calls(today - 1, 1000), calls(today, 49), policy=policy)
    assert summary(found) == [("t", "", "cost_limit", "quiet", pytest.approx(0.049))]
    found = look(store, calls(today + 5, 1), calls(today + 7, 9, purpose="audit"), policy=policy)
    assert summary(found) == [("t", "", "cost_limit", "drifting", pytest.approx(0.05))]


def test_an_empty_store_has_no_limits_passed(store: Store) -> None:
    assert look(store, policy=Policy(defaults=TaskPolicy(cost_per_day=1.0))) == []


def test_the_reader_is_asked_for_two_hours_at_most(store: Store) -> None:
    asked = []

    class Watched(Reader):
        def rows(self, task, start_hour, end_hour, *rest, **more):  # type: ignore[no-untyped-def]  # passes on
            asked.append((start_hour, end_hour))
            return super().rows(task, start_hour, end_hour, *rest, **more)

    with Watched(store) as reader:
        limits.check(reader, Policy(), NOW_NS)
    assert asked == [(END - 1, END + 1)]


def test_values_are_plain_numbers(store: Store) -> None:
    found = look(store, tier_calls("t", RECENT, error_type="ValueError"))
    assert {type(one.value) for one in found} == {float}
