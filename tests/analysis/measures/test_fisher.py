"""Fisher traces and scores against one gradient per sample, formed by autograd."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from analysis.data.batch import Batch, Data
from analysis.errors import AnalysisError
from analysis.measures.fisher import Fisher
from analysis.measures.fisher_draws import ModelDraws
from analysis.measures.fisher_listener import channel_squares, kfac_scores
from analysis.measures.hessian import Hessian
from analysis.measures.hessian_norms import Factors
from analysis.measures.random_signs import sample_uniform
from analysis.method import Row, Update
from analysis.tasks.kl import Kl
from analysis.tasks.mse import Mse
from quant_core.quantizer import Quantizer
from quant_core.scheme import parse_scheme
from tests.analysis.measures.curvature_cases import (
    DoubleKl,
    DoubleMse,
    context_of,
    network,
    samples,
    weights,
)
from tests.cases import CASES, context

SCHEMES = ("int4", "int8")


def rows(updates: list[Update], quantity: str, part: str = "weight") -> dict[Any, Row]:
    return {
        (r.target, r.format): r
        for u in updates
        for r in u.rows
        if r.quantity == quantity and r.part == part
    }


def arrays(updates: list[Update]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for update in updates:
        found |= update.arrays
    return found


def gradients(module: nn.Module, data: Data, targets: Tensor) -> dict[str, Tensor]:
    """Return d cross entropy / d weight of every sample, `[N, *shape]` by layer."""
    parameters = {n: p.detach() for n, p in module.named_parameters()}

    def loss(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(module, values, (x[None],)), y[None])

    found = vmap(grad(loss), (None, 0, 0))(parameters, data.args[0], targets)
    return {n.removesuffix(".weight"): g for n, g in found.items() if g.dim() > 2}


def drawn(
    module: nn.Module, data: Data, probe: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return the labels that the measure draws, and the factor of their gradients."""
    p = module(data.args[0]).detach().softmax(-1)
    even = sample_uniform(p[..., 0], first=0, seed=seed, probe=probe)
    labels, factors = [], []
    for chances, number in zip(p, even.tolist(), strict=True):
        slopes = torch.eye(len(chances), dtype=p.dtype) - chances
        q = chances * slopes.square().sum(1)
        q = q / q.sum()
        label = int((q.cumsum(0) <= 2 * number % 1).sum())
        labels.append(label)
        factors.append((chances[label] / q[label]).sqrt())
    return torch.tensor(labels), torch.stack(factors)


def noise(module: nn.Module, key: str) -> dict[str, Tensor]:
    quantizer = Quantizer(parse_scheme(key))
    return {
        n.removesuffix(".weight"): quantizer.error(p.detach(), (0,)).double()
        for n, p in weights(module).items()
    }


# -- against the slow truth ----------------------------------------------------------


@pytest.mark.parametrize("batch", [0, 4])
def test_the_true_fisher_is_the_mean_squared_gradient_of_drawn_labels(batch: int):
    module, data = network(), samples()
    measure = Fisher(draws=3, channels=True, scores="fit+diagonal+kfac")
    given = context_of(module, data, DoubleKl(), *SCHEMES, batch_size=batch)
    updates = list(measure.run(given))
    found = []
    for labels, factors in (drawn(module, data, probe) for probe in range(3)):
        plain = gradients(module, data, labels)
        found.append({n: g * factors.view(-1, 1, 1) for n, g in plain.items()})
    kept = arrays(updates)
    for name in ("0", "2"):
        g = torch.stack([each[name] for each in found])  # [draws, N, out, in]
        each = g.square().sum((2, 3)).mean()
        row = rows(updates, "trace")[name, None]
        assert row.value == pytest.approx(float(each), rel=1e-5)
        average = rows(updates, "average_trace")[name, None]
        assert average.value == pytest.approx(row.value / g[0, 0].numel())
        by_sample = g.square().sum((2, 3)).mean(0)
        spread = float(by_sample.std() / math.sqrt(len(by_sample)))
        assert row.stderr == pytest.approx(spread, rel=1e-4)
        torch.testing.assert_close(
            torch.from_numpy(kept[f"fisher/channels/{name}"]),
            g.square().sum(3).mean((0, 1)),
            rtol=1e-5,
            atol=1e-9,
        )
        for key in SCHEMES:
            delta = noise(module, key)[name]
            fit = rows(updates, "fit")[name, key].value
            assert fit == pytest.approx(float(each * delta.square().mean()), rel=1e-4)
            diagonal = 0.5 * (g.square().mean((0, 1)) * delta.square()).sum()
            known = rows(updates, "diagonal")[name, key].value
            assert known == pytest.approx(float(diagonal), rel=1e-4)


