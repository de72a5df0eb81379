"""Small projects for tests of the window."""

from __future__ import annotations

import numpy as np
from PySide6.QtWidgets import QApplication

from analysis.method import Row, Update
from analysis.model import ModelInfo
from analysis.prediction import Predictor
from analysis.project import Project
from app.context import AppContext
from quant_core.sites import Layer

FORMATS = ("int2", "int3", "int4", "int6", "int8")
BLOCK = ("query", "key", "value", "output", "up", "down")


def model_info(layers: int) -> ModelInfo:
    """Return a model of `layers` linear layers in blocks of six, q/k/v tied."""
    names = [f"layers.{i // 6}.{BLOCK[i % 6]}" for i in range(layers)]
    listed = tuple(
        Layer(name, f"{name}.weight", "linear", (64, 32 * (1 + i % 6)), "float32")
        for i, name in enumerate(names)
    )
    ties = tuple((i, i + 1, i + 2) for i in range(0, layers - 5, 6))
    return ModelInfo(
        "tiny", "tests:tiny", "d" * 64, listed, ties=ties, architecture="Tiny"
    )


def analysed(layers: int, samples: int = 32) -> Project:
    """Return a project with weight statistics and predicted errors."""
    info = model_info(layers)
    project = Project.create(info)
    if not layers:
        return project
    rng = np.random.default_rng(0)
    run = project.begin_run("weights", unit="dB", better="higher")
    rows = [
        Row(x.name, None, 3 + i % 9, quantity="kurtosis")
        for i, x in enumerate(info.layers)
    ]
    rows += [
        Row(layer.name, key, 6.0 * int(key[3:]) + i % 3, quantity="sqnr")
        for i, layer in enumerate(info.layers)
        for key in FORMATS
    ]
    project.apply(run, Update(1, 1, rows=tuple(rows)))
    project.end_run(run, "complete")
    columns = [("weight", x.name, key) for x in info.layers for key in FORMATS]
    scale = np.array(
        [(1 + i % 5) * 4.0 ** -int(key[3:]) for i in range(layers) for key in FORMATS]
    )
    v = (rng.normal(size=(samples, len(columns))) * np.sqrt(scale)).astype(np.float32)
    own = np.stack([(v**2).mean(0), (v**2).std(0) / np.sqrt(samples)])
    arrays = {
        "predicted_error/v": v,
        "predicted_error/weight": np.ones(samples),
        "predicted_error/sample": np.arange(samples),
        "predicted_error/columns": np.array(columns),
        "predicted_error/own": own,
    }
    assert Predictor.from_arrays(arrays) is not None
    rows = [
        Row(name, key, float(own[0, i]), float(own[1, i]))
        for i, (_, name, key) in enumerate(columns)
    ]
    run = project.begin_run(
        "predicted_error",
        unit="nats per sample",
        samples=samples,
        task="kl",
        data_source="example",
    )
    project.apply(run, Update(1, 1, rows=tuple(rows), arrays=arrays, samples=samples))
    project.end_run(run, "complete")
    return project


class FakeClient:
    """Stands for the worker process: records requests, plays messages back."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []
        self.waiting: list = []
        self.source: str | None = None
        self.is_closed = False

    def open(self, source: str, **options: object) -> None:
        self.source = source
        self.asked.append(("open", source))

    def start(self, job: object) -> None:
        self.asked.append(("start", job))

    def cancel(self) -> None:
        self.asked.append(("cancel",))

    def poll(self) -> list:
        messages, self.waiting = self.waiting, []
        return messages

    def close(self) -> None:
        self.is_closed = True

    def say(self, *messages: object) -> None:
        self.waiting.extend(messages)


def settle() -> None:
    """Let timers of no time and what they start run."""
    for _ in range(4):
        QApplication.processEvents()


def open_(context: AppContext, project: Project) -> Project:
    """Show a project in the panels of a context, and return it."""
    context.set_project(project)
    settle()
    return project
