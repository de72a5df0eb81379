"""Are the first and the last layer at few bits?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from analysis.diagnosis.case import Case
from analysis.diagnosis.finding import Finding, Number, Verdict

LOW_BITS = 8.0
"""Width below which the ends of a network are suspect: it is common to keep them at 8
bits or more whatever the middle has (Esser et al., LSQ, arXiv 1902.08153, sec. 3;
Zhou et al., DoReFa-Net, arXiv 1606.06160, sec. 2.7)."""

EXCESS = 2.0
"""How many times its fair share of the error an end must cause: its share of the
weights or that of an average layer, whichever is larger."""


@dataclass(frozen=True)
class Edges:
    """First and last layer at low bits, and with more than their share of the error.

    The rule of thumb to keep both wide stands in only where nothing was predicted;
    where the predicted error is known, it decides.
    """

    key: ClassVar[str] = "edge_layers"
    title: ClassVar[str] = "First and last layers"

    def judge(self, case: Case) -> Verdict:
        """Look at width and share of the two ends."""
        plan, own = case.assignment, case.own
        if not len(plan) or not plan.weight.any():
            return ()
        ends = dict.fromkeys((0, len(plan) - 1))
        quantized = int(np.count_nonzero(plan.weight))
        weights = int(plan.sizes.parameters.sum())
        total = float(own.sum())
        low: list[int] = []
        numbers: list[Number] = []
        for layer in ends:
            scheme = plan.scheme_of(layer)
            if scheme is None or scheme.bits >= LOW_BITS:
                continue
            share = float(own[layer]) / total if total > 0 else None
            part = plan.layers[layer].parameters / max(weights, 1)
            if share is not None and share <= EXCESS * max(part, 1 / quantized):
                continue
            low.append(layer)
            numbers.append(Number(f"width of {case.names[layer]}", scheme.bits, "bits"))
            if share is not None:
                name = f"share of the error, {case.names[layer]}"
                numbers.append(Number(name, 100 * share, "%"))
            name = f"share of the weights, {case.names[layer]}"
            numbers.append(Number(name, 100 * part, "%"))
        if not low:
            return ()
        ends_named = " and ".join("first" if i == 0 else "last" for i in low)
        return (
            Finding(
                self.key,
                f"The {ends_named} layer{'s' * (len(low) > 1)} "
                f"{'have' if len(low) > 1 else 'has'} fewer than {LOW_BITS:g} bits",
                "warning",
                tuple(numbers),
                "The first layer's noise passes through everything behind it, the "
                "last one's reaches the output undiminished. "
                + (
                    f"Here each causes more than {EXCESS:g} times its share of the "
                    "error, by weights and by number of layers."
                    if total > 0
                    else "No predicted error says otherwise here."
                ),
                f"Give them {LOW_BITS:g} bits, or fix them there and search again.",
                case.worst(low),
                "layers",
                case.run_ids if total > 0 else (),
            ),
        )