def test_the_empirical_fisher_takes_the_labels_of_the_data():
    module, data = network(), samples()
    updates = list(Fisher(labels="data").run(context_of(module, data, DoubleKl())))
    assert data.labels is not None
    truth = gradients(module, data, data.labels)
    for (name, _), row in rows(updates, "trace").items():
        value = float(truth[name].square().sum((1, 2)).mean())
        assert row.value == pytest.approx(value, rel=1e-5)


def test_opposite_gradients_do_not_cancel():
    """The rule that takes the mean gradient first would find nothing here."""
    module = nn.Sequential(nn.Linear(2, 2, bias=False)).double()
    with torch.no_grad():
        module[0].weight.zero_()
    x = torch.ones(2, 2, dtype=torch.float64)
    data = Data((x,), labels=torch.tensor([0, 1]))
    updates = list(Fisher(labels="data").run(context_of(module, data, DoubleKl())))
    assert rows(updates, "trace")["0", None].value == pytest.approx(1.0)


@pytest.mark.parametrize("task", [DoubleKl(), DoubleMse()], ids=["kl", "mse"])
def test_it_tends_to_the_trace_of_the_gauss_newton_matrix(task: Any):
    module, data = network(), samples()
    known = rows(
        list(Hessian(probes=1024).run(context_of(module, data, task))), "trace"
    )
    found = rows(list(Fisher(draws=1024).run(context_of(module, data, task))), "trace")
    for key, row in found.items():
        assert row.value == pytest.approx(known[key].value, rel=0.1)


def test_the_mean_is_right_and_so_is_the_error_it_tells():
    """1,000 seeds: the mean within 3 standard errors, the spread within 15 %."""
    module, task = network(), DoubleKl()
    x = samples(1).args[0]
    # The same sample 64 times: only the draws are random, as the error takes them.
    data = Data((x.repeat(64, 1),))
    p = module(x).detach().softmax(-1)[0]
    truth = {
        name: sum(
            float(p[y]) * float(g.square().sum())
            for y in range(3)
            for g in [gradients(module, Data((x,)), torch.tensor([y]))[name]]
        )
        for name in ("0", "2")
    }
    value, stderr = [], []
    for seed in range(1000):
        last = list(Fisher(draws=1).run(context_of(module, data, task, seed=seed)))[-1]
        found = rows([last], "trace")
        value.append([found[n, None].value for n in truth])
        stderr.append([found[n, None].stderr for n in truth])
    mean, spread = np.mean(value, axis=0), np.std(value, axis=0, ddof=1)
    # Every draw tells the last layer, of one input here, exactly: rounding is left.
    rounding = 1e-6 * mean
    apart = np.abs(mean - list(truth.values()))
    assert (apart < 3 * spread / math.sqrt(1000) + rounding).all()
    told = np.sqrt(np.mean(np.square(stderr), axis=0))
    assert (np.abs(told - spread) < 0.15 * spread + rounding).all()
    assert spread[0] > 1e3 * rounding[0]


# -- parts ---------------------------------------------------------------------------


