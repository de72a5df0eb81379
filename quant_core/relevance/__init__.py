"""Layer-wise relevance propagation through any network, by the tap."""

from quant_core.relevance.composites import COMPOSITES, Composite, Settings, Slot
from quant_core.relevance.passage import (
    Passage,
    RelevancePass,
    propagate,
    relevance_session,
)

__all__ = [
    "COMPOSITES",
    "Composite",
    "Passage",
    "RelevancePass",
    "Settings",
    "Slot",
    "propagate",
    "relevance_session",
]
