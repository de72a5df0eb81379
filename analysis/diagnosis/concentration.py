"""Do a few layers carry most of the predicted error?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from analysis.diagnosis.case import MEASURE, Case, Indices
from analysis.diagnosis.finding import Finding, Missing, Number, Verdict, plural
from quant_core.assignment import Assignment
from quant_core.scheme import parse_scheme

CARRIED = 0.8
FEW = 0.2
"""A fifth of the layers that carries four fifths of the error (Pareto's rule): raising
it is then far cheaper than raising all."""
_LEAST = 5  # layers below which "a few of them" says nothing


@dataclass(frozen=True)
class Concentration:
    """How many layers carry 80 % of the predicted error, and what raising them buys.

    The sum over layers is the additive prediction, weights and inputs together.
    """

    key: ClassVar[str] = "concentration"
    title: ClassVar[str] = "A few layers carry most of the error"

    def judge(self, case: Case) -> Verdict:
        """Sort the layers by error and count from the top."""
        if case.run is None or not case.weight_keys:
            return Missing("Run predicted_error on calibration data.")
        own = case.own
        count, total = int((own > 0).sum()), float(own.sum())
        if count < _LEAST or not total > 0:
            return ()
        order = np.argsort(-own, kind="stable")
        shares = np.cumsum(own[order]) / total
        # Sums of equal shares end a rounding below the limit.
        few = int(np.searchsorted(shares, CARRIED - 1e-12)) + 1
        if few > max(1, FEW * count):
            return ()
        worst = order[:few]
        now = case.prediction
        numbers = [
            Number("share of the error they carry", 100 * float(shares[few - 1]), "%"),
            Number("layers that carry it", few),
            Number("layers with an error", count),
        ]
        if now is not None:
            name = f"predicted error of {case.judged_as}"
            numbers.append(Number(name, now.value, case.unit, now.stderr))
        raised, key = _raised(case, worst)
        then = None if raised is None else case.project.predict(raised)
        if raised is not None and then is not None:
            more = raised.totals().bytes - case.judged.totals().bytes
            name = f"predicted error with them in {key}"
            numbers.append(Number(name, then.value, case.unit, then.stderr))
            numbers.append(Number("more to store", more / 1e3, "kB"))
        return (
            Finding(
                self.key,
                f"{few:,} of {plural(count, 'layer')} carry "
                f"{100 * shares[few - 1]:.0f} % of the error of {case.judged_as}",
                "warning",
                tuple(numbers),
                f"When {100 * FEW:.0f} % of the layers or fewer carry "
                f"{100 * CARRIED:.0f} % of the error, bits elsewhere buy little.",
                f"Raise these layers{f' to {key}' * bool(key)}, or search with a "
                "budget: it moves bits to them by itself.",
                tuple(worst.tolist()),
                "heatmap",
                case.run_ids,
            ),
        )


def _raised(case: Case, layers: Indices) -> tuple[Assignment | None, str]:
    """Return the plan with these layers in the next wider analysed scheme.

    Locked layers stay, and so does a layer whose target refuses the scheme.
    """
    plan = case.judged
    at = max((s.bits for i in layers if (s := plan.scheme_of(int(i)))), default=0.0)
    wider = [s for key in case.weight_keys if (s := parse_scheme(key)).bits > at > 0]
    if not wider:
        return None, ""
    scheme = min(wider, key=lambda s: s.bits)
    known = np.isfinite(case.project.values(MEASURE, scheme.key))
    free = [
        int(i)
        for i in layers
        if known[i] and not plan.locked[i] and not case.project.refused(scheme, int(i))
    ]
    return (plan.with_weight(free, scheme), scheme.key) if free else (None, "")
