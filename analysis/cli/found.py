"""What `quantscope search` prints of what it found."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from analysis.cli.projects import cost_of, predicted, schemes_of, told
from analysis.cli.terminal import Terminal, size, table
from analysis.search.problem import SearchResult
from analysis.search.trial import Refined

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.assignment import Assignment


def report(
    project: Project,
    found: dict[str, Assignment],
    terminal: Terminal,
    result: SearchResult | Refined | None,
    reconstruction: str,
) -> None:
    """Print what was found, and what one format for all would have done.

    Args:
        project: Where it was found.
        found: Assignments by name.
        terminal: Where to print.
        result: How good the only one is, or what running candidates came to; None
            for a whole front.
        reconstruction: Parts of the method that are rebuilt, "" if none are.
    """
    told_all: dict[str, object] = {
        "assignments": [
            {
                "name": name,
                "totals": assignment.totals().to_json(),
                "predicted": predicted(project, assignment),
            }
            for name, assignment in found.items()
        ]
    }
    if isinstance(result, Refined):
        told_all["refined"] = result.to_json()
    elif result is not None:
        told_all["result"] = result_json(result)
    if result is not None:
        told_all["reconstruction"] = reconstruction
    terminal.result(told_all)
    if result is not None:
        ((name, assignment),) = found.items()
        terminal.say(f"{name}: {cost_of(assignment)}")
        terminal.say(f"predicted error {told(predicted(project, assignment))}")
        terminal.say(f"layers: {schemes_of(assignment)}")
        if isinstance(result, Refined):
            terminal.say(result.describe())
            return
        terminal.say(quality(result))
        if result.interaction is not None:
            terminal.say(result.interaction.describe())
        if reconstruction:
            terminal.say(f"reconstruction: {reconstruction}")
        return
    rows = [
        (
            name,
            f"{assignment.totals().average_bits:.3f}",
            size(assignment.totals().bytes),
            told(predicted(project, assignment)),
        )
        for name, assignment in found.items()
    ]
    terminal.say(table(("assignment", ">bits", ">size", ">predicted error"), rows))


def result_json(result: SearchResult) -> dict[str, object]:
    """Return gap, proof and the uniform result as JSON values."""
    other = result.uniform
    return {
        "objective": result.cost,
        **(
            {}
            if result.interaction is None
            else {"interaction": dataclasses.asdict(result.interaction)}
        ),
        "gap": None if math.isnan(result.gap) else result.gap,
        "proven": result.proven,
        "uniform": None
        if other is None
        else {"format": other.name, "objective": other.cost, "bytes": other.bits / 8},
    }


def quality(result: SearchResult) -> str:
    """Return how good a result is, for people: bound, and one format for all."""
    if result.proven:
        said = "proven: no assignment is better"
    elif math.isnan(result.gap):
        said = "how much better another could be is not known"
    else:
        said = f"at most {100 * result.gap:.2g} % better is possible"
    other = result.uniform
    if other is None:
        return f"{said}; no single format for all layers keeps the budget"
    return (
        f"{said}; {other.name} for all has {_beside(other.cost, result.cost)} at "
        + (size(other.bits / 8))
    )


def _beside(error: float, best: float) -> str:
    """Return an error as a multiple of the best one, which may be 0."""
    if error == best:
        return "the same error"
    return f"{error / best:.3g} times the error" if best > 0 else "more error"
