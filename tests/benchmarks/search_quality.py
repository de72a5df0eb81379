"""Measured error of our assignments beside those that others would make.

Run from the project's root: `python -m tests.benchmarks.search_quality [MODEL ...]`,
with `-o FILE` for a markdown file. Budgets are the sizes of int3, int4, int5 and int6
for all layers, scales included, and halfway between the first two. Beside our search
stand the best single format, exact solutions of the relative weight error (SQNR) and of
HAWQ-V2's score (average Hessian trace times squared weight error), and the greedy order
of MPTQ-ViT over our own predicted error. All choose from the same formats.

Ours is `quantscope search --refine`: it may run candidates on the calibration samples,
and the table says how often it did and, after a plus, what its slopes took in such
runs. What it expected is what it had told before the run. So that it does not judge
itself, everything is measured a second time on samples that neither the analysis nor
the search has seen.
"""

from __future__ import annotations

import argparse
import math
import pathlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from analysis import Project, analyze
from analysis.data import load_data
from analysis.data.batch import Data
from analysis.jobs import DataRequest
from analysis.load import load
from analysis.measures.context import MeasureContext
from analysis.measures.measured_error import MeasuredError
from analysis.model import LoadedModel
from analysis.search.asked import Refinement
from analysis.search.objective import Objective
from analysis.search.of_project import run as search
from analysis.search.refining import refine_job, run_job
from analysis.search.setup import Setup
from analysis.search.trial import Refined, Run, score_of
from quant_core.assignment import Assignment
from quant_core.scheme import Scheme
from tests.benchmarks.spine import EXAMPLES, minilm, topics

FORMATS = ("int2", "int3", "int4", "int5", "int6", "int8")
BITS = (3.0, 3.5, 4.0, 5.0, 6.0)
OTHERS = {
    "SQNR": ("weights.sqnr", "exact"),
    "HAWQ-V2": ("hessian.hawq_v2", "exact"),
    "greedy": ("predicted_error", "greedy"),
}
OURS = "ours"
SAMPLES = {"MiniLM": 96, "pydoc-gpt": 96, "digits-vit": 500, "digits-cnn": 500}
CALIBRATION = 2 / 3
"""Share of the samples that analysis and search see."""
PLAN = ("rounds", "candidates", "anchors", "probes")
PROBES = {"MiniLM": 4}
MANY_PROBES = 16
SHARE, WITHIN, FROM_BITS = 0.9, 0.1, 4.0


@dataclass
class Cell:
    """One model at one budget.

    Attributes:
        model: Its name.
        bits: Nominal bits per weight.
        seen: Measured error by method, on the samples of the analysis.
        unseen: The same on other samples.
        alone: Predicted over measured error of the search without runs.
        expected: Expected over measured error of ours, as told before it was run.
        runs: How often ours ran the network.
        passes: What its slopes took, in such runs.
    """

    model: str
    bits: float
    seen: dict[str, float] = field(default_factory=dict)
    unseen: dict[str, float] = field(default_factory=dict)
    alone: float = math.nan
    expected: float = math.nan
    runs: int = 0
    passes: int = 0

    def wins(self, errors: dict[str, float]) -> bool:
        """Return whether no other has a lower measured error, but for rounding."""
        least = min(value for name, value in errors.items() if name != OURS)
        return errors[OURS] <= least * (1 + 1e-6)


def measured(run: Run, assignment: Assignment) -> float:
    """Return the measured error of an assignment."""
    found = [score for x in run(assignment) if (score := score_of(x)) is not None]
    return found[-1].value


def runner(model: LoadedModel, data: Data) -> Run:
    return MeasuredError().repeatedly(MeasureContext(model, data))


def opened(name: str, folder: str) -> tuple[LoadedModel, Data]:
    if name == "MiniLM":
        model = load(minilm())
        return model, load_data(topics(folder), model, samples=SAMPLES[name])
    model = load(f"example:{name}")
    return model, load_data("example", model, samples=SAMPLES[name])


@contextmanager
def analysed(
    name: str, model: LoadedModel, data: Data, folder: str
) -> Iterator[Project]:
    path = pathlib.Path(folder) / f"{name}.qscope"
    probes = PROBES.get(name, MANY_PROBES)
    with Project.create(model.info, path) as project:
        for _ in analyze(
            model,
            data,
            ["weights", "predicted_error", "hessian"],
            project=project,
            schemes=[Scheme(key) for key in FORMATS],
            params={"predicted_error": {"probes": probes}},
        ):
            pass
        yield project


def uniform(project: Project, key: str) -> Assignment:
    layers = project.info.layers
    plain = Assignment.float(layers, project.info.name, project.info.digest)
    return plain.with_weight(range(len(layers)), Scheme(key))


