"""Costs that follow what runs of the model have shown.

The second order underestimates large changes: below four bits a layer may do several
times what is predicted for it, and how much of the cross terms is true depends on the
noise of the probes. So every option of every layer gets a factor, all options of a
format one more in common, and the cross terms a share:

    measured = (rest + sum_l cost[l, p_l] e^(f[p_l] + g[l, p_l])) (1 + s cross) e^noise

`cross` is the sum of the cross terms over that of the own errors, as predicted. The
unknowns f, g and s have Gaussian priors. What was run, whole assignments and single
layers alone, gives their posterior by Gauss-Newton steps that solve a system of the
size of the number of runs (Rasmussen and Williams (2006), "Gaussian Processes for
Machine Learning", eq. 2.11). Near an assignment that was run, predictions start from
its measured error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.search.problem import Choice, CostTable, Floats

FORMAT = 0.5
"""Standard deviation of the logarithm of a format's factor before any run."""

LAYER = 0.5
"""The same of a layer's own factor around that of its format."""

SHARE = 1.0, 0.3
"""Share of the estimated cross terms before any run, and its standard deviation."""

NOISE = 0.05
"""Relative misfit of a run that is put down to what the model leaves out."""

LEAST = 0.1
"""Cross terms take away at most all but this share of the sum of own errors."""

STEPS = 30
CLOSE = 1e-8
LARGEST = math.log(100.0)
"""No factor is further from 1 than this, whatever a diverged run says."""


@dataclass(frozen=True)
class Belief:
    """What is believed of the unknowns.

    Attributes:
        formats: `[P]` logarithms of the factors that formats have in common.
        layers: `[R, P]` logarithms of the factors of single layers beyond these.
        share: Share of the cross terms that is true.
    """

    formats: Floats
    layers: Floats
    share: float

    @property
    def factor(self) -> Floats:
        """`[R, P]` measured over predicted error; 1 for float."""
        return np.asarray(
            np.exp(np.clip(self.layers + self.formats, -LARGEST, LARGEST))
        )

    @property
    def part(self) -> float:
        """The share, kept between none and all."""
        return min(max(self.share, 0.0), 1.0)

    def table(self, table: CostTable) -> CostTable:
        """Return costs and projections with the factors applied."""
        factor, probes = self.factor, table.probes
        cost = np.where(np.isfinite(table.cost), table.cost * factor, np.inf)
        stderr = None if table.stderr is None else table.stderr * factor
        if probes is not None:
            probes = replace(probes, factor=np.sqrt(factor))
        return replace(table, cost=cost, stderr=stderr, probes=probes)


@dataclass(frozen=True)
class Seen:
    """A run of the network.

    Attributes:
        choice: `[R]` options that were run.
        measured: What came out.
        alone: Whether it was a single layer, all others and all inputs in float.
        cross: What the probes say that layers do to each other in this choice, a
            share of their own errors.
    """

    choice: Choice
    measured: float
    alone: bool
    cross: float


