"""Facts about the channel ranges of tensors, read from a project once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from analysis.project import Project


@dataclass(frozen=True, slots=True)
class Range:
    """What the channel ranges of one tensor say.

    Attributes:
        low: Smallest value.
        high: Largest value.
        channels: Number of channels.
        constant: Channels that hold one value only, zero included.
        zero: Channels that are all zero.
    """

    low: float
    high: float
    channels: int
    constant: int
    zero: int

    @property
    def unused(self) -> float:
        """Share of a symmetric range that no value reaches, 0 to 0.5."""
        largest = max(abs(self.low), abs(self.high))
        if not largest:
            return 0.0
        return 1 - (max(self.high, 0.0) - min(self.low, 0.0)) / (2 * largest)


class ChannelFacts:
    """Channel ranges of a project's tensors; keep it to read each only once.

    Args:
        project: Where they are kept.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._known: dict[tuple[str, str], Range | None] = {}
        self._state: dict[str, tuple[int, float] | None] = {}

    def range(self, measure: str, name: str) -> Range | None:
        """Return the range of a tensor, None when it was not looked at.

        Args:
            measure: "weights" or "activations".
            name: Layer or site.

        Raises:
            AnalysisError: the project file is gone or damaged.
        """
        run = self._project.latest_run(measure)
        state = None if run is None else (run.id, run.done)
        if self._state.get(measure, ()) != state:
            self._known = {k: v for k, v in self._known.items() if k[0] != measure}
            self._state[measure] = state
        key = measure, name
        if run is not None and key not in self._known:
            self._known[key] = self._read(measure, name, run.id)
        return self._known.get(key)

    def _read(self, measure: str, name: str, run: int) -> Range | None:
        low = self._project.array(f"{measure}/{name}/channel_min", run)
        high = self._project.array(f"{measure}/{name}/channel_max", run)
        if low is None or high is None or not len(low):
            return None
        seen = low <= high
        if not seen.any():
            return None
        constant = seen & (low == high)
        return Range(
            float(low[seen].min()),
            float(high[seen].max()),
            int(seen.sum()),
            int(constant.sum()),
            int(np.count_nonzero(constant & (low == 0))),
        )
