"""What is said when a network meets NaN or infinity, and where it began."""

from __future__ import annotations

import torch
from torch import Tensor

from analysis.data.batch import Batch, call
from analysis.errors import AnalysisError
from quant_core.sites import Site
from quant_core.tap import Tap


def first_broken_site(tap: Tap, batch: Batch) -> str:
    """Return the first activation that is NaN or infinite on a batch."""
    found: list[str] = []

    def look(site: Site, x: Tensor) -> None:
        if not found and not torch.isfinite(x).all():
            found.append(site.name)

    with torch.no_grad(), tap.watch(look, inside_attention=False):
        call(tap.module, batch)
    return found[0] if found else "the output"


def left_out(samples: int, site: str) -> str:
    """Return the sentence about samples that were left out."""
    what = "1 sample meets" if samples == 1 else f"{samples} samples meet"
    return f"{what} NaN or infinity, first at {site}; the results are without."


def no_finite_sample(site: str) -> AnalysisError:
    """Return the error for data on which the network never gives a finite output."""
    return AnalysisError(
        "The float network gives NaN or infinity for every sample.",
        value=f"first at {site}",
        hint="Check the data and this place of the model; `weights` and "
        "`activations` still work.",
    )
