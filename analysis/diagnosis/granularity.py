"""Would more scales per tensor help?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from analysis.diagnosis.case import MEASURE, Case
from analysis.diagnosis.finding import Finding, Missing, Number, Verdict, plural
from quant_core.granularity import group_size
from quant_core.scheme import Scheme, parse_scheme

WORTH = 2.0
"""Ratio of errors from which a finer granularity is advised: half a bit (an error
falls fourfold per bit), while a scale per channel costs hundredths of one."""
_COARSE_FIRST = {"tensor": 0, "token": 1, "channel": 2}


@dataclass(frozen=True)
class FinerScales:
    """Predicted error of one format with few and with many scales.

    Compared are schemes that differ in granularity only, on the layers that use the
    coarser one; while nothing is quantized, on all layers.
    """

    key: ClassVar[str] = "granularity"
    title: ClassVar[str] = "Finer granularity"

    def judge(self, case: Case) -> Verdict:
        """Compare each coarse scheme with the finer ones that were judged."""
        pairs = _pairs(case.weight_keys)
        if not pairs:
            return Missing(
                "Run predicted_error with one format in two granularities, such as "
                "int4/tensor and int4."
            )
        found = [self._compare(case, coarse, fine) for coarse, fine in pairs]
        best: dict[str, Finding] = {}
        for (coarse, _), finding in zip(pairs, found, strict=True):
            # Of several finer ones the first that helps is the cheapest.
            if finding is not None:
                best.setdefault(coarse.key, finding)
        return tuple(best.values())

    def _compare(self, case: Case, coarse: Scheme, fine: Scheme) -> Finding | None:
        plan = case.assignment
        uses = np.array([s == coarse for s in plan.palette], bool)[plan.weight]
        if case.is_float:
            uses[:] = True
        bits = np.stack([plan.weight_bits_in(scheme) for scheme in (coarse, fine)])
        # A group size that does not divide a layer is no advice for it.
        uses &= np.isfinite(bits).all(0)
        before, after = (
            case.project.values(MEASURE, scheme.key) for scheme in (coarse, fine)
        )
        bars = [case.project.stderrs(MEASURE, s.key) for s in (coarse, fine)]
        beyond = before - after > 2 * np.nan_to_num(np.hypot(*bars))
        helped = np.flatnonzero(uses & (before >= WORTH * after) & beyond)
        if not len(helped):
            return None
        total = before[helped].sum(), after[helped].sum()
        more = float(np.diff(bits[:, helped], axis=0).sum()) / 8e3
        order = np.argsort((after - before)[helped], kind="stable")
        gain = Number("error now over error then", float(total[0] / total[1]))
        return Finding(
            self.key,
            f"{fine.key} instead of {coarse.key} would lower the error of "
            f"{plural(len(helped), 'layer')} {gain.text} times",
            "note" if case.is_float else "warning",
            (
                gain,
                Number(f"error of these layers in {coarse.key}", total[0], case.unit),
                Number(f"error of these layers in {fine.key}", total[1], case.unit),
                Number("more to store", more, "kB"),
            ),
            f"Errors at least {WORTH:g} times smaller, by more than their error bars: "
            "worth half a bit or more in these layers.",
            f"Put these layers into {fine.key}, if the target runs it.",
            tuple(helped[order].tolist()),
            "heatmap",
            case.run_ids,
        )


def _pairs(keys: tuple[str, ...]) -> list[tuple[Scheme, Scheme]]:
    """Return schemes that differ in granularity only, coarse before fine."""
    schemes = sorted((parse_scheme(key) for key in keys), key=_fineness)
    return [
        (coarse, fine)
        for number, coarse in enumerate(schemes)
        for fine in schemes[number + 1 :]
        if (coarse.format, coarse.range, coarse.rounding)
        == (fine.format, fine.range, fine.rounding)
    ]


def _fineness(scheme: Scheme) -> tuple[int, int]:
    size = group_size(scheme.granularity)
    if size is not None:
        return 3, -size
    return _COARSE_FIRST[scheme.granularity], 0
