"""Costs by which LRP-QViT gives layers their widths (reconstruction).

Ranjan and Savakis, arXiv 2401.11243. The follow-up (Mix-QViT, arXiv 2501.06357) tells
that layers are ranked by relative relevance `Omega` with sum 1 and that an integer
program over the widths decides; how relevance and width are joined is rebuilt here, in
two ways. Any search over these costs is the allocation; the published setting fixes
the patch embedding and the head at 8 bits and offers the average width +-2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from analysis.method import Row
from quant_core.cost import stored_bits
from quant_core.formats import get_format
from quant_core.scheme import Scheme
from quant_core.sites import Layer

QUANTITIES = ("noise", "linear")


def allocation_rows(
    scores: Mapping[str, tuple[float, float]],
    layers: Sequence[Layer],
    schemes: Sequence[Scheme],
) -> tuple[Row, ...]:
    """Return what every layer costs in every scheme, to be made small by a search.

    `noise` is `Omega_l 4^-b`: the noise power of b bits, weighted by relevance.
    `linear` is `Omega_l (stored bits - b)`: making it small makes `sum Omega_l b_l`
    large.

    Args:
        scores: Mean positive relevance and its standard error, by layer.
        layers: The layers.
        schemes: Schemes of the weights.

    Returns:
        Rows by layer, scheme and quantity; none without schemes or relevance.
    """
    known = [layer for layer in layers if layer.name in scores]
    total = math.fsum(scores[layer.name][0] for layer in known)
    if not total > 0:
        return ()
    rows = []
    for layer in known:
        share, error = (number / total for number in scores[layer.name])
        stored = stored_bits(layer.dtype)
        for scheme in schemes:
            bits = get_format(scheme.format).bits
            factors = (4.0**-bits, float(max(stored - bits, 0)))
            rows += [
                Row(layer.name, scheme.key, share * factor, error * factor, quantity)
                for quantity, factor in zip(QUANTITIES, factors, strict=True)
            ]
    return tuple(rows)
