"""Searching near an assignment that was run, against every assignment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from analysis.method import Update
from analysis.search import solve
from analysis.search.asked import Asked, Refinement
from analysis.search.budget import Budget
from analysis.search.local import Local
from analysis.search.problem import CostTable, Probes
from analysis.search.refine import refine
from analysis.search.trial import Refined
from quant_core.assignment import Assignment
from quant_core.scheme import Scheme
from tests.analysis.search.cases import assignments, keeps
from tests.analysis.search.networks import Network
from tests.analysis.search.test_interacting import table_with_rows

BUDGET = "bits<=5"
Arrays = dict[str, np.ndarray]


class Curved(Network):
    """Its error is that of its true rows, which the table's rows only resemble.

    Attributes:
        truth: The true rows.
        expanded: Where it was expanded.
        samples: Samples whose errors it tells one by one; 0 for none.
    """

    truth: Probes
    expanded: list[np.ndarray]
    samples = 0

    def run(self, assignment: Assignment) -> Iterator[Update]:
        *first, last = super().run(assignment)
        yield from first
        errors = self.truth.of(self.ran[-1]) ** 2
        pairs = np.stack([errors, self.truth.weight])[:, : self.samples]
        arrays = {"measured_error/whole": pairs} if self.samples else {}
        yield replace(last, arrays=arrays)

    @classmethod
    def like(cls, seed: int, layers: int = 6, **more: object) -> Curved:
        table = table_with_rows(seed, layers, coupling=0.8, draw=1, **more)  # type: ignore[arg-type]
        network = cls(table, np.ones_like(table.cost))
        truth = table_with_rows(seed, layers, coupling=0.8, draw=2, **more)  # type: ignore[arg-type]
        assert truth.probes is not None
        network.truth, network.expanded = truth.probes, []
        return network

    def error(self, choice: np.ndarray) -> float:
        return self.truth.error(choice)

    def arrays(self, choice: np.ndarray) -> Arrays:
        """Return the expansion of a sum of squares, whose every row is a sample."""
        rows = self.truth
        here = rows.of(choice)
        columns, slope, v = [], [], []
        for row, layer in enumerate(self.table.layers):
            for option, scheme in enumerate(self.table.palette):
                change = rows.column_of(row, option)
                change = change - rows.column_of(row, int(choice[row]))
                columns.append((layer.name, "" if scheme is None else scheme.key))
                slope.append(2 * here * change)
                v.append(change)
        found = {
            "columns": np.array(columns),
            "slope": np.stack(slope, 1),
            "v": np.stack(v, 1).astype(np.float32),
            "sample": np.arange(len(here)),
            "error": here**2,
            "weight": rows.weight,
        }
        return {f"expansion/{name}": array for name, array in found.items()}

    def expand(
        self, assignment: Assignment, schemes: Sequence[Scheme]
    ) -> Iterator[Update]:
        choice = self.table.choice_of(assignment)
        assert choice is not None
        assert list(schemes) == [x for x in self.table.palette if x is not None]
        self.expanded.append(choice)
        yield Update(1, 2, "half")
        yield Update(2, 2, arrays=self.arrays(choice))


def outcome(
    network: Curved, budget: str = BUDGET, plan: Refinement | None = None
) -> list[Refined]:
    asked = Asked(network.table, budget, network.base, plan=plan or Refinement())
    steps = refine(asked, network.run, network.expand)
    return [step for step in steps if isinstance(step, Refined)]


def least(network: Curved, table: CostTable, budget: str) -> float:
    limits = Budget.parse(budget)
    choices = assignments(table)
    return min(network.error(c) for c in choices if keeps(table, c, limits))


def some(network: Curved, count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = len(network.table.cost)
    return [rng.integers(0, 4, rows).astype(np.int16) for _ in range(count)]


@pytest.mark.parametrize("seed", range(4))
def test_a_sum_of_squares_is_predicted_exactly_everywhere(seed: int) -> None:
    network = Curved.like(seed)
    anchor, *others = some(network, 20, seed)
    measured = network.error(anchor)
    local = Local.of(network.table, anchor, measured, network.arrays(anchor))
    assert local.predict(anchor) == measured
    value, trust = local.expect(anchor, [(anchor, measured)])
    assert (value, trust) == (pytest.approx(measured), 1.0)
    for choice in others:
        truth = max(network.error(choice), 0.1 * measured)
        assert local.predict(choice) == pytest.approx(truth, rel=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_costs_rank_as_predictions_of_single_changes_do(seed: int) -> None:
    network = Curved.like(seed)
    network.table.cost[2, 0] = np.inf
    anchor = np.full(len(network.table.cost), 2, dtype=np.int16)
    local = Local.of(
        network.table, anchor, network.error(anchor), network.arrays(anchor)
    )
    table = local.table(network.table)
    assert np.array_equal(np.isfinite(table.cost), np.isfinite(network.table.cost))
    assert (table.cost >= 0).all()
    for row, option in np.argwhere(np.isfinite(table.cost)):
        choice = anchor.copy()
        choice[row] = option
        rise = table.cost[row, option] - table.cost[row, anchor[row]]
        truth = network.error(choice) - network.error(anchor)
        assert rise == pytest.approx(truth, rel=1e-3, abs=1e-6 * local.measured)
    assert solve(table, BUDGET, "exact", {}).proven


def test_searching_near_what_was_run_finds_the_best() -> None:
    found, without = [], []
    for seed in range(4):
        network = Curved.like(seed)
        truth = least(network, network.table, BUDGET)
        found.append(outcome(network)[-1].best.score.value / truth)
        plain = outcome(network, plan=Refinement(anchors=0))[-1]
        without.append(plain.best.score.value / truth)
    assert np.mean(found) < 1.005
    assert np.mean(found) <= np.mean(without)


@pytest.mark.parametrize("seed", range(3))
def test_limits_ties_and_locks_hold_in_every_trial(seed: int) -> None:
    network = Curved.like(seed, ties=((0, 3),))
    network.table.cost[2] = np.inf
    network.table.cost[2, 3] = 0.0
    budget = "bits<=6,bops<=0.3x"
    last = outcome(network, budget)[-1]
    assert network.expanded
    for trial in last.trials:
        assert keeps(network.table, trial.choice, Budget.parse(budget))
        assert trial.choice[0] == trial.choice[3]
        assert trial.choice[2] == 3


def test_predictions_before_the_run_are_right_near_an_anchor() -> None:
    network = Curved.like(5)
    trials = outcome(network)[-1].trials
    first = network.expanded[0]
    local = Local.of(network.table, first, network.error(first), network.arrays(first))
    near = [t for t in trials[1:] if local.between(t.choice, first) <= local.measured]
    assert near
    for trial in near:
        assert trial.expected == pytest.approx(trial.score.value, rel=1e-3)


def test_expectations_start_from_the_nearest_run() -> None:
    network = Curved.like(3)
    anchor, run, _ = some(network, 3)
    measured = network.error(anchor)
    local = Local.of(network.table, anchor, measured, network.arrays(anchor))
    near = run.copy()
    near[0] = 1 if run[0] != 1 else 2
    assert local.between(near, run) < local.between(near, anchor)
    assert local.between(run, run) == 0
    # Were the run 1.5 times as bad as the expansion says, so would be its neighbour.
    told = 1.5 * local.predict(run)
    value, trust = local.expect(near, [(anchor, measured), (run, told)])
    assert value == pytest.approx(1.5 * local.predict(near))
    far = local.between(near, anchor) / measured
    assert trust == pytest.approx(min(max(2 - far, 0), 1))


def test_nothing_is_expected_far_from_every_run() -> None:
    network = Curved.like(2)
    anchor = np.full(len(network.table.cost), 3, dtype=np.int16)
    measured = network.error(anchor)
    local = Local.of(network.table, anchor, measured, network.arrays(anchor))
    far = np.full(len(network.table.cost), 1, dtype=np.int16)
    assert local.expect(far, [(anchor, measured)])[1] == 0


def test_every_run_and_every_expansion_counts() -> None:
    network = Curved.like(6)
    plan = Refinement(anchors=2, probes=3)
    last = outcome(network, plan=plan)[-1]
    assert 1 <= len(network.expanded) <= 2
    passes = 2 + 3 * (1 + 3)
    assert plan.passes == passes
    assert last.evaluations == len(network.ran)
    assert last.passes == passes * len(network.expanded)
    assert f"slopes in the time of {last.passes}" in last.describe()
    assert last.to_json()["passes"] == last.passes


def test_no_assignment_is_expanded_twice() -> None:
    network = Curved.like(7)
    outcome(network, plan=Refinement(anchors=9))
    keys = [choice.tobytes() for choice in network.expanded]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("plan", [Refinement(anchors=0), Refinement(rounds=1)])
def test_nothing_is_expanded_without_rounds_or_anchors(plan: Refinement) -> None:
    network = Curved.like(8)
    outcome(network, plan=plan)
    assert not network.expanded


def test_progress_never_falls() -> None:
    network = Curved.like(9)
    asked = Asked(network.table, BUDGET, network.base)
    steps = refine(asked, network.run, network.expand)
    updates = [step for step in steps if isinstance(step, Update)]
    done = [update.done for update in updates]
    assert done == sorted(done)
    assert all(update.done <= update.total for update in updates)


def test_the_same_again() -> None:
    def digests() -> list[str]:
        return [t.assignment.digest for t in outcome(Curved.like(4))[-1].trials]

    assert digests() == digests()


def cautious(seed: int, caution: float, samples: int) -> Refined:
    network = Curved.like(seed)
    network.samples = samples
    return outcome(network, plan=Refinement(caution=caution))[-1]


def test_what_was_run_is_proposed_only_where_samples_agree() -> None:
    kept = 0
    for seed in range(6):
        free, found = (cautious(seed, caution, 64) for caution in (0.0, 2.0))
        keys = [trial.choice.tobytes() for trial in free.trials]
        assert keys == [trial.choice.tobytes() for trial in found.trials]
        least = min(trial.score.value for trial in free.trials)
        assert free.best.score.value == least
        assert np.isnan(free.least)
        if found.at == free.at:
            continue
        kept += 1
        assert found.least == least
        assert "no gain that samples agree on" in found.describe()
        # The rule by hand: errors sample by sample, and their difference's own error.
        rows = Curved.like(seed).truth
        ours, theirs = (rows.of(x.best.choice) ** 2 for x in (free, found))
        difference = theirs - ours
        stderr = difference.std(ddof=1) / np.sqrt(len(difference))
        assert 0 < difference.mean() <= 2.0 * stderr
    assert kept


def test_few_samples_cannot_agree() -> None:
    for seed in range(6):
        found = cautious(seed, 2.0, 7)
        least = min(trial.score.value for trial in found.trials)
        assert found.best.score.value == least


def test_what_every_search_proposes_is_no_gain_of_runs() -> None:
    """However much caution is asked for, the best of the proposals can be taken."""
    for seed in range(4):
        found = cautious(seed, 1e9, 64)
        table = Curved.like(seed).table
        keys = ("exact", "interacting", "greedy", "uniform")
        choices = {solve(table, BUDGET, key, {}).choice.tobytes() for key in keys}
        assert found.best.choice.tobytes() in choices
        run = [x for x in found.trials if x.choice.tobytes() in choices]
        assert found.best.score.value == min(x.score.value for x in run)
