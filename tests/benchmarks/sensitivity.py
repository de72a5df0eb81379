"""Cost of sensitivity measures, as ratios to one forward pass and to other packages.

Run from the project's root: `python -m tests.benchmarks.sensitivity [--quick]`. Every
row is one job; a forward pass is one no-grad pass over the same samples, timed in the
same run in turn with the job. Rows of PyHessian and zennit are there when these are
installed (`make peers` makes an environment that has them); of lxt, which explains
transformers through its own copies of the models of transformers 4, only whether it
can be loaded at all. `tests.benchmarks.quality` tells what a measured sweep costs.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from analysis.data import load_data
from analysis.data.batch import Batch, Data, call
from analysis.heap import keep_freed_memory
from analysis.load import load
from analysis.measures.evaluating import evaluating
from analysis.measures.fisher import Fisher
from analysis.measures.hessian import Hessian
from analysis.measures.relevance import Relevance
from analysis.method import Measure
from analysis.model import LoadedModel
from tests.benchmarks.spine import (
    both_ratios,
    context,
    drain,
    forward_of,
    minilm,
    ratio,
    topics,
)

SAMPLES = 32
"""Texts for MiniLM; the small examples take all of their held-out data."""


PROBES = 12
"""Probes of PyHessian that tell their spread."""
PRECISION = 0.05
"""Median relative standard error over the layers that both sides are timed to."""


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
        title: What is done.
        measure: The measure that does it.
        target: Forward passes it may cost; None without a target.
        labels: Whether it needs labels.
    """

    title: str
    measure: Measure
    target: float | None = None
    labels: bool = False


LINES = (
    Line("Hessian trace (ggn), 1 probe", Hessian(probes=1), 6),
    Line("Hessian trace (ggn), 4 probes", Hessian(probes=4)),
    Line("exact Hessian, 1 probe", Hessian(operator="hessian", probes=1)),
    Line(
        "exact Hessian of labels, 1 probe",
        Hessian(operator="hessian", loss="labels", probes=1),
        labels=True,
    ),
    Line("Fisher trace, 1 draw", Fisher(draws=1)),
    Line("Fisher trace to 5 %", Fisher(draws=64, precision=PRECISION), 10),
    Line("Relevance, AttnLRP", Relevance(), 4),
    Line("Relevance, Chefer's rules", Relevance(rules="chefer")),
    Line("Relevance, z-box, gamma, epsilon", Relevance(rules="epsilon_gamma_box")),
)


