"""What commands on a project share: opening it, choosing and describing plans."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.assignments import CURRENT
from analysis.cli.terminal import size, with_error
from analysis.errors import AnalysisError
from quant_core.assignment import Assignment, entries_in
from quant_core.errors import QuantError
from quant_core.scheme import parse_scheme

if TYPE_CHECKING:
    from analysis.cli.terminal import Terminal
    from analysis.project import Project


@contextmanager
def opened(path: str, terminal: Terminal, *, write: bool = False) -> Iterator[Project]:
    """Open a project for one command and close it afterwards.

    Args:
        path: The project file.
        terminal: Told what was found while opening.
        write: Refuse a project that another process has open.

    Raises:
        AnalysisError: there is no readable (or writable) project at `path`.
    """
    from analysis.project import Project

    with Project.open(Path(path)) as project:
        for notice in project.notices:
            terminal.warn(notice)
        if project.recovered and not project.read_only:
            # Closing gives up unsaved edits, and this command did not make them.
            project.save()
            terminal.warn("Edits that were not saved before a crash are saved now.")
        if write and project.read_only:
            raise AnalysisError(
                "The project cannot be written.",
                value=path,
                hint=f"{project.read_only}.",
            )
        yield project


def add_assignment_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names an assignment; see `choose_assignment`."""
    parser.add_argument(
        "--assignment",
        metavar="A",
        help="a name in the project, an assignment file, or one format for all "
        "layers; default: the current assignment",
    )


def choose_assignment(
    project: Project, name: str | None, terminal: Terminal
) -> tuple[str, Assignment]:
    """Return the assignment a user means, and what to call it.

    Args:
        project: Where names are looked up.
        terminal: Told of the layers that a file leaves out.
        name: None or "current", a name in the project, the path of an assignment
            file, or a scheme that all layers get ("int8").

    Raises:
        QuantError: nothing of that name; the names there are.
    """
    if name is None or name == CURRENT:
        return CURRENT, project.assignment
    if name in project.assignments:
        return name, project.assignments[name]
    path = Path(name)
    if path.is_file():
        return path.stem, read_assignment(path, project, terminal)
    try:
        scheme = parse_scheme(name)
    except QuantError:
        names = ", ".join([CURRENT, *project.assignments])
        raise AnalysisError(
            "The project has no assignment of that name.",
            value=name,
            allowed=f"{names}, the path of an assignment file, or one format for all "
            "layers (int8)",
            hint="`quantscope search` makes assignments.",
        ) from None
    layers = project.info.layers
    base = Assignment.float(layers, project.info.name, project.info.digest)
    return scheme.key, base.with_weight(range(len(layers)), scheme)


def read_assignment(path: Path, project: Project, terminal: Terminal) -> Assignment:
    """Return the assignment in a file; layers that it leaves out are told.

    Raises:
        QuantError: not JSON, not an assignment of this project's model, or inputs in
            a scheme that activations cannot have; the layer is named.
    """
    try:
        # Editors of some systems begin UTF-8 with a byte order mark.
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # covers UnicodeDecodeError
        raise AnalysisError(
            f"The assignment file is not JSON: {error}.",
            value=path,
            allowed="a file that `quantscope export --to json` wrote",
        ) from error
    layers = project.info.layers
    found = Assignment.from_json(document, layers, project.info.digest)
    _check_inputs(found)
    left_out = [x.name for x in layers if x.name not in document["layers"]]
    if left_out:
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        terminal.note(
            f"{path.name} leaves out {len(left_out)} of {len(layers)} layers, which "
            f"stay float: {left_out[0]}{more}"
        )
    return found


def _check_inputs(assignment: Assignment) -> None:
    """Refuse inputs that cannot be quantized so, before a model is loaded for them."""
    inputs = {
        assignment.palette[entry]: int(np.argmax(assignment.input == entry))
        for entry in entries_in(assignment.input).tolist()
    }
    used = [(f"{assignment.layers[i].name}, input", s) for s, i in inputs.items()]
    used += [(f"site {name}", scheme) for name, scheme in assignment.sites.items()]
    for where, scheme in used:
        try:
            if scheme is not None:
                scheme.check_as_input()
        except QuantError as error:
            raise error.within(where) from None


def predicted(project: Project, assignment: Assignment) -> dict[str, object] | None:
    """Return {"value", "stderr", "unit"}, or None before there are results."""
    found, run = project.predict(assignment), project.latest_run("predicted_error")
    if found is None or run is None:
        return None
    return {"value": found.value, "stderr": found.stderr, "unit": run.unit}


def told(result: dict[str, object] | None) -> str:
    """Return a predicted or measured error for people."""
    if result is None:
        return "not known"
    value, stderr = result["value"], result["stderr"]
    assert isinstance(value, float)
    assert isinstance(stderr, float)
    return f"{with_error(value, stderr)} {result['unit']}".rstrip()


def cost_of(assignment: Assignment) -> str:
    """Return "4.00 bits per weight, 11.3 MB, 7.90x smaller than stored"."""
    totals = assignment.totals()
    if not assignment.weight.any():
        return f"{totals.average_bits:.2f} bits per weight, {size(totals.bytes)}"
    return (
        f"{totals.average_bits:.2f} bits per weight, {size(totals.bytes)}, "
        f"{totals.compression:.2f}x smaller than stored"
    )


def schemes_of(assignment: Assignment) -> str:
    """Return how many layers are in each scheme: "12 int4, 25 int3"."""
    counts = np.bincount(assignment.weight, minlength=len(assignment.palette))
    return ", ".join(
        f"{count} {'float' if scheme is None else scheme.key}"
        for scheme, count in zip(assignment.palette, counts, strict=True)
        if count
    )
