"""The sentence under a plot's title: how many samples, against which state."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.project import RunInfo

_STATUS = {
    "running": "Still running: {share:.0%} done.",
    "cancelled": "Cancelled at {share:.0%}.",
    "failed": "Failed at {share:.0%}; what was finished is shown.",
    "interrupted": "Interrupted at {share:.0%}; it can be resumed.",
}


def run_caption(run: RunInfo | None, unit: str) -> str:
    """Return unit, samples, state of the other layers and status of a run."""
    if run is None:
        return ""
    parts = [f"Unit: {unit}" if unit else "No unit"]
    if run.better in ("lower", "higher"):
        parts[0] += f", {run.better} is better"
    if run.samples:
        plural = "" if run.samples == 1 else "s"
        parts.append(f"{run.samples:,} calibration sample{plural}")
    if run.state:
        parts.append(f"other layers {run.state}")
    text = " · ".join(parts) + "."
    share = run.done / run.total if run.total else 0.0
    note = _STATUS.get(run.status, "").format(share=share)
    return f"{text} {note}".rstrip()
