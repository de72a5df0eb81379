"""What a measure is given to work with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from analysis.errors import AnalysisError
from analysis.method import Row

if TYPE_CHECKING:
    from torch import nn

    from analysis.data.batch import Data
    from analysis.model import LoadedModel
    from analysis.tasks.base import Task
    from quant_core.scheme import Scheme

RowKey = tuple[str, str | None, str, str]


@dataclass
class MeasureContext:
    """Model, data and settings of one run.

    Attributes:
        model: The opened model.
        data: Calibration data, or None for weight-only measures.
        schemes: Weight schemes to judge.
        input_schemes: Schemes for activations; empty to leave them out.
        device: Where the model runs ("cpu", "cuda").
        seed: Seed of every random draw.
        batch_size: Samples per forward call; 0 lets the measure choose.
        first_sample: Index of the first sample of `data` in the whole data set, so
            that shards draw the same random directions as a single run.
        done: Rows of an interrupted run that is being resumed, by
            (target, format, quantity, part).
        arrays: Arrays of earlier runs and of the run being resumed.
        shard: (number, how many): a measure that can be shared out does this share.
    """

    model: LoadedModel
    data: Data | None = None
    schemes: tuple[Scheme, ...] = ()
    input_schemes: tuple[Scheme, ...] = ()
    device: str = "cpu"
    seed: int = 0
    batch_size: int = 0
    first_sample: int = 0
    done: Mapping[RowKey, Row] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    shard: tuple[int, int] = (0, 1)

    @property
    def task(self) -> Task | None:
        """What "error" means here."""
        return self.model.task

    def need_run(self, measure: str) -> tuple[nn.Module, Data, Task]:
        """Return module, data and task, all of which `measure` cannot do without.

        Raises:
            AnalysisError: one of them is missing, with what still works.
        """
        if self.model.module is None:
            raise AnalysisError(
                f"{measure} runs the network, but only its tensors were opened.",
                value=self.model.info.source,
                allowed="a Hugging Face folder, a .pt2 program, "
                "package.module:callable or example:NAME",
                hint="The measure `weights` works on tensors alone.",
            )
        if self.data is None or not len(self.data):
            raise AnalysisError(
                f"{measure} needs calibration data.",
                hint="Give --data FILE, --data example, or --data random "
                "(a guess, told as such); `weights` needs none.",
            )
        if self.model.task is None:
            raise AnalysisError(
                f"{measure} does not know how to judge the output of this model.",
                hint="Give a model whose output is a floating-point tensor, or a "
                "tuple, dict or dataclass that holds one.",
            )
        return self.model.module, self.data, self.model.task
