"""Give every layer a format so that the predicted error is least within a budget.

Budgets, one or several separated by commas:
  bits<=4        average per weight, scales and zero points included
  size<=12MB     bytes of all listed layers; size<=0.25x is a quarter of the stored size
  bops<=2T       bit operations per sample; bops<=0.5x is half of the stored model's
  error<=1e-3    the smallest model whose predicted error stays below

The result is kept in the project under --name and becomes its current assignment.
--method front without a budget keeps several assignments along the whole trade-off
between size and error; the current one stays.
"""

from __future__ import annotations

import argparse
import fnmatch
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.cli.codes import DONE
from analysis.cli.options import add_method_options, method_params, positive
from analysis.cli.projects import cost_of, opened, predicted, schemes_of, told
from analysis.cli.terminal import Terminal, size, table
from analysis.errors import AnalysisError
from analysis.search import SEARCHES
from analysis.search.front import front
from analysis.search.of_project import search, signed
from analysis.search.setup import Setup
from analysis.search.table import table_from_project
from quant_core.scheme import parse_scheme
from quant_core.targets import get_target

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.assignment import Assignment


FRONT_POINTS = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    keys = [method.key for method in SEARCHES]
    parser.add_argument("project", metavar="P.qscope")
    parser.add_argument("--budget", metavar="LIMITS", help='such as "bits<=4"')
    parser.add_argument(
        "--method", choices=keys, default=keys[0], help=f"default {keys[0]}"
    )
    parser.add_argument(
        "--name", metavar="A", help="name of the assignment; default: the budget"
    )
    parser.add_argument(
        "--target",
        metavar="T",
        help="offer only what this deployment target can run (`quantscope methods`)",
    )
    parser.add_argument(
        "--lock",
        metavar="NAME=FORMAT",
        action="append",
        default=[],
        help="fix a layer, or all that match a pattern (*), at a format or at float; "
        "may be repeated",
    )
    parser.add_argument(
        "--points",
        type=positive,
        default=FRONT_POINTS,
        metavar="N",
        help="assignments kept along the whole front, without a budget "
        f"(default {FRONT_POINTS})",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an assignment of that name"
    )
    for method in SEARCHES:
        add_method_options(parser, method)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Search, keep the result, show it."""
    method = next(kind for kind in SEARCHES if kind.key == args.method)
    _check_options(args, method)
    params = method_params(args, method)
    with opened(args.project, terminal, write=True) as project:
        if args.target is not None:
            project.target = get_target(args.target).name
        apply_locks(project, args.lock)
        if args.budget is None:
            found = whole_front(project, args)
        else:
            assignment = search(project, args.budget, method=method.key, params=params)
            found = {_free_name(project, args): assignment}
        for name, assignment in found.items():
            project.add_assignment(
                name, assignment, assignment.provenance, overwrite=args.overwrite
            )
        if args.budget is not None:
            project.set_assignment(next(iter(found.values())))
        project.save()
        report(project, found, terminal)
    return DONE


def apply_locks(project: Project, locks: list[str]) -> None:
    """Assign and lock what `--lock NAME=FORMAT` asks for.

    Raises:
        QuantError: no layer of that name, an unknown format, or a refused one.
    """
    for text in locks:
        name, sep, format_text = text.rpartition("=")
        if not sep or not name:
            raise AnalysisError(
                "A lock cannot be read.",
                value=text,
                allowed="NAME=FORMAT, such as embeddings.*=int8 or lm_head=float",
            )
        scheme = None if format_text == "float" else parse_scheme(format_text)
        indices = matching(project, name)
        for index in indices:
            reason = None if scheme is None else project.refused(scheme, int(index))
            if reason is not None:
                layer = project.info.layers[index].name
                raise AnalysisError(f"{layer}: {reason}", value=text)
        project.set_locked(indices, False)
        project.set_weight(indices, scheme)
        held = [i for i in indices if project.assignment.scheme_of(int(i)) != scheme]
        if held:
            raise AnalysisError(
                f"{project.info.layers[held[0]].name} is tied to a layer that is "
                "locked at another format.",
                value=text,
                hint="Lock tied layers at one format.",
            )
        project.set_locked(indices, True)


def matching(project: Project, name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the layers called `name` or, with a wildcard, those that match it.

    Raises:
        QuantError: there is none; close names are suggested.
    """
    if not set(name) & set("*?["):
        return np.array([project.assignment.index_of(name)])
    names = [layer.name for layer in project.info.layers]
    found = [i for i, layer in enumerate(names) if fnmatch.fnmatchcase(layer, name)]
    if not found:
        raise AnalysisError(
            "No layer matches this pattern.",
            value=name,
            allowed="patterns of the names that `quantscope layers` lists",
        )
    return np.array(found)


def whole_front(project: Project, args: argparse.Namespace) -> dict[str, Assignment]:
    """Return assignments spread over the whole convex front, in equal size ratios."""
    costs = table_from_project(project)
    line = front(costs)
    wanted = np.geomspace(line.bits[0], line.bits[-1], args.points)
    points = np.unique(np.abs(line.bits[:, None] - wanted).argmin(0))
    found = {}
    for point in points:
        assignment = costs.assign(project.assignment, line.choice(int(point)))
        bits = assignment.totals().average_bits
        name = f"{args.name or 'front'} {bits:.3g} bits"
        while name in found:
            name += "'"
        found[name] = signed(project, assignment, Setup(), args.method, None, {})
    return found


def report(project: Project, found: dict[str, Assignment], terminal: Terminal) -> None:
    """Print what was found."""
    terminal.result(
        {
            "assignments": [
                {
                    "name": name,
                    "totals": assignment.totals().to_json(),
                    "predicted": predicted(project, assignment),
                }
                for name, assignment in found.items()
            ]
        }
    )
    if len(found) == 1:
        ((name, assignment),) = found.items()
        terminal.say(f"{name}: {cost_of(assignment)}")
        terminal.say(f"predicted error {told(predicted(project, assignment))}")
        terminal.say(f"layers: {schemes_of(assignment)}")
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


def _check_options(args: argparse.Namespace, method: type) -> None:
    if args.budget is None and args.method != "front":
        raise AnalysisError(
            "This search needs a budget.",
            value=f"--method {args.method}",
            allowed="--budget LIMITS, or --method front for the whole trade-off",
            hint='For example --budget "bits<=4".',
        )
    for other in SEARCHES:
        given = method_params(args, other)
        if other is not method and given:
            raise AnalysisError(
                "This option belongs to another search.",
                value=f"--{other.key}.{next(iter(given))}",
                hint=f"Add --method {other.key}, or leave it out.",
            )


def _free_name(project: Project, args: argparse.Namespace) -> str:
    """Return the name asked for, or one after the budget that is still free."""
    if args.name is not None:
        return str(args.name)
    name, number = str(args.budget), 1
    while name in project.assignments and not args.overwrite:
        number += 1
        name = f"{args.budget} ({number})"
    return name
