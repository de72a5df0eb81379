"""Is a mixed assignment better than one format of the same size?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from analysis.diagnosis.case import MEASURE, Case
from analysis.diagnosis.constraints import refused
from analysis.diagnosis.finding import Finding, Missing, Number, Verdict
from quant_core.assignment import Assignment
from quant_core.scheme import parse_scheme

WORSE = 1.05
"""How many times the uniform error counts as worse. Both predictions use the same
samples and probes, so that their common noise cancels; 5 % are left for the rest."""


@dataclass(frozen=True)
class WorseThanUniform:
    """Predicted error beside that of one format for all layers, no larger in size.

    Mixing formats can only help when it is done by a good measure: a mixed assignment
    that loses to a plain one points to a bug in the search or to a bad metric.
    """

    key: ClassVar[str] = "worse_than_uniform"
    title: ClassVar[str] = "Better than one format of equal size"

    def judge(self, case: Case) -> Verdict:
        """Look for the best uniform assignment that is no larger."""
        plan = case.assignment
        if case.run is None or not case.weight_keys:
            return Missing("Run predicted_error on calibration data.")
        now = case.project.predict(plan)
        if len(np.unique(plan.weight)) < 2 or now is None:
            return ()
        size = plan.totals().bytes
        best = _best_uniform(case, size)
        then = None if best is None else case.project.predict(best[0])
        if best is None or then is None or now.value <= WORSE * then.value:
            return ()
        ratio = now.value / then.value if then.value > 0 else np.inf
        return (
            Finding(
                self.key,
                f"Every layer in {best[1]} would be no larger and "
                f"{ratio:.3g} times better",
                "problem",
                (
                    Number("predicted error now", now.value, case.unit, now.stderr),
                    Number(
                        f"predicted error in {best[1]}",
                        then.value,
                        case.unit,
                        then.stderr,
                    ),
                    Number("size now", size / 1e3, "kB"),
                    Number(
                        f"size in {best[1]}", best[0].totals().bytes / 1e3, "kB"
                    ),
                ),
                "A mixed assignment has the uniform one among its choices, so a search "
                "that loses to it has a fault, or used a metric that says little about "
                "the output. Edits by hand can end here too.",
                "Search again with the predicted error and this size as the budget.",
                panel="trade_off",
                runs=case.run_ids,
            ),
        )  # fmt: skip


def _best_uniform(case: Case, size: float) -> tuple[Assignment, str] | None:
    """Return the uniform assignment of least additive error within a size.

    Locked layers stay as they are. A scheme that was not analysed for some layer, or
    that the target refuses somewhere, is no choice.
    """
    found: list[tuple[float, Assignment, str]] = []
    plan = case.assignment
    open_layers = np.flatnonzero(~plan.locked)
    for key in case.weight_keys:
        scheme, values = parse_scheme(key), case.project.values(MEASURE, key)
        analysed = np.isfinite(values[open_layers])
        uniform = case.uniform(scheme, keep_locked=True)
        # Layers that no run could judge stay as they are on both sides.
        fits = not (plan.weight[open_layers][~analysed] > 0).any()
        if (
            not fits
            or uniform.totals().bytes > size
            or refused(case, uniform, "weight")
        ):
            continue
        cost = np.nan_to_num(case.errors(uniform, "weight")[0]).sum()
        found.append((float(cost), uniform, key))
    if not found:
        return None
    _, best, key = min(found, key=lambda entry: entry[0])
    return best, key
