"""One-sided activations in formats whose grid is symmetric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from analysis.diagnosis.case import MEASURE, Case
from analysis.diagnosis.finding import Finding, Missing, Number, Verdict, plural
from quant_core.scheme import Scheme

UNUSED = 0.25
"""Share of the codes that no value reaches from which it matters: 0.4 of a bit,
-log2(1 - 0.25). A grid around zero wastes half of its codes, one bit, behind a ReLU."""
LEANING = 0.5
"""Skewness, or mean over standard deviation, below which a range is not one-sided:
screens tensors before their channel ranges are read."""


@dataclass(frozen=True)
class OneSided:
    """Inputs behind GELU, ReLU or softmax in a symmetric format.

    Their values lie on one side of zero, and the codes of the other side are never
    used. An asymmetric or unsigned format moves them to where the values are.
    """

    key: ClassVar[str] = "asymmetric"
    title: ClassVar[str] = "One-sided ranges in symmetric formats"

    def judge(self, case: Case) -> Verdict:
        """Look at the ranges of inputs and sites whose format is symmetric."""
        run = case.project.latest_run("activations")
        if run is None:
            return Missing("Run activations on calibration data.")
        schemes = _symmetric(case)
        if not schemes:
            return ()
        wasted = {name: self._unused(case, name) for name in schemes}
        wasted = {name: share for name, share in wasted.items() if share >= UNUSED}
        if not wasted:
            return ()
        names = sorted(wasted, key=lambda name: -wasted[name])
        index = {name: i for i, name in enumerate(case.names)}
        lead = names[0]
        held = case.channels.range("activations", lead)
        assert held is not None
        used = ", ".join(dict.fromkeys(schemes[name].key for name in names))
        numbers = [
            Number("activations with a one-sided range", len(names)),
            Number(f"codes never used at {lead}", 100 * wasted[lead], "%"),
            Number(f"smallest value at {lead}", held.low),
            Number(f"largest value at {lead}", held.high),
        ]
        numbers += _gain(case, [index[name] for name in names if name in index])
        assumed = "" if case.assignment.input.any() else ", if used,"
        return (
            Finding(
                self.key,
                f"{used}{assumed} wastes up to {100 * wasted[lead]:.0f} % of its codes "
                f"on {plural(len(names), 'one-sided activation')}",
                "warning",
                tuple(numbers),
                f"From {100 * UNUSED:.0f} % on, four tenths of a bit are lost; "
                "half of the codes are one whole bit.",
                "Use an asymmetric or unsigned format for these inputs (int8_asym, "
                "uint8).",
                tuple(index[name] for name in names if name in index),
                "distribution",
                (run.id,),
            ),
        )

    def _unused(self, case: Case, name: str) -> float:
        held = case.channels.range("activations", name)
        return 0.0 if held is None else held.unused


def _symmetric(case: Case) -> dict[str, Scheme]:
    """Return the symmetric scheme of every activation that may be one-sided.

    While no input is quantized, the first analysed input scheme stands in.
    """
    plan, stand_in = case.assignment, case.input_scheme()
    found: dict[str, Scheme] = {}
    leaning = _leaning(case)
    for i in np.flatnonzero(leaning).tolist():
        scheme = plan.input_of(i) if plan.input.any() else stand_in
        if scheme is not None:
            found[case.names[i]] = scheme
    found |= plan.sites
    return {
        name: scheme
        for name, scheme in found.items()
        if scheme.number_format.scaled
        and scheme.number_format.signed
        and not scheme.number_format.affine
    }


def _leaning(case: Case) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which layers' inputs lean to one side by their moments."""
    mean, std, skewness = (
        case.project.values("activations", None, name, "input")
        for name in ("mean", "std", "skewness")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        result = (np.abs(mean / std) > LEANING) | (np.abs(skewness) > LEANING)
    return np.asarray(result, bool)


def _gain(case: Case, layers: list[int]) -> list[Number]:
    """Return the predicted errors in symmetric and asymmetric formats, when both are.

    Only formats of equal width and granularity are compared.
    """
    scheme = case.input_scheme()
    if scheme is None or not layers:
        return []
    before = case.project.values(MEASURE, scheme.key, part="input")[layers].sum()
    for name in (f"{scheme.format}_asym", f"u{scheme.format}"):
        for key in case.input_keys:
            if key == scheme.key.replace(scheme.format, name):
                after = case.project.values(MEASURE, key, part="input")[layers].sum()
                return [
                    Number(f"predicted error there in {k}", float(v), case.unit)
                    for k, v in ((scheme.key, before), (key, after))
                ]
    return []