@dataclass(frozen=True)
class Anchors:
    """Measured errors, and what they say of the costs.

    Attributes:
        table: The costs as predicted.
        rest: Error of what the search does not choose (quantized inputs that stay).
        runs: What was run.
    """

    table: CostTable
    rest: float = 0.0
    runs: tuple[Seen, ...] = ()

    def with_run(self, choice: Choice, measured: float, *, alone: bool) -> Anchors:
        """Return the anchors with one more run."""
        cross = 0.0 if alone else self._cross(choice)
        return replace(self, runs=(*self.runs, Seen(choice, measured, alone, cross)))

    def fit(self, rng: np.random.Generator | None = None) -> Belief:
        """Return the mean of what is believed or, with `rng`, a draw.

        A draw takes a draw of the prior for the truth, sees it with noise, and is
        corrected by the runs (Matheron's rule): draws spread as the posterior does.
        """
        prior, spread = self._prior()
        noise = np.zeros(len(self.runs))
        if rng is not None:
            prior = prior + spread * rng.standard_normal(len(prior))
            noise = NOISE * rng.standard_normal(len(self.runs))
        guess = prior
        for _ in range(STEPS if self.runs else 0):
            slopes, misfits = self._linear(guess)
            seen = slopes * spread**2
            inner = seen @ slopes.T + NOISE**2 * np.eye(len(slopes))
            aim = misfits - noise + slopes @ (guess - prior)
            step = prior + seen.T @ np.linalg.solve(inner, aim) - guess
            largest = float(np.abs(step).max(initial=0.0))
            guess = guess + step / max(largest, 1.0)
            if largest < CLOSE:
                break
        return self._belief(guess)

    def predict(self, choice: NDArray[np.integer], belief: Belief) -> float:
        """Return the error expected of a choice.

        The run that has most of its error in common corrects it, the more the more
        that is: of a choice that was run it is what was measured.
        """
        own = self._own(choice, belief)
        total = self.rest + float(own.sum())
        near, correction = 0.0, 0.0
        for run in self.runs:
            common = self.rest + float(own[run.choice == choice].sum())
            if run.alone or not common > near:
                continue
            modelled = self._modelled(run, belief)
            if modelled > 0 and run.measured > 0 and math.isfinite(run.measured):
                near, correction = common, math.log(run.measured / modelled)
        share = near / total if total > 0 else 0.0
        return (
            total
            * _together(belief, self._cross(choice))
            * math.exp(share * correction)
        )

    # -- the model -------------------------------------------------------------------

    def _prior(self) -> tuple[Floats, Floats]:
        """Return means and standard deviations of all unknowns, in one vector."""
        rows, options = self.table.cost.shape
        mean = np.zeros(options + rows * options + 1)
        spread = np.full(len(mean), LAYER)
        spread[:options] = FORMAT
        mean[-1], spread[-1] = SHARE if self.table.probes is not None else (0.0, 0.0)
        return mean, spread

    def _belief(self, vector: Floats) -> Belief:
        rows, options = self.table.cost.shape
        layers = vector[options:-1].reshape(rows, options)
        return Belief(vector[:options], layers, float(vector[-1]))

    def _own(self, choice: NDArray[np.integer], belief: Belief) -> Floats:
        """Return `[R]` own errors with their factors."""
        place = np.arange(len(choice)), choice
        cost = self.table.cost[place]
        own = np.where(np.isfinite(cost), cost, 0.0) * belief.factor[place]
        return np.asarray(own, dtype=np.float64)

    def _modelled(self, run: Seen, belief: Belief) -> float:
        rest = 0.0 if run.alone else self.rest
        own = float(self._own(run.choice, belief).sum())
        return (rest + own) * _together(belief, run.cross)

    def _cross(self, choice: NDArray[np.integer]) -> float:
        probes = self.table.probes
        return 0.0 if probes is None else probes.interaction(choice)

    def _linear(self, vector: Floats) -> tuple[Floats, Floats]:
        """Return slopes `[runs, unknowns]` and misfits `[runs]` of the logarithms."""
        belief = self._belief(vector)
        rows, options = self.table.cost.shape
        slopes = np.zeros((len(self.runs), len(vector)))
        misfits = np.zeros(len(self.runs))
        for number, run in enumerate(self.runs):
            modelled = self._modelled(run, belief)
            if not (modelled > 0 and run.measured > 0):
                continue
            log = math.log(run.measured / modelled)
            misfits[number] = min(max(log, -LARGEST), LARGEST)
            part = self._own(run.choice, belief)
            part /= float(part.sum()) + (0.0 if run.alone else self.rest)
            slopes[number, :options] = np.bincount(run.choice, part, options)
            slopes[number, options + np.arange(rows) * options + run.choice] = part
            slopes[number, -1] = run.cross / _together(belief, run.cross)
        return slopes, misfits


def _together(belief: Belief, cross: float) -> float:
    """Return what layers do together, as a multiple of their own errors."""
    return max(1.0 + belief.share * cross, LEAST)