def test_kfac_is_exact_for_one_sample_of_a_linear_layer():
    """With a squared error and one position it is the Gauss-Newton form itself."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3, bias=False)).double()
    x = torch.randn(1, 4, dtype=torch.float64)
    given = context_of(module, Data((x,)), DoubleMse(), "int4")
    updates = list(Fisher(draws=1024, scores="fit+diagonal+kfac").run(given))
    delta = noise(module, "int4")["0"]
    truth = (delta @ x[0]).square().sum() / module(x).detach().square().sum()
    row = rows(updates, "kfac")["0", "int4"]
    assert row.value == pytest.approx(float(truth), rel=0.1)
    assert math.isnan(row.stderr)


def test_kfac_of_kronecker_factors():
    torch.manual_seed(0)
    a, b = torch.randn(2, 3, 3), torch.randn(2, 4, 4)
    r, c = a @ a.mT, b @ b.mT
    w = torch.randn(5, 6, 4)
    truth = [
        sum(
            torch.trace(r[g] @ d @ c[g] @ d.T) for g, d in enumerate(each.view(2, 3, 4))
        )
        for each in w
    ]
    torch.testing.assert_close(kfac_scores(r, c, w), torch.stack(truth))
    counts, table = torch.tensor([2.0, 0.0, 1.0]), torch.randn(2, 3, 4)
    truth = [torch.trace(counts.diag() @ d @ c[0] @ d.T) for d in table]
    torch.testing.assert_close(kfac_scores(counts, c[:1], table), torch.stack(truth))


def test_channels_of_dense_and_looked_up_gradients():
    torch.manual_seed(0)
    a, b = torch.randn(2, 1, 5, 3), torch.randn(2, 1, 5, 4)
    g = torch.einsum("ngta,ngtb->nab", a, b)
    dense = Factors(a, b)
    torch.testing.assert_close(
        channel_squares(dense, 3, columns=False), g.square().sum(2)
    )
    torch.testing.assert_close(
        channel_squares(dense, 3, columns=True), g.square().sum(1)
    )
    index = torch.tensor([[[0, 2, 2, 0, 5]], [[1, 1, 1, 1, 1]]])
    table = torch.zeros(2, 6, 4)
    for n in range(2):
        table[n].index_add_(0, index[n, 0], b[n, 0])
    torch.testing.assert_close(
        channel_squares(Factors(index, b), 6, columns=False), table.square().sum(2)
    )


def test_slopes_have_the_fisher_matrix_for_covariance_and_one_length():
    count = 40_000
    logits = torch.tensor([[0.0, 1.0, 3.0, -50.0]]).repeat(count, 1).double()
    slope = ModelDraws(Kl()).slope(logits, Batch((), {}, count), 0, 1, 0)
    p = logits[0].softmax(-1)
    fisher = torch.diag(p) - torch.outer(p, p)
    torch.testing.assert_close(slope.square().sum(1), fisher.trace().expand(count))
    outer = torch.einsum("ni,nj->nij", slope, slope)
    error = outer.std(0) / count**0.5
    assert ((outer.mean(0) - fisher).abs() < 4 * error + 1e-12).all()
    # Slopes of several positions add up in a gradient: their mean must be 0.
    assert (slope.mean(0).abs() < 4 * slope.std(0) / count**0.5 + 1e-12).all()
    certain = torch.tensor([[0.0, 900.0]])
    assert not ModelDraws(Kl()).slope(certain, Batch((), {}, 1), 0, 1, 0).any()


def test_a_network_that_is_sure_of_itself_needs_few_draws():
    module, data = network(), samples(64)
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(4.0)
    task = DoubleKl()
    found, plain = [], []
    for seed in range(20):
        given = context_of(module, data, task, seed=seed)
        found.append(rows(list(Fisher(draws=1).run(given)), "trace")["2", None].value)
        p = module(data.args[0]).detach().softmax(-1)
        torch.manual_seed(seed)
        g = gradients(module, data, torch.multinomial(p, 1)[:, 0])["2"]
        plain.append(float(g.square().sum((1, 2)).mean()))
    assert np.std(found) < 0.3 * np.std(plain)
    assert np.mean(found) == pytest.approx(np.mean(plain), rel=0.4)


def test_draws_end_when_only_the_choice_of_samples_is_left():
    module, data = network(), samples(32)
    given = context_of(module, data, DoubleKl())
    updates = list(Fisher(draws=64, precision=0.02).run(given))
    row = rows(updates, "trace")["2", None]
    assert row.stderr > 0.02 * row.value
    assert updates[-1].samples == 32
    backward = sum(" probe " in update.note for update in updates)
    assert 2 <= backward < 64


def test_inputs_have_their_own_trace_and_score():
    module, data = network(), samples()
    given = context_of(module, data, DoubleKl(), "int8")
    given.input_schemes = (parse_scheme("int8/tensor"),)
    updates = list(Fisher(draws=2).run(given))
    x = data.args[0].clone().requires_grad_()
    total = 0.0
    for probe in range(2):
        labels, factors = drawn(module, data, probe)
        loss = F.cross_entropy(module(x), labels, reduction="none") * factors
        (g,) = torch.autograd.grad(loss.sum(), x)
        total += float(g.square().sum(1).mean()) / 2
    row = rows(updates, "trace", "input")["0", None]
    assert row.value == pytest.approx(total, rel=1e-5)
    quantizer = Quantizer(parse_scheme("int8/tensor"))
    x = x.detach()
    ends = torch.tensor([min(0.0, float(x.min())), max(0.0, float(x.max()))])
    params = quantizer.fit(ends, (0,))
    delta = quantizer.fake_quantize(x, (1,), params) - x
    score = rows(updates, "fit", "input")["0", "int8/tensor"]
    assert score.value == pytest.approx(total * float(delta.square().mean()), rel=1e-3)


# -- any network ---------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_architecture(name: str):
    given = context(name)
    updates = list(Fisher(draws=1, channels=True, scores="fit+diagonal").run(given))
    assert updates[-1].done == updates[-1].total
    traces = rows(updates, "trace")
    # As many as the curvature that is its mean.
    known = rows(list(Hessian(probes=1).run(context(name))), "trace")
    assert traces.keys() == known.keys()
    assert all(row.value >= 0 and math.isfinite(row.value) for row in traces.values())
    for key, values in arrays(updates).items():
        if key.startswith("fisher/channels/"):
            layer = key.removeprefix("fisher/channels/")
            total = traces[layer, None].value
            assert float(values.sum()) == pytest.approx(total, rel=1e-3, abs=1e-12)


# -- as a job --------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_to_the_same_numbers():
    module, data = network(), samples()
    measure = Fisher(draws=2, channels=True)
    whole = list(measure.run(context_of(module, data, DoubleKl(), batch_size=2)))
    half = list(measure.run(context_of(module, data.take(4), DoubleKl(), batch_size=2)))
    again = context_of(module, data, DoubleKl(), batch_size=2)
    again.done = {("0", None, "trace", "weight"): rows(half, "trace")["0", None]}
    again.arrays = arrays(half)
    resumed = list(measure.run(again))
    for key, row in rows(whole, "trace").items():
        assert rows(resumed, "trace")[key].value == pytest.approx(row.value)
    for key, array in arrays(whole).items():
        np.testing.assert_allclose(arrays(resumed)[key], array, rtol=1e-6)


def test_it_stops_when_precise_enough():
    module, data = network(), samples(64)
    given = context_of(module, data, DoubleKl(), batch_size=8)
    updates = list(Fisher(draws=8, precision=0.9).run(given))
    assert updates[-1].note == "precise enough"
    assert updates[-1].samples < 64


def test_labels_are_asked_for_where_there_are_none():
    module, data = network(), Data((torch.zeros(2, 4, dtype=torch.float64),))
    with pytest.raises(AnalysisError, match="needs logits and labels"):
        list(Fisher(labels="data").run(context_of(module, data, Kl())))
    with pytest.raises(AnalysisError, match="needs logits and labels"):
        list(Fisher(labels="data").run(context_of(module, samples(), Mse())))


def test_parameters_are_checked():
    with pytest.raises(AnalysisError, match=r"fisher\.draws is out of range"):
        Fisher(draws=0)
    with pytest.raises(AnalysisError, match=r"fisher\.labels has an unknown value"):
        Fisher(labels="mine")
