"""How well each measure stands for the measured error, and what it costs.

Run from the project's root: `python -m tests.benchmarks.quality [MODEL ...]`. Judge is
the error measured with one layer quantized and the others float, on the same samples.
Costs are processor time on one thread over that of a forward pass in the same run, so
that other programs on the machine hardly touch them. `--results FILE` keeps the figures
of models run one by one, and prints the table of all that it holds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from analysis.data import load_data
from analysis.data.batch import Data, call
from analysis.errors import AnalysisError
from analysis.heap import keep_freed_memory
from analysis.jobs import analyze
from analysis.load import load
from analysis.measures.evaluating import evaluating
from analysis.measures.measured_error import MeasuredError
from analysis.model import LoadedModel
from analysis.project import Project
from analysis.quality import JUDGE, measure_quality
from quant_core.replay import recorded
from quant_core.scheme import Scheme
from quant_core.tap import Tap
from tests.benchmarks.spine import (
    EIGHT,
    EXAMPLES,
    context,
    drain,
    forward_of,
    minilm,
    ratio,
    topics,
)

FORMATS = ("int3", "int4", "int6", "int8")
INPUTS = ("int4", "int8")
SAMPLES = {"MiniLM": 12, "digits-vit": 128, "digits-cnn": 500, "pydoc-gpt": 32}
SWEEP_TARGET = 0.6
FEW = 100
"""Layers times formats below which the median of three sweeps is told."""

MEASURES: Mapping[str, Mapping[str, Any]] = {
    "predicted_error": {},
    "weights": {},
    "hessian": {},
    "fisher": {"scores": "fit+diagonal+kfac"},
    "relevance": {},
    "tool_scores": {},
}
"""Measures that are judged, with their parameters."""
ROWS: Mapping[str, tuple[str, str, str]] = {
    "predicted error": ("predicted_error", "error", "weight"),
    "K-FAC score": ("fisher", "kfac", "weight"),
    "diagonal Fisher score": ("fisher", "diagonal", "weight"),
    "FIT": ("fisher", "fit", "weight"),
    "HAWQ-V2 (GGN trace x squared perturbation)": ("hessian", "hawq_v2", "weight"),
    "LRP-QViT noise (reconstruction)": ("relevance", "noise", "weight"),
    "relevance, positive part": ("relevance", "positive", "weight"),
    "relevance, absolute": ("relevance", "absolute", "weight"),
    "imatrix-weighted error": ("tool_scores", "imatrix_error", "weight"),
    "weight SQNR": ("weights", "sqnr", "weight"),
    "weight cosine": ("weights", "cosine", "weight"),
    "NNCF weight error": ("tool_scores", "nncf_weight_error", "weight"),
    "NNCF mean activation variance": (
        "tool_scores",
        "nncf_mean_activation_variance",
        "weight",
    ),
    "NNCF max activation variance": (
        "tool_scores",
        "nncf_max_activation_variance",
        "weight",
    ),
    "NNCF mean activation magnitude": (
        "tool_scores",
        "nncf_mean_activation_magnitude",
        "weight",
    ),
    "NNCF Hessian of the input": ("tool_scores", "nncf_hessian_input", "weight"),
    "inputs: predicted error": ("predicted_error", "error", "input"),
    "inputs: FIT": ("fisher", "fit", "input"),
    "inputs: msModelSlim std": ("tool_scores", "msmodelslim_std", "input"),
    "inputs: msModelSlim quantile": ("tool_scores", "msmodelslim_quantile", "input"),
    "inputs: msModelSlim kurtosis": ("tool_scores", "msmodelslim_kurtosis", "input"),
}
"""Lines of the table, and the numbers behind them."""


@dataclass(frozen=True)
class Figure:
    """What is told of one number on one model.

    Attributes:
        spearman: Over layers x formats; NaN without a number per format.
        by_format: Median of those within one format.
        ratio: Median of predicted over measured; NaN in another unit.
        passes: Cost in forward passes.
    """

    spearman: float
    by_format: float
    ratio: float
    passes: float


def opened(name: str, folder: str) -> tuple[LoadedModel, Data]:
    source, data = f"example:{name}", "example"
    if name == "MiniLM":
        source, data = minilm(), topics(folder)
    model = load(source)
    return model, load_data(data, model, samples=SAMPLES[name])


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def judged(name: str, model: LoadedModel, data: Data) -> dict[str, Figure]:
    """Run all measures on a model; print and return what they are worth."""
    project = Project.create(model.info)
    forward = forward_of(model, data)
    forward()
    schemes = tuple(Scheme(key) for key in FORMATS)
    inputs = tuple(Scheme(key, "tensor") for key in INPUTS)
    passes: dict[str, float] = {}
    for key, params in {JUDGE: {}, **MEASURES}.items():

        def run(key: str = key, params: Mapping[str, Any] = params) -> None:
            job = analyze(
                model,
                data,
                [key],
                project=project,
                schemes=schemes,
                input_schemes=inputs,
                params={key: params},
            )
            for _ in job:
                pass

        before = min(seconds(forward) for _ in range(3))
        try:
            took = seconds(run)
        except AnalysisError as error:
            print(f"  {key}: {error}")
            continue
        after = min(seconds(forward) for _ in range(3))
        passes[key] = took / min(before, after)
    sweep(name, model, data)
    quality = {(q.measure, q.quantity, q.part): q for q in measure_quality(project)}
    found = {}
    for title, column in ROWS.items():
        one = quality.get(column)
        if one is not None:
            cost = passes[one.measure]
            found[title] = Figure(one.spearman, one.rank, one.ratio, cost)
    return found


def sweep(name: str, model: LoadedModel, data: Data) -> None:
    """Print what measuring a layer in a format costs."""
    forward = forward_of(model, data)
    job = context(model, data, EIGHT)
    cells = len(EIGHT) * len(model.info.layers)
    unit = model.task.unit if model.task else ""
    repeats = 3 if cells < FEW else 1
    clock = time.process_time
    took = ratio(lambda: drain(MeasuredError().run(job)), forward, repeats, clock)
    layers = len(model.info.layers)
    print(f"\n{name}: {layers} layers, {len(data)} samples, error in {unit}")
    print(f"measured in {took / cells:.2f} forward passes per layer and format")
    print(f"({cells} of them; target {SWEEP_TARGET});", end=" ")
    print(f"what lies behind a layer takes {behind(model, data):.2f} on average")


def behind(model: LoadedModel, data: Data) -> float:
    """Return the mean over layers of the time of a pass from that layer on.

    In forward passes. Nothing that reuses what lies before a change, and runs the rest
    as the network has it, can take less.
    """
    assert model.module is not None
    batch = next(data.batches(512))

    def run() -> None:
        with torch.no_grad():
            call(model.module, batch)

    with evaluating(model.module):
        for _ in range(2):
            with torch.no_grad(), recorded(Tap(model.module)) as recording:
                call(model.module, batch)
        shares = []
        for layer in model.info.layers:
            start = recording.begin([layer.parameter], [])

            def rest(start: int = start) -> None:
                with recording.skipping(start):
                    run()

            shares.append(ratio(rest, run, 3, time.process_time))
    return statistics.fmean(shares)


def text(value: float, digits: int = 2) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def show(figures: Mapping[str, Figure]) -> None:
    """Print the table of one model, best first within weights and inputs."""
    print(f"{'':44}{'Spearman':>10}{'by format':>11}{'pred./meas.':>13}{'passes':>9}")

    def place(title: str) -> tuple[bool, bool, float]:
        rank = figures[title].by_format
        return title.startswith("inputs"), math.isnan(rank), -rank

    for title in sorted(figures, key=place):
        one = figures[title]
        cells = (text(one.spearman, 3), text(one.by_format, 3), text(one.ratio))
        print(f"{title:44}{cells[0]:>10}{cells[1]:>11}{cells[2]:>13}", end="")
        print(f"{one.passes:9.1f}")


def table(results: Mapping[str, Mapping[str, Figure]]) -> None:
    """Print measures by models as Markdown."""
    names = list(results)
    print(
        "\nSpearman by format (over layers x formats), x predicted/measured; passes\n"
    )
    print("| measure |", " | ".join(names), "|")
    print("|---" * (1 + len(names)) + "|")
    for title in ROWS:
        cells = []
        for name in names:
            one = results[name].get(title)
            if one is None:
                cells.append("-")
                continue
            both = text(one.by_format)
            if not math.isnan(one.spearman):
                both += f" ({text(one.spearman)})"
            if not math.isnan(one.ratio):
                both += f", x {text(one.ratio)}"
            cells.append(f"{both}; {one.passes:.1f}")
        print(f"| {title} |", " | ".join(cells), "|")


def kept(path: pathlib.Path) -> dict[str, dict[str, Figure]]:
    if not path.exists():
        return {}
    return {
        name: {title: Figure(**figure) for title, figure in figures.items()}
        for name, figures in json.loads(path.read_text()).items()
    }


def keep(path: pathlib.Path, results: Mapping[str, Mapping[str, Figure]]) -> None:
    found = {
        name: {title: asdict(figure) for title, figure in figures.items()}
        for name, figures in results.items()
    }
    path.write_text(json.dumps(found))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(SAMPLES))
    parser.add_argument("--results", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args(arguments)
    names = options.models or [*EXAMPLES, "MiniLM"]
    if unknown := set(names) - set(SAMPLES):
        parser.error(f"unknown model {', '.join(unknown)}; known: {', '.join(SAMPLES)}")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"torch {torch.__version__}, 1 thread, ", end="")
    print(f"load {os.getloadavg()[0]:.1f} at the start")
    print(f"weights in {', '.join(FORMATS)}; inputs in {', '.join(INPUTS)} per tensor")
    results = kept(options.results) if options.results else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            results[name] = judged(name, *opened(name, folder))
            show(results[name])
            if options.results:
                keep(options.results, results)
    if len(results) > 1:
        table(results)


if __name__ == "__main__":
    main()
