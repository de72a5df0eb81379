"""The smallest model that keeps a metric, against the whole front run."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.search.asked import Asked, Keep, Refinement
from analysis.search.budget import Budget
from analysis.search.front import front
from analysis.search.meet import meet
from analysis.search.trial import Refined
from tests.analysis.search.cases import keeps
from tests.analysis.search.networks import Network


def outcome(network: Network, keep: str, budget: str = "") -> Refined:
    asked = Asked(network.table, budget, network.base, keep=Keep.parse(keep))
    return [x for x in meet(asked, network.run) if isinstance(x, Refined)][-1]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("keep", ["top1=0.5%", "perplexity=2%", "error=0.003"])
def test_bisection_finds_the_smallest_of_the_front(seed: int, keep: str) -> None:
    network = Network.random(seed, 12, spread=0.0)  # falls along the front
    limit = {"t": 0.005, "p": math.log(1.02), "e": 0.003}[keep[0]]
    line = front(network.table)
    met = [n for n in range(len(line)) if network.error(line.choice(n)) <= limit]
    found = outcome(network, keep)
    assert found.met
    assert network.error(found.best.choice) <= limit + 1e-12
    size = network.table.total(network.table.bits, found.best.choice)
    assert line.bits[met[0]] <= size <= line.bits[met[0]] * 1.005
    assert found.evaluations <= 3 + math.ceil(math.log2(len(line)))
    assert found.goal.startswith(keep.split("=")[0])


def test_within_a_budget() -> None:
    network = Network.random(1, 12, spread=0.0)
    found = outcome(network, "top1=0.5%", "bits<=8")
    for trial in found.trials:
        assert keeps(network.table, trial.choice, Budget.parse("bits<=8"))
    # The largest within the budget is run first: nothing larger may help.
    line = front(network.table)
    within = line.bits <= 8 * network.table.parameters
    assert np.array_equal(
        found.trials[0].choice, line.choice(int(np.flatnonzero(within)[-1]))
    )


def test_a_loss_that_no_point_keeps_is_said() -> None:
    network = Network.random(2, 12)
    found = outcome(network, "error=1e-12", "bits<=3")
    assert not found.met
    assert found.evaluations == 1
    assert "no run kept the limit" in found.describe()


def test_without_a_budget_the_stored_model_is_the_last_resort() -> None:
    network = Network.random(3, 6)
    found = outcome(network, "error=1e-300")
    assert found.met
    assert not found.best.choice.any()


def test_the_plan_limits_the_runs() -> None:
    network = Network.random(4, 12)
    plan = Refinement(candidates=1, rounds=2)
    asked = Asked(
        network.table, "", network.base, plan=plan, keep=Keep.parse("error=0.003")
    )
    found = [x for x in meet(asked, network.run) if isinstance(x, Refined)][-1]
    assert found.evaluations == 2


def test_a_metric_that_is_not_measured_is_refused() -> None:
    network = Network.random(5)
    with pytest.raises(AnalysisError, match=r"(?s)f1.*error, top1, perplexity"):
        outcome(network, "f1=1%")


def test_a_budget_below_the_front_is_refused() -> None:
    network = Network.random(6)
    with pytest.raises(AnalysisError, match=r"bits<=1"):
        outcome(network, "error=1", "bits<=1")


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("top1=0.5%", Keep("top1", 0.005)),
        ("top1 = 0.005", Keep("top1", 0.005)),
        ("perplexity=1%", Keep("perplexity", 0.01, relative=True)),
        ("nll=0.02", Keep("nll", 0.02)),
        ("error=1e-3", Keep("error", 0.001)),
    ],
)
def test_what_is_to_be_kept_is_read_and_written(text: str, keep: Keep) -> None:
    assert Keep.parse(text) == keep
    assert Keep.parse(str(keep)) == keep


@pytest.mark.parametrize("text", ["", "top1", "top1<=1%", "=1", "top1=-1", "a=1.2.3"])
def test_what_cannot_be_read(text: str) -> None:
    with pytest.raises(AnalysisError, match="cannot be read"):
        Keep.parse(text)


def test_per_cent_of_an_error_make_no_sense() -> None:
    with pytest.raises(AnalysisError, match="no per cent"):
        Keep.parse("error=1%")
