"""Give every layer a format so that the error is least within a budget.

Budgets, one or several separated by commas:
  bits<=4        average per weight, scales and zero points included
  size<=12MB     bytes of all listed layers; size<=0.25x is a quarter of the stored size
  compression>=8 times smaller than stored
  bops<=2T       bit operations per sample; bops<=0.5x is half of the stored model's
  error<=1e-3    the smallest model whose error stays below
  latency<=3.2   sum over the cost table of that name, see --cost-table

Floors, ceilings and --fix choose layers as filters do: a word or pattern of the name,
kind:linear, params>1e6, first, last, -not, or | between alternatives.

The result is kept in the project under --name and becomes its current assignment.
--verify and --refine run candidates on data before one is chosen; --keep looks for
the smallest model that keeps a metric of the task. Ctrl-C keeps the best one so far.
--method front without a budget keeps several assignments along the whole trade-off
between size and error; the current one stays.
"""

from __future__ import annotations

import argparse
import fnmatch
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.cli.codes import DONE, FAILED, INTERRUPTED
from analysis.cli.found import report
from analysis.cli.options import add_method_options, method_params, positive
from analysis.cli.projects import choose_assignment, opened
from analysis.cli.refining import (
    add_refining,
    again,
    check_refining,
    refined,
    runs_network,
)
from analysis.cli.terminal import Terminal
from analysis.errors import AnalysisError
from analysis.search import SEARCHES, method_of
from analysis.search.cost_file import read_costs
from analysis.search.front import front
from analysis.search.objective import Objective
from analysis.search.of_project import rerun, signed
from analysis.search.of_project import run as search
from analysis.search.problem import MEASURE
from analysis.search.rules import KINDS, Rule
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
    _add_setup(parser)
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
    add_refining(parser)
    for method in SEARCHES:
        add_method_options(parser, method)


def _add_setup(parser: argparse.ArgumentParser) -> None:
    """Add what is minimised and what is allowed."""
    parser.add_argument(
        "--objective",
        default=MEASURE,
        metavar="M[,M*WEIGHT]",
        help="what is made small: MEASURE or MEASURE.QUANTITY (weights.sqnr is the "
        f"relative error); several are weighed as shares; default {MEASURE}",
    )
    parser.add_argument(
        "--inputs",
        action="store_true",
        help="choose the formats of the input activations as well",
    )
    parser.add_argument(
        "--cost-table",
        metavar="NAME=FILE",
        action="append",
        default=[],
        help="latency, energy ... by layer and format, from a .csv (columns layer, "
        "format, cost) or .json file; limit it with --budget NAME<=VALUE",
    )
    for kind, what in (
        ("at_least", "weights of these layers keep at least so many bits"),
        ("at_most", "weights of these layers get at most so many bits"),
        ("fix", "these layers get this format, without being locked"),
    ):
        parser.add_argument(
            f"--{kind.replace('_', '-')}",
            dest=kind,
            metavar="LAYERS=FORMAT" if kind == "fix" else "LAYERS=BITS",
            action="append",
            default=[],
            help=f"{what}; may be repeated",
        )


def setup_of(args: argparse.Namespace) -> Setup:
    """Return what the options ask for.

    Raises:
        QuantError: an objective, rule or cost table that cannot be read.
    """
    costs = {}
    for text in args.cost_table:
        name, _, path = text.partition("=")
        if not (name.isidentifier() and path):
            raise AnalysisError(
                "A cost table needs a name.",
                value=text,
                allowed="NAME=FILE, such as latency=phone.csv",
            )
        costs[name] = read_costs(path)
    rules = [Rule.parse(kind, text) for kind in KINDS for text in getattr(args, kind)]
    return Setup(Objective.parse(args.objective), args.inputs, tuple(rules), costs)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Search, keep the result, show it."""
    if args.rerun is not None:
        return run_again(args, terminal)
    method = method_of(args.method)
    _check_options(args, method)
    params, setup = method_params(args, method), setup_of(args)
    with opened(args.project, terminal, write=True) as project:
        if args.target is not None:
            project.target = get_target(args.target).name
        apply_locks(project, args.lock)
        result, tried, complete = None, None, True
        if runs_network(args):
            tried, complete = refined(args, terminal, project, setup, params)
            if tried is None:
                terminal.fail(AnalysisError("Interrupted; nothing was run to its end."))
                return INTERRUPTED
            found = {_free_name(project, args): tried.best.assignment}
        elif args.budget is None:
            found = whole_front(project, args, setup)
        else:
            assignment, result = search(project, setup, args.budget, method.key, params)
            found = {_free_name(project, args): assignment}
        for name, assignment in found.items():
            project.add_assignment(
                name, assignment, assignment.provenance, overwrite=args.overwrite
            )
        if args.budget is not None or tried is not None:
            project.set_assignment(next(iter(found.values())))
        project.save()
        report(project, found, terminal, result or tried, method.reconstruction)
    return DONE if complete else INTERRUPTED


def run_again(args: argparse.Namespace, terminal: Terminal) -> int:
    """Do the search again that made an assignment; change nothing.

    Raises:
        AnalysisError: it was not made by a search, or something it read has changed.
    """
    with opened(args.project, terminal, write=True) as project:
        name, before = choose_assignment(project, args.rerun, terminal)
        if "refine" in before.provenance:
            tried, complete = again(args, terminal, project, before)
            if tried is None or not complete:
                terminal.fail(AnalysisError("Interrupted; the search did not end."))
                return INTERRUPTED
            now = tried.best.assignment
        else:
            now = rerun(project, before)
        project.save()
        same = now.digest == before.digest
        terminal.result({"assignment": name, "same": same})
        terminal.say(f"{name}: {'the same' if same else 'another'} assignment")
    return DONE if same else FAILED


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


def whole_front(
    project: Project, args: argparse.Namespace, setup: Setup
) -> dict[str, Assignment]:
    """Return assignments spread over the whole convex front, in equal size ratios."""
    costs = table_from_project(project, setup)
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
        found[name] = signed(project, assignment, setup, args.method, None, {})
    return found


def _check_options(args: argparse.Namespace, method: type) -> None:
    check_refining(args)
    if args.budget is None and args.method != "front" and args.keep is None:
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
    asked = [args.budget] if args.budget is not None else []
    asked += [f"keep {args.keep}"] if args.keep is not None else []
    wanted, number = ",".join(asked), 1
    name = wanted
    while name in project.assignments and not args.overwrite:
        number += 1
        name = f"{wanted} ({number})"
    return name