def pyhessian(
    model: LoadedModel, data: Data, probes: int = 1
) -> Callable[[], list[list[float]]] | None:
    """Return probes of PyHessian for all layers together, None without it.

    Without labels its criterion is the power of the output: the cost of a product
    does not depend on the loss.
    """
    if importlib.util.find_spec("pyhessian") is None:
        return None
    from pyhessian import hessian

    module, task = model.module, model.task
    assert module is not None
    assert task is not None
    batches = list(data.batches(512))

    class Called(torch.nn.Module):
        """Takes a batch as PyHessian passes inputs."""

        def __init__(self) -> None:
            super().__init__()
            self.network = module

        def forward(self, batch: Batch) -> torch.Tensor:
            return task.output(call(self.network, batch), batch)

    def criterion(output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if labels.shape == output.shape[:1]:
            return F.cross_entropy(output, labels)
        return output.square().sum(-1).mean()

    def run() -> list[list[float]]:
        found: list[list[float]] = []
        # Its products fail in fused attention kernels.
        with evaluating(module), sdpa_kernel([SDPBackend.MATH]):
            for parameter in module.parameters():
                parameter.requires_grad_(parameter.dim() > 1)
            for batch in batches:
                labels = torch.zeros(0) if batch.labels is None else batch.labels
                view = hessian(Called(), criterion, data=(batch, labels), cuda=False)
                found.append(view.trace(maxIter=probes, tol=0.0))
            for parameter in module.parameters():
                parameter.grad = None
        return found

    return run


def zennit(model: LoadedModel, data: Data) -> Callable[[], None] | None:
    """Return relevance of the input by zennit, None without it.

    With the rules of our row z-box, gamma, epsilon. It works on modules and so on
    plain convolutional networks; it gives no scores of layers.
    """
    network = copy.deepcopy(model.module)
    assert network is not None
    plain = any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    if importlib.util.find_spec("zennit") is None or not plain:
        return None
    from tests.peers.conftest import stand_in_for_torchvision

    with pytest.MonkeyPatch.context() as patch:
        stand_in_for_torchvision(patch)
        from zennit.attribution import Gradient
        from zennit.canonizers import SequentialMergeBatchNorm
        from zennit.composites import EpsilonGammaBox

    batches = list(data.batches(512))

    def run() -> None:
        for batch in batches:
            x = batch.args[0]
            composite = EpsilonGammaBox(
                low=x.min().expand_as(x[:1]),
                high=x.max().expand_as(x[:1]),
                canonizers=[SequentialMergeBatchNorm()],
            )
            with Gradient(model=network, composite=composite) as attributor:
                attributor(x, lambda output: F.one_hot(output.argmax(1), 10) * 1.0)

    return run


def both_ways(model: LoadedModel, data: Data) -> Callable[[], None]:
    """Return a pass forward and one back to the first layer, as torch runs them.

    What backward passes may cost is judged by it: no measure that needs one can take
    less in this way.
    """
    module, task = model.module, model.task
    assert module is not None
    assert task is not None
    first = module.get_parameter(model.info.layers[0].parameter)
    batches = list(data.batches(512))

    def run() -> None:
        with evaluating(module):
            first.requires_grad_(True)
            for batch in batches:
                output = task.output(call(module, batch), batch)
                torch.autograd.grad(output, first, torch.ones_like(output))

    return run


def why_not_lxt() -> str:
    """Return why there is no row of lxt."""
    if importlib.util.find_spec("lxt") is None:
        return "lxt is not installed"
    try:
        importlib.import_module("lxt.efficient")
    except ImportError as error:
        return f"lxt cannot be loaded: {error}"
    return "lxt has its own copies of networks, none of which is among these"


def table(name: str, model: LoadedModel, data: Data, repeats: int) -> None:
    """Print the rows of one model."""
    forward = forward_of(model, data)
    print(f"\n{name}, {len(data)} samples, {len(model.info.layers)} layers;", end=" ")
    print("elapsed (in brackets: processor time on one thread)")
    for line in LINES:
        if line.labels and (data.labels is None or data.labels.dim() > 1):
            continue

        def job(line: Line = line) -> object:
            return drain(line.measure.run(context(model, data, [])))

        took = both_ratios(job, forward, repeats)
        target = "" if line.target is None else f"   target <= {line.target:g}"
        print(f"  {line.title:36} {took:>14} forward passes{target}", flush=True)
    took = both_ratios(both_ways(model, data), forward, repeats)
    print(f"  {'torch, forward and backward':36} {took:>14} forward passes")
    attributed = zennit(model, data)
    if attributed is not None:
        took = both_ratios(attributed, forward, repeats)
        print(f"  {'zennit, z-box, gamma, epsilon':36} {took:>14} forward passes")
    theirs = pyhessian(model, data)
    if theirs is None:
        print("  PyHessian is not installed: no comparison (make peers)")
        return
    found = ratio(theirs, forward, repeats)
    print(f"  {'PyHessian, 1 probe, one number':36} {found:14.2f} forward passes")
    many = pyhessian(model, data, PROBES)
    assert many is not None
    # Probes of one batch are independent: their spread is that of one probe.
    traces = torch.tensor(many()).mean(0)
    spread = float(traces.std() / traces.mean().abs())
    needed = max(1.0, (spread / PRECISION) ** 2)
    print(
        f"  {'PyHessian to 5 %, one number':36} {found * needed:14.2f} forward passes, "
        f"{needed:.0f} probes at a spread of {spread:.0%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one repetition")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    repeats = 1 if options.quick else 5
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, ", end="")
    print(f"load {os.getloadavg()[0]:.1f} at the start; {why_not_lxt()}")
    keep_freed_memory()
    for name in ("digits-cnn", "digits-vit", "pydoc-gpt"):
        model = load(f"example:{name}")
        table(name, model, load_data("example", model, samples=0), repeats)
    with tempfile.TemporaryDirectory() as folder:
        model = load(minilm())
        data = load_data(topics(folder), model, samples=SAMPLES)
        table("MiniLM", model, data, repeats)


if __name__ == "__main__":
    main()
