from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from cascade_otel.statistics.detector.fleet_prior import FleetPrior
from cascade_otel.statistics.detector.null_model import (
    Reference,
    Settings,
    learn,
    spike_log_likelihood,
    weekday,
)


def reference(world: object, **other: object) -> Reference:
    calls, hits = world.calls[:, : world.reference_hours], world.hits[:, : world.reference_hours]
    given = {"fleet": [np.arange(len(calls))], "valid": np.ones(calls.shape, bool), **other}
    return Reference(world.hours[: world.reference_hours], calls, hits, **given)


def test_weekdays_begin_on_monday() -> None:
    """1970-01-01 was a Thursday, 2026-11-24 (day 20781) a Tuesday."""
    assert weekday(np.array([0, 4, 20781])).tolist() == [3, 0, 1]


def test_level_and_wobble_of_a_fleet_are_learned(make_world: Callable[..., object]) -> None:
    null = learn(reference(make_world(40, 1, traffic=80, wobble=0.1, reference_days=21)))
    assert np.abs(null.base.mean(1) - logit(0.2)).max() < 0.15
    assert np.sqrt((null.weights * null.sigma**2).sum(1)).mean() == pytest.approx(0.1, rel=0.25)
    assert null.weights.sum(1) == pytest.approx(np.ones(40))
    assert np.all(null.level_se > 0.02)
    assert np.median(null.rate) == pytest.approx(0.2, abs=0.02)


def test_hours_outside_a_streams_reference_are_not_looked_at(make_world: Callable[..., object]) -> None:
    world = make_world(10, 2)
    whole = reference(world)
    valid = whole.valid.copy()
    valid[3, :120] = False
    spoiled = whole.hits.copy()
    spoiled[3, :120] = whole.calls[3, :120]
    kept, changed = (learn(replace(whole, valid=valid, hits=hits)) for hits in (whole.hits, spoiled))
    assert np.array_equal(kept.base, changed.base)
    assert np.array_equal(kept.sigma, changed.sigma)
    assert not np.allclose(kept.base[3], learn(whole).base[3])


def test_spikes_in_the_reference_do_not_widen_the_null(make_world: Callable[..., object]) -> None:
    """With five doubled hours a month, the null is as narrow as without, but for the hours left out."""
    args = {"traffic": 80, "wobble": 0.03, "reference_days": 21}
    clean, spiked = (
        learn(reference(make_world(40, 3, **args, spikes_per_month=spikes))) for spikes in (0, 5)
    )
    wide = learn(reference(make_world(40, 3, **args, spikes_per_month=5)), Settings(spikes=0))

    def size(null: object) -> float:
        return float(np.sqrt((null.weights * null.sigma**2).sum(1)).mean())

    assert size(spiked) < 1.1 * size(clean)
    extra = [null.dispersion.mean() - clean.dispersion.mean() for null in (spiked, wide)]
    assert extra[0] < 0.3 * extra[1]


def test_expected_logit_follows_hour_and_weekday(make_world: Callable[..., object]) -> None:
    null = replace(learn(reference(make_world(2, 4))), week=np.arange(14.0).reshape(2, 7))
    hour = 20781 * 24 + 5
    assert null.logit(np.array([hour]))[:, 0] == pytest.approx(null.base[:, 5] + [1, 8])


def test_spike_likelihood_adds_up_to_its_prior_odds() -> None:
    """Over all numbers of hits, arrangements included, a spike has the odds spikes : (1 - spikes)."""
    hits = np.arange(8.0)
    calls = np.full(8, 7.0)
    arrangements = np.array([1, 7, 21, 35, 35, 21, 7, 1])
    total = (arrangements * np.exp(spike_log_likelihood(calls, hits, 0.1))).sum()
    assert total == pytest.approx(0.1 / 0.9)
    usual = (arrangements * np.exp(hits * -1.0 - calls * np.logaddexp(0, -1.0))).sum()
    assert usual == pytest.approx(1)


def test_short_and_empty_references_are_learned_without_a_warning(make_world: Callable[..., object]) -> None:
    world = make_world(3, 5, reference_days=2)
    valid = np.ones((3, 48), bool)
    valid[1] = False
    null = learn(reference(world, valid=valid))
    assert np.all(np.isfinite(null.base))
    assert null.level_se[1] > null.level_se[0]
    assert np.all(expit(null.base[1]) == pytest.approx(0.5, abs=0.3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fleet": [np.array([0])]}, "exactly one fleet"),
        ({"fleet": [np.array([0, 1]), np.array([1])]}, "exactly one fleet"),
        ({"valid": np.ones((2, 3), bool)}, "shape"),
        ({"hours": np.arange(5)}, "hours"),
    ],
)
def test_references_that_do_not_fit_are_refused(
    make_world: Callable[..., object], change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        learn(replace(reference(make_world(2, 6)), **change))


def test_a_new_task_learns_from_the_fleet_it_joins(make_world: Callable[..., object]) -> None:
    """Twelve tasks of three days, each learned alone: the fleet's prior brings them nearer to the truth."""
    old = learn(reference(make_world(60, 7, wobble=0.2, traffic=60)))
    assert old.fleet[0].streams == 60
    far = []
    for prior in (None, old.fleet):
        worlds = [make_world(1, seed, wobble=0.2, traffic=60, reference_days=3) for seed in range(100, 112)]
        nulls = [learn(reference(world), fleet=prior) for world in worlds]
        sizes = np.array([np.sqrt((null.weights * null.sigma**2).sum()) for null in nulls])
        far.append(np.abs(sizes - 0.2).mean())
        streams = nulls[0].fleet[0].streams
    assert far[1] < 0.5 * far[0]
    assert streams == 61


def test_a_new_task_takes_the_fleets_week(make_world: Callable[..., object]) -> None:
    prior = replace(FleetPrior.default(), streams=50.0, week=np.array([0, 0, 0, 0, 0, -0.4, -0.4]))
    null = learn(reference(make_world(2, 9, reference_days=3)), fleet=[prior])
    assert null.week[:, 5:].mean() - null.week[:, :5].mean() == pytest.approx(-0.4)


def test_fleets_without_members_keep_what_was_known(make_world: Callable[..., object]) -> None:
    prior = replace(FleetPrior.default(), streams=9.0)
    given = reference(make_world(2, 10), fleet=[np.zeros(0, int), np.arange(2)])
    null = learn(given, fleet=[prior, prior])
    assert [one.streams for one in null.fleet] == [9.0, 11.0]
    with pytest.raises(ValueError, match="2 fleets need as many priors, not 1"):
        learn(given, fleet=[prior])
