"""Where does the error appear on its way through the network?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from analysis.diagnosis.case import Case
from analysis.diagnosis.finding import Finding, Missing, Number, Verdict
from analysis.quality import ORDER
from quant_core.scheme import parse_scheme

QUANTITY = "cumulative"
"""Quantity of `measured_error`: the error with a layer and all before it quantized."""
JUMP = 0.5
"""Share of the final error that one step must add to be called the onset."""
SIGMAS = 2.0


@dataclass(frozen=True)
class Onset:
    """The layer at which the accumulated measured error jumps.

    The error accumulated from the input on tells where it starts; the error of a
    layer alone tells who causes it (both curves as PPQ's graph-wise and layer-wise
    analyses).
    """

    key: ClassVar[str] = "onset"
    title: ClassVar[str] = "Where the error starts"

    def judge(self, case: Case) -> Verdict:
        """Find the largest step of the accumulated error, in the order of use."""
        run = case.project.latest_run("measured_error")
        keys = case.project.formats("measured_error", QUANTITY)
        if run is None or not keys:
            return Missing("Run measured_error with the scope cumulative.")
        key = min(keys, key=lambda k: abs(parse_scheme(k).bits - _width(case)))
        asked = ("measured_error", key, QUANTITY)
        value, stderr = case.project.values(*asked), case.project.stderrs(*asked)
        order = case.project.array(ORDER, run.id)
        path = np.arange(len(value)) if order is None else order
        known = path[np.isfinite(value[path])]
        if len(known) < 2:
            return Missing("Let the cumulative measured error run to its end.")
        steps = np.diff(value[known], prepend=0.0)
        at = int(np.argmax(steps))
        layer, final = int(known[at]), float(value[known[-1]])
        before = int(known[at - 1]) if at else None
        bars = [stderr[layer], 0.0 if before is None else stderr[before]]
        noise = float(np.hypot(*np.nan_to_num(bars)))
        if not final > 0 or steps[at] < max(JUMP * final, SIGMAS * noise):
            return ()
        step = Number("error added here", float(steps[at]), run.unit, noise)
        end = Number("error at the end", final, run.unit, float(stderr[known[-1]]))
        return (
            Finding(
                self.key,
                f"The error in {key} starts at {case.names[layer]}",
                "warning",
                (step, end, Number("layers before it", at)),
                f"One step adds {100 * steps[at] / final:.0f} % of the final error; "
                "what comes behind only carries it on.",
                "Look at this layer first: its ranges, outliers and bits. Layers "
                "behind it look worse than they are.",
                (layer,),
                "distribution",
                (run.id,),
            ),
        )


def _width(case: Case) -> float:
    """Return the average width of what is judged."""
    return case.judged.totals().average_bits
