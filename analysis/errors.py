"""Errors of the analysis layer."""

from __future__ import annotations

from quant_core.errors import QuantError


class AnalysisError(QuantError):
    """A model, data set, project or job that cannot be used as given."""
