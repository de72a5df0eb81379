"""What to do next, for people who see the window for the first time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.widgets.format import with_error

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.assignment import Assignment

CHOOSE = "Now set bits with the keys 2 to 8, or let Search choose them."
RUN = "Measure runs the network with it."


def after(title: str, project: Project) -> str:
    """Return what follows from a job that is complete; "" for nothing worth saying.

    Args:
        title: What the job is called.
        project: Has its results.
    """
    if title == "Analysis":
        begun = bool((project.assignment.weight > 0).any())
        return "" if begun or project.prediction is None else CHOOSE
    return _measured(project) if title == "Measurement" else ""


def after_search(found: Assignment, project: Project) -> str:
    """Return how to check what was found; "" where it was measured."""
    return "" if project.measured_of(found) else RUN


def _measured(project: Project) -> str:
    """Return the error just measured and, beside it, the predicted one."""
    found, expected = project.measured, project.prediction
    if not found:
        return ""
    text = f"{with_error(found['value'], found['stderr'])} {found['unit']}"
    if expected is None or expected.missing:
        return f"{text}."
    return f"{text}; predicted {with_error(expected.value, expected.stderr)}."