def cells_of(
    name: str,
    model: LoadedModel,
    data: Data,
    folder: str,
    plan: Refinement,
    wanted: list[float],
) -> Iterator[Cell]:
    """Yield the cells of one model."""
    count = round(CALIBRATION * len(data))
    seen, unseen = data.slice(0, count), data.slice(count, len(data))
    first, second = runner(model, seen), runner(model, unseen)
    with analysed(name, model, seen, folder) as project:
        plain = {key: uniform(project, key) for key in FORMATS}
        size = {key: plain[key].totals().average_bits for key in FORMATS}
        for bits in wanted:
            low, high = f"int{math.floor(bits)}", f"int{math.ceil(bits)}"
            limit = (size[low] + size[high]) / 2
            budget = f"bits<={limit + 1e-6:.6f}"
            cell = Cell(name, bits)
            made = {"uniform": plain[low]}
            for other, (objective, method) in OTHERS.items():
                setup = Setup(Objective.parse(objective))
                made[other] = search(project, setup, budget, method, {})[0]
            alone = search(project, Setup(), budget, "interacting", {})[0]
            prediction = project.predict(alone)
            assert prediction is not None
            cell.alone = prediction.value / measured(first, alone)
            job = refine_job(
                project, Setup(), budget, DataRequest("", count), plan=plan
            )
            found = [
                step
                for step in run_job(project, Setup(), job, model, seen)
                if isinstance(step, Refined)
            ][-1]
            cell.runs, cell.passes = found.evaluations, found.passes
            cell.expected = found.best.expected / found.best.score.value
            made["search alone"], made[OURS] = alone, found.best.assignment
            cell.seen = {key: measured(first, plan) for key, plan in made.items()}
            cell.unseen = {key: measured(second, plan) for key, plan in made.items()}
            yield cell


def markdown(cells: list[Cell]) -> str:
    """Return tables and verdicts."""
    lines = []
    for title, which in (
        ("on the samples of the analysis", "seen"),
        ("on samples that nobody saw", "unseen"),
    ):
        methods = list(getattr(cells[0], which))
        lines += [f"Measured error {title}; **bold** is the least.", ""]
        head = ["model", "bits", *methods]
        if which == "seen":
            head += ["runs", "predicted/measured alone", "expected/measured ours"]
        lines += ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        for cell in cells:
            errors = getattr(cell, which)
            least = min(errors.values()) * (1 + 1e-6)
            row = [cell.model, f"{cell.bits:g}"]
            for method in methods:
                text = f"{errors[method]:.4g}"
                row.append(f"**{text}**" if errors[method] <= least else text)
            if which == "seen":
                row += [
                    f"{cell.runs} + {cell.passes}",
                    f"{cell.alone:.3f}",
                    f"{cell.expected:.3f}",
                ]
            lines.append("| " + " | ".join(row) + " |")
        wins = sum(cell.wins(getattr(cell, which)) for cell in cells) / len(cells)
        lines += ["", verdict(f"ours is lowest {title}", wins, SHARE), ""]
    high = [cell for cell in cells if cell.bits >= FROM_BITS]
    for name, what in (("alone", "of the search alone"), ("expected", "of ours")):
        if not high:
            continue
        ratios = [abs(getattr(cell, name) - 1) for cell in high]
        share = sum(ratio <= WITHIN for ratio in ratios) / len(ratios)
        told = f"prediction {what} within 10 % at {FROM_BITS:g} bits and more"
        lines.append(verdict(told, share, 1.0))
    return "\n".join(lines) + "\n"


def verdict(what: str, share: float, target: float) -> str:
    told = "met" if share >= target else "MISSED"
    return (
        f"- {what}: {100 * share:.0f} % of cells (target {100 * target:.0f} %: {told})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--bits", type=float, nargs="+", default=BITS, metavar="B")
    parser.add_argument("-o", "--output", metavar="FILE")
    for name in PLAN:
        parser.add_argument(f"--{name}", type=int, default=getattr(Refinement(), name))
    args = parser.parse_args()
    plan = Refinement(**{name: getattr(args, name) for name in PLAN})
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.models or ("MiniLM", *EXAMPLES):
            model, data = opened(name, folder)
            for cell in cells_of(name, model, data, folder, plan, args.bits):
                cells.append(cell)
                print(f"{name} at {cell.bits:g} bits: {cell.seen}", flush=True)
    text = markdown(cells)
    print(text)
    if args.output:
        pathlib.Path(args.output).write_text(text)


if __name__ == "__main__":
    main()
