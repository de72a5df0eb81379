"""The onset that the diagnosis tells is where a measured error really starts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from analysis.data.batch import Data
from analysis.diagnosis import Missing, Verdict, verdicts
from analysis.jobs import analyze
from analysis.model import LoadedModel, ModelInfo
from analysis.project import Project
from analysis.tasks.mse import Mse
from quant_core.layers import layers_of
from quant_core.scheme import Scheme


class Backwards(nn.Module):
    """A chain whose parameters are listed from its end to its beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.bad, self.second, self.first = (
            nn.Linear(16, 16, bias=False) for _ in range(4)
        )
        for layer in self.children():
            # Orthogonal with entries on the grid of any format: nothing is lost.
            layer.weight.data = torch.eye(16)
        self.bad.weight.data = torch.eye(16) + 0.3 * torch.rand(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.bad(self.second(self.first(x))))


def project_of(*scopes: str) -> Project:
    module = Backwards().eval()
    layers, unlisted = layers_of(module)
    info = ModelInfo("chain", "chain", "0" * 64, layers, unlisted)
    parameters = dict(module.named_parameters())
    model = LoadedModel(info, module, lambda n: parameters[n].detach(), Mse())
    project = Project.create(info)
    data = Data((torch.randn(32, 16),))
    params = {"measured_error": {"scopes": list(scopes)}}
    formats = [Scheme("int3")]
    measures = ["measured_error"]
    list(
        analyze(model, data, measures, project=project, schemes=formats, params=params)
    )
    return project


def judged(project: Project) -> Verdict:
    return next(verdict for rule, verdict in verdicts(project) if rule.key == "onset")


def test_the_layer_that_breaks_is_the_onset_in_the_order_of_use() -> None:
    project = project_of("alone", "cumulative")
    verdict = judged(project)
    assert not isinstance(verdict, Missing)
    (finding,) = verdict
    (layer,) = finding.layers
    assert project.info.layers[layer].name == "bad"
    numbers = {number.name: number.value for number in finding.numbers}
    assert numbers["layers before it"] == 2
    alone = project.values("measured_error", "int3")[layer]
    assert numbers["error added here"] == numbers["error at the end"] == alone


def test_other_scopes_do_not_tell_it() -> None:
    verdict = judged(project_of("alone"))
    assert isinstance(verdict, Missing)
    assert "scope cumulative" in verdict.needs
