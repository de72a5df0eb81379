"""Factors learnt from runs: against hidden ones, and against what was measured."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.search.anchors import FORMAT, LAYER, NOISE, Anchors
from tests.analysis.search.cases import random_table
from tests.analysis.search.networks import Network
from tests.analysis.search.test_interacting import table_with_rows


def choices(network: Network, count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = len(network.table.cost)
    return [rng.integers(1, 4, shape).astype(np.int16) for _ in range(count)]


def learnt(network: Network, count: int) -> Anchors:
    anchors = Anchors(network.table)
    for choice in choices(network, count):
        anchors = anchors.with_run(choice, network.error(choice), alone=False)
    return anchors


def test_without_runs_the_prediction_stands() -> None:
    table = random_table(0)
    anchors = Anchors(table)
    belief = anchors.fit()
    assert np.array_equal(belief.factor, np.ones_like(table.cost))
    choice = np.full(len(table.cost), 2, dtype=np.int16)
    assert anchors.predict(choice, belief) == pytest.approx(table.error(choice))


def test_what_was_run_is_predicted_as_it_was_measured() -> None:
    network = Network.random(1)
    anchors = learnt(network, 6)
    belief = anchors.fit()
    for run in anchors.runs:
        assert anchors.predict(run.choice, belief) == pytest.approx(run.measured)


@pytest.mark.parametrize("seed", range(5))
def test_runs_make_predictions_of_other_choices_better(seed: int) -> None:
    network = Network.random(seed)
    anchors = learnt(network, 25)
    before, after = Anchors(network.table).fit(), anchors.fit()
    misses = []
    for choice in choices(network, 50, seed=9):
        truth = math.log(network.error(choice))
        misses.append(
            [
                abs(math.log(anchors.predict(choice, belief)) - truth)
                for belief in (before, after)
            ]
        )
    raw = [
        abs(math.log(network.table.error(c) / network.error(c)))
        for c in choices(network, 50, seed=9)
    ]
    assert np.mean([miss[1] for miss in misses]) < 0.5 * np.mean(raw)


def test_a_factor_common_to_a_format_is_found_from_few_runs() -> None:
    """Eight runs cannot tell 18 factors, but they tell those of three formats."""
    table = random_table(3)
    network = Network(table, np.tile([1.0, 4.0, 1.5, 1.0], (len(table.cost), 1)))
    anchors = Anchors(table)
    for option in (1, 2, 3):
        choice = np.full(len(table.cost), option, dtype=np.int16)
        anchors = anchors.with_run(choice, network.error(choice), alone=False)
    found = np.exp(anchors.fit().formats[1:])
    # Shared with the layers' own factors in proportion to the prior variances.
    assert found[0] > found[1] > found[2]
    whole = np.full(len(table.cost), 1, dtype=np.int16)
    own = table.cost[np.arange(len(whole)), whole] * anchors.fit().factor[:, 1]
    assert own.sum() == pytest.approx(network.error(whole), rel=0.05)


def test_a_layer_run_alone_gets_its_own_factor() -> None:
    table = random_table(4)
    alone = np.zeros(len(table.cost), dtype=np.int16)
    alone[2] = 1
    value = 5.0 * float(table.cost[2, 1])
    anchors = Anchors(table, rest=100.0).with_run(alone, value, alone=True)
    belief = anchors.fit()
    # The closed form of one observation of f + g with noise.
    seen = FORMAT**2 + LAYER**2
    log = math.log(5.0) * seen / (seen + NOISE**2)
    assert math.log(belief.factor[2, 1]) == pytest.approx(log, rel=1e-6)
    expected = log * FORMAT**2 / seen
    assert math.log(belief.factor[1, 1]) == pytest.approx(expected, rel=1e-6)
    assert belief.factor[2, 2] == pytest.approx(1.0)


def test_draws_spread_as_far_as_nothing_is_known() -> None:
    table = random_table(5)
    alone = np.zeros(len(table.cost), dtype=np.int16)
    alone[0] = 1
    anchors = Anchors(table).with_run(alone, float(table.cost[0, 1]), alone=True)
    rng = np.random.default_rng(0)
    logs = np.array([np.log(anchors.fit(rng).factor) for _ in range(400)])
    spread = logs.std(0)
    known, other = spread[0, 1], spread[1, 3]
    assert known == pytest.approx(NOISE, rel=0.2)
    assert other == pytest.approx(math.hypot(FORMAT, LAYER), rel=0.2)


def test_the_share_of_the_cross_terms_is_learnt() -> None:
    table = table_with_rows(2, 6, coupling=0.9)
    probes = table.probes
    assert probes is not None
    shares = []
    for truth in (0.0, 1.0):
        anchors = Anchors(table)
        for number in range(12):
            choice = np.random.default_rng(number).integers(1, 4, 6).astype(np.int16)
            own = table.error(choice)
            together = probes.error(choice)
            value = own + truth * (together - own)
            anchors = anchors.with_run(choice, value, alone=False)
        shares.append(anchors.fit().share)
    assert shares[0] < 0.2
    assert shares[1] > 0.8


@pytest.mark.parametrize("value", [math.inf, 1e300, 0.0])
def test_runs_that_went_astray_leave_numbers(value: float) -> None:
    table = random_table(6)
    choice = np.full(len(table.cost), 1, dtype=np.int16)
    belief = Anchors(table).with_run(choice, value, alone=False).fit()
    assert np.isfinite(belief.factor).all()
    assert np.isfinite(belief.table(table).cost[:, 1:]).all()
