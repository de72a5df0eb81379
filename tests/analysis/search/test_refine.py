"""Running candidates: gains, limits, cancelling, the same twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.method import Update
from analysis.search import solve
from analysis.search.asked import Asked, Refinement
from analysis.search.budget import Budget
from analysis.search.refine import refine
from analysis.search.trial import Refined
from quant_core.scheme import Scheme
from tests.analysis.search.cases import amounts, assignments, keeps
from tests.analysis.search.networks import Network
from tests.analysis.search.test_interacting import table_with_rows

BUDGET = "bits<=5"


def outcome(
    network: Network, budget: str = BUDGET, plan: Refinement | None = None
) -> list[Refined]:
    asked = Asked(network.table, budget, network.base, plan=plan or Refinement())
    return [x for x in refine(asked, network.run) if isinstance(x, Refined)]


def least(network: Network, budget: str) -> float:
    limits = Budget.parse(budget)
    return min(
        network.error(choice)
        for choice in assignments(network.table)
        if keeps(network.table, choice, limits)
    )


def test_runs_bring_the_search_nearer_to_the_truth() -> None:
    """The hidden factors change which assignment is best; runs find most of that."""
    alone, refined = [], []
    for seed in range(4):
        network = Network.random(seed)
        found = outcome(network)[-1]
        truth = least(network, BUDGET)
        alone.append(found.trials[0].score.value / truth)
        refined.append(found.best.score.value / truth)
        assert found.best.score.value <= found.trials[0].score.value
    assert np.mean(refined) < 1.02
    assert np.mean(refined) - 1 < 0.25 * (np.mean(alone) - 1)


@pytest.mark.parametrize("seed", range(2))
def test_limits_ties_and_locks_hold_in_every_trial(seed: int) -> None:
    network = Network.random(seed)
    network.table.cost[2] = np.inf
    network.table.cost[2, 3] = 0.0
    network.factor[2, 3] = 0.0
    budget = "bits<=6,bops<=0.3x"
    for trial in outcome(network, budget)[-1].trials:
        assert keeps(network.table, trial.choice, Budget.parse(budget))
        assert trial.choice[0] == trial.choice[3]
        assert trial.choice[2] == 3


def test_nothing_is_run_twice_and_every_run_counts() -> None:
    network = Network.random(3)
    found = outcome(network)[-1]
    keys = [trial.choice.tobytes() for trial in found.trials]
    assert len(set(keys)) == len(keys)
    assert found.evaluations == len(network.ran)
    plan = Refinement()
    assert found.evaluations <= plan.rounds * (plan.candidates + plan.singles)


def test_one_round_only_verifies() -> None:
    network = Network.random(4)
    found = outcome(network, plan=Refinement(candidates=3, rounds=1, singles=0))[-1]
    assert 1 <= found.evaluations <= 3
    assert found.trials[0].origin == "exact"
    expected = solve(network.table, BUDGET, "exact", {}).choice
    assert np.array_equal(found.trials[0].choice, expected)
    assert found.trials[0].expected == pytest.approx(network.table.error(expected))


def test_predictions_come_near_before_the_run() -> None:
    first, last = [], []
    for seed in range(4):
        trials = outcome(Network.random(seed, spread=0.3))[-1].trials
        misses = [abs(np.log(t.expected / t.score.value)) for t in trials]
        first.append(misses[0])
        last.append(np.median(misses[-4:]))
    assert np.mean(last) < 0.5 * np.mean(first)


def test_the_same_seed_runs_the_same() -> None:
    def digests() -> list[str]:
        trials = outcome(Network.random(5))[-1].trials
        return [trial.assignment.digest for trial in trials]

    assert digests() == digests()


def test_closed_early_what_was_run_stands() -> None:
    network = Network.random(6)
    asked = Asked(network.table, BUDGET, network.base)
    steps, last = refine(asked, network.run), None
    for step in steps:
        if isinstance(step, Refined):
            last = step
            if len(step.trials) == 2:
                break
    steps.close()
    assert last is not None
    assert len(network.ran) == 2
    best = min(trial.score.value for trial in last.trials)
    assert last.best.score.value == best


def test_a_limit_on_the_error_is_one_on_the_measured_error() -> None:
    for seed in range(2):
        network = Network.random(seed)
        limit = 2.0 * least(network, "bits<=5")
        found = outcome(network, f"error<={limit:.17g}")[-1]
        sizes = [
            amounts(network.table, choice)["size"]
            for choice in assignments(network.table)
            if network.error(choice) <= limit
        ]
        assert found.met == (found.best.score.value <= limit * (1 + 1e-9))
        assert found.met
        size = amounts(network.table, found.best.choice)["size"]
        assert size <= 1.25 * min(sizes)


def test_a_limit_that_no_run_keeps_is_said() -> None:
    network = Network.random(1)
    network.table.cost[2] = np.inf
    network.table.cost[2, 1] = 1e-6  # locked, and much worse than predicted
    network.factor[2, 1] = 1e6
    found = outcome(network, "error<=1e-3")[-1]
    assert not found.met
    assert "no run kept the limit" in found.describe()


def test_cross_terms_are_run_where_they_promise_something() -> None:
    table = table_with_rows(7, 6, coupling=0.9)
    network = Network(table, np.ones_like(table.cost))
    probes = table.probes
    assert probes is not None

    class Together(Network):
        def error(self, choice: np.ndarray) -> float:
            assert probes is not None
            return probes.error(choice)

    network = Together(table, network.factor)
    found = outcome(network)[-1]
    assert found.best.score.value <= 1.05 * least(network, BUDGET)


def test_what_stays_quantized_is_measured_first() -> None:
    network = Network.random(8)
    layers = range(len(network.table.layers))
    quantized = network.base.with_input(layers, Scheme("int8", "tensor"))

    def run(assignment: object) -> Iterator[Update]:
        plain = network.base.with_choice(
            network.table.choice_of(assignment),  # type: ignore[arg-type]
            network.table.palette,
        )
        yield from network.run(plain)

    asked = Asked(network.table, BUDGET, quantized)
    steps = list(refine(asked, run))
    assert isinstance(steps[0], Update)
    assert steps[0].note.startswith("what stays as it is")
    assert not network.ran[0].any()


def test_progress_never_falls_and_ends_below_what_was_planned() -> None:
    network = Network.random(9)
    asked = Asked(network.table, BUDGET, network.base)
    updates = [x for x in refine(asked, network.run) if isinstance(x, Update)]
    done = [update.done for update in updates]
    assert done == sorted(done)
    assert all(update.done <= update.total for update in updates)


def test_a_budget_that_cannot_be_met_is_refused_before_any_run() -> None:
    network = Network.random(0)
    with pytest.raises(AnalysisError, match="No assignment keeps bits<=1"):
        outcome(network, "bits<=1")
    assert not network.ran


@pytest.mark.parametrize(
    ("name", "value"), [("candidates", 0), ("rounds", 0), ("singles", -1)]
)
def test_plans_that_run_nothing_are_refused(name: str, value: int) -> None:
    with pytest.raises(AnalysisError, match=rf"refine\.{name} is out of range"):
        Refinement(**{name: value})
