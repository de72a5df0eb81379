"""Networks with ops that autograd cannot follow: what is said, and what still works."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from analysis.errors import AnalysisError
from analysis.jobs import analyze
from analysis.measures import NAMES, measures
from analysis.measures.context import MeasureContext
from analysis.measures.derivable import ORDERS, _Found, _looked, order_of, still_work
from analysis.measures.hessian import Hessian
from analysis.measures.predicted_error import PredictedError
from analysis.method import Row
from quant_core.layers import layers_of
from quant_core.scheme import Scheme
from tests.cases import CASES, assert_same_state, context, state_of

pytestmark = pytest.mark.usefixtures("one_thread")
EXACT: dict[str, dict[str, Any]] = {"hessian": {"operator": "hessian"}}


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.expm1()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return slope * x.exp()


class Never(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.expm1()


class Middle(nn.Module):
    """Does one thing between two layers."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.register_buffer("points", torch.randn(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        match self.what:
            case "once":
                return Once.apply(x)
            case "never":
                return Never.apply(x)
            case "cdist":
                return torch.cdist(x, self.points, p=1.0) / 8
            case "igamma":
                return torch.igamma(x.sigmoid() + 1, torch.ones_like(x))
            case "detach":
                with torch.no_grad():
                    return torch.tanh(x)
            case "round":
                return torch.round(4 * x) / 4
            case "straight through":
                return x + (torch.round(4 * x) / 4 - x).detach()
        return x


class Network(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.first, self.middle = nn.Linear(8, 8), Middle(what)
        self.last, self.unused = nn.Linear(8, 3), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self.first(x))
        self.unused(x)
        return self.last(x)


def with_middle(what: str) -> MeasureContext:
    torch.manual_seed(1)
    ctx = context("called_twice", "int4")
    module = Network(what).eval()
    parameters = dict(module.named_parameters())
    info = dataclasses.replace(ctx.model.info, layers=layers_of(module)[0], sites=())
    ctx.model = dataclasses.replace(
        ctx.model,
        info=info,
        module=module,
        read_tensor=lambda name: parameters[name].detach(),
    )
    return ctx


def run(
    ctx: MeasureContext, key: str, params: dict[str, dict[str, Any]] | None = None
) -> tuple[list[Row], str]:
    schemes = (Scheme("int4"),)
    updates = [
        update
        for _, update in analyze(
            ctx.model, ctx.data, [key], schemes=schemes, params=params
        )
    ]
    told = " ".join(w for u in updates for w in u.warnings)
    return [row for u in updates for row in u.rows], told


def targets(rows: list[Row]) -> set[str]:
    return {row.target for row in rows}


@pytest.mark.parametrize(
    ("what", "op"),
    [("once", "Once at middle"), ("cdist", "cdist at middle:cdist.0")],
)
def test_an_op_without_second_derivative_is_named(what: str, op: str) -> None:
    ctx = with_middle(what)
    for key in ("hessian", "hessian_eigenvalues", "hessian_spectrum"):
        with pytest.raises(AnalysisError, match="cannot be differentiated twice") as e:
            run(ctx, key, EXACT if key == "hessian" else None)
        assert e.value.value == op
        assert e.value.hint is not None
    works = re.findall(r"\w+", still_work(2))
    assert {"measured_error", "predicted_error", "fisher", "hessian"} <= set(works)
    for key in set(works) & set(NAMES):
        assert run(ctx, key)[0] or key == "error_map"


@pytest.mark.parametrize(
    ("what", "op"),
    [("never", "Never at middle"), ("igamma", "igamma at middle:igamma.0")],
)
def test_an_op_without_derivative_is_named(what: str, op: str) -> None:
    ctx = with_middle(what)
    for key in ("predicted_error", "fisher", "hessian"):
        with pytest.raises(AnalysisError, match="cannot be differentiated at all") as e:
            run(ctx, key)
        assert e.value.value == op
        assert e.value.hint is not None
        assert "measured_error" in e.value.hint
        assert "predicted_error" not in e.value.hint
    for key in set(re.findall(r"\w+", still_work(1))) & set(NAMES):
        assert run(ctx, key)[0] or key == "error_map"


@pytest.mark.parametrize(
    ("what", "op"), [("detach", "tanh at middle"), ("round", "round at middle")]
)
def test_layers_cut_off_have_no_result_instead_of_zero(what: str, op: str) -> None:
    ctx = with_middle(what)
    for key in ("predicted_error", "fisher", "hessian"):
        rows, told = run(ctx, key)
        assert targets(rows) == {"last", "unused"}
        assert f"No gradient reaches first: it is cut off by {op}" in told
        assert "measured_error" in told
    measured = {r.target: r.value for r in run(ctx, "measured_error")[0]}
    assert measured["first"] > 0
    assert measured["unused"] == 0, "zero is right where the output does not depend"


def test_a_detour_around_a_flat_op_is_no_cut() -> None:
    rows, told = run(with_middle("straight through"), "predicted_error")
    assert targets(rows) == {"first", "last", "unused"}
    assert "No gradient" not in told


@pytest.mark.parametrize("name", sorted(CASES))
def test_usual_networks_are_left_alone(name: str) -> None:
    ctx = context(name, "int4")
    module = ctx.model.module
    assert module is not None
    before = state_of(module)
    assert _looked(PredictedError(), ctx, 1) == _Found()
    assert_same_state(before, state_of(module))


def test_orders_are_those_of_the_measures() -> None:
    assert set(ORDERS) <= set(measures())
    assert order_of(Hessian()) == 1
    assert order_of(Hessian(operator="hessian")) == 2
    assert order_of(Hessian(estimator="hutch++")) == 2
    assert order_of(measures()["measured_error"]()) == 0
