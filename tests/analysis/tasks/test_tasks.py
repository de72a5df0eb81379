from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from analysis.data.batch import Batch
from analysis.errors import AnalysisError
from analysis.tasks.base import Task
from analysis.tasks.choose import choose_task
from analysis.tasks.cosine import Cosine
from analysis.tasks.kl import Kl
from analysis.tasks.mse import Mse
from analysis.tasks.outputs import pick
from analysis.tasks.pooling import POOLINGS, Pooling


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
PLAIN = Batch((), {}, 3)
MASKED = Batch((), {"attention_mask": MASK}, 3)

# Task, output, batch.
CASES: dict[str, tuple[Task, torch.Tensor, Batch]] = {
    "kl-sample": (Kl(), draw(3, 6), PLAIN),
    "kl-token": (Kl(causal=True), draw(3, 4, 6), MASKED),
    "kl-map": (Kl(class_axis=1), draw(3, 2, 2, 6), PLAIN),
    "mse": (Mse(), draw(3, 5), PLAIN),
    "mse-token": (Mse(tokens=True), draw(3, 4, 5), MASKED),
    "cosine": (Cosine(), draw(3, 2, 5), PLAIN),
    "cosine-token": (Cosine(tokens=True), draw(3, 4, 5), MASKED),
}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> tuple[Task, torch.Tensor, Batch]:
    task, raw, batch = CASES[request.param]
    if request.param == "kl-map":
        raw = raw.movedim(-1, 1)
    return task, task.output(raw, batch), batch


def test_no_change_is_no_error(case: tuple[Task, torch.Tensor, Batch]) -> None:
    task, output, batch = case
    numerator, weight = task.error(output, output.clone(), batch)
    assert torch.equal(numerator, torch.zeros(3, dtype=torch.float64))
    assert numerator.dtype == weight.dtype == torch.float64
    assert (weight > 0).all()


def test_error_is_positive_and_by_sample(
    case: tuple[Task, torch.Tensor, Batch],
) -> None:
    task, output, batch = case
    other = output + 0.1 * draw(*output.shape, seed=1)
    numerator, weight = task.error(output, other, batch)
    assert (numerator > 0).all()
    assert torch.equal(task.weight(output, batch), weight)
    one = Batch((), {k: v[1:2] for k, v in batch.kwargs.items()}, 1)
    alone = task.error(output[1:2], other[1:2], one)
    torch.testing.assert_close(alone[0], numerator[1:2])
    torch.testing.assert_close(alone[1], weight[1:2])


def test_probes_predict_the_error(case: tuple[Task, torch.Tensor, Batch]) -> None:
    """E[(u . d)^2] is the second-order term of the error, for each sample."""
    task, output, batch = case
    change = 1e-2 * draw(*output.shape, seed=2)
    if isinstance(task, Mse) and task.tokens:
        change = change * MASK.unsqueeze(-1)  # as a network's change would be
    numerator, _ = task.error(output, output + change, batch)
    generator = torch.Generator().manual_seed(0)
    squares = torch.zeros(3, dtype=torch.float64)
    count = 4000
    for _ in range(count):
        signs = torch.randint(0, 2, output.shape, generator=generator) * 2.0 - 1
        u = task.probe(output, batch, signs)
        squares += (u * change).flatten(1).sum(1).double().square()
    assert not u.requires_grad
    assert u.shape == output.shape
    torch.testing.assert_close(squares / count, numerator, rtol=0.12, atol=0)


def test_probe_of_kl_is_a_square_root_of_the_fisher_matrix() -> None:
    output = draw(1, 4)
    p = output.softmax(-1)[0]
    fisher = (torch.diag(p) - torch.outer(p, p)) / 2
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4)
    # Every pattern of signs once: the covariance is exact.
    u = Kl().probe(output.expand_as(signs), Batch((), {}, len(signs)), signs)
    torch.testing.assert_close(u.T @ u / len(signs), fisher)
    hessian = torch.autograd.functional.hessian(
        lambda z: (p * (p.log() - z.log_softmax(-1))).sum(), output[0]
    )
    torch.testing.assert_close(hessian / 2, fisher)


def test_kl_against_torch() -> None:
    p, q = draw(3, 4, 6), draw(3, 4, 6, seed=1)
    truth = F.kl_div(
        q.double().log_softmax(-1),
        p.double().log_softmax(-1),
        reduction="none",
        log_target=True,
    ).sum(-1)
    numerator, weight = Kl().error(p, q, MASKED)
    torch.testing.assert_close(numerator, (truth * MASK).sum(1))
    assert weight.tolist() == [3, 2, 4]


def test_kl_in_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    p, q = draw(3, 4, 6), draw(3, 4, 6, seed=1)
    whole = Kl().error(p, q, PLAIN)[0]
    monkeypatch.setattr("analysis.tasks.kl._CHUNK", 7)
    assert torch.equal(Kl().error(p, q, PLAIN)[0], whole)


def test_ruled_out_classes_and_padding_do_not_spoil_kl() -> None:
    p = draw(3, 4, 6)
    p[..., 0] = float("-inf")
    q = p.clone()
    q[~MASK.bool()] = float("nan")
    numerator, _ = Kl().error(p, q, MASKED)
    assert torch.equal(numerator, torch.zeros(3, dtype=torch.float64))
    assert torch.isfinite(Kl().probe(p, MASKED, torch.ones_like(p))).all()


def test_relative_squared_error_by_hand() -> None:
    z, q = torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 5.0]])
    numerator, weight = Mse().error(z, q, Batch((), {}, 1))
    assert (numerator / weight).item() == pytest.approx(1 / 25)


def test_cosine_by_hand_and_scale_free() -> None:
    z, q = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    batch = Batch((), {}, 1)
    numerator, weight = Cosine().error(z, q, batch)
    assert numerator.item() == pytest.approx(1 - math.sqrt(0.5))
    assert weight.item() == 1
    assert Cosine().error(z, 3 * z, batch)[0].item() == pytest.approx(0, abs=1e-14)
    zero = torch.zeros(1, 2)
    assert Cosine().probe(zero, batch, torch.ones(1, 2)).abs().sum() == 0


def test_padding_is_zero_in_hidden_states() -> None:
    raw = draw(3, 4, 5)
    raw[~MASK.bool()] = float("nan")
    output = Mse(tokens=True).output({"last_hidden_state": raw}, MASKED)
    assert torch.isfinite(output).all()
    assert (output[0, 3] == 0).all()


def test_metrics_of_a_classifier() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    batch = Batch((), {}, 3, torch.tensor([0, 0, 1]))
    metrics = Kl().metrics(logits, batch)
    assert metrics["top1"].tolist() == [1, 0, 1]
    torch.testing.assert_close(
        metrics["nll"].float(), F.cross_entropy(logits, batch.labels, reduction="none")
    )
    assert Kl().metrics(logits, PLAIN) == {}
    assert Mse().metrics(logits, batch) == {}


def test_metrics_of_a_language_model_shift_and_skip_padding() -> None:
    logits = draw(3, 4, 6)
    ids = torch.tensor([[1, 2, 3, -100], [1, 2, -100, -100], [1, 2, 3, 4]])
    nll = Kl(causal=True).metrics(logits, Batch((), {}, 3, ids))["nll"]
    truth = -logits.log_softmax(-1)[0, [0, 1], [2, 3]].mean()
    torch.testing.assert_close(nll[0].float(), truth)
    nothing = torch.full((3, 4), -100)
    assert (
        Kl(causal=True).metrics(logits, Batch((), {}, 3, nothing))["nll"].isnan().all()
    )


def hand_pooled(mode: str, rows: torch.Tensor) -> torch.Tensor:
    steps = torch.arange(1.0, len(rows) + 1)[:, None]
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "cls": lambda: rows[0],
        "lasttoken": lambda: rows[-1],
        "max": lambda: rows.amax(0),
        "mean": lambda: rows.mean(0),
        "mean_sqrt_len_tokens": lambda: rows.sum(0) / len(rows) ** 0.5,
        "weightedmean": lambda: (rows * steps).sum(0) / steps.sum(),
    }
    return ways[mode]()


@pytest.mark.parametrize("mode", POOLINGS)
@pytest.mark.parametrize("normalize", [False, True])
def test_pooling_by_hand(mode: str, normalize: bool) -> None:
    tokens = draw(3, 4, 5)
    filled = tokens.masked_fill(~MASK.bool().unsqueeze(-1), float("nan"))
    found = Pooling((mode,), normalize)(filled, MASKED)
    for sample in range(3):
        truth = hand_pooled(mode, tokens[sample, : int(MASK[sample].sum())])
        truth = truth / truth.norm() if normalize else truth
        torch.testing.assert_close(found[sample], truth)


def test_poolings_are_concatenated() -> None:
    found = Pooling(("mean", "max"))(draw(3, 4, 5), PLAIN)
    assert found.shape == (3, 10)


@dataclass
class Output:
    count: int
    logits: torch.Tensor


class Pair(NamedTuple):
    other: torch.Tensor
    logits: torch.Tensor


def test_outputs_of_every_form() -> None:
    ids, values = torch.arange(3), draw(3, 2)
    for raw in (
        values,
        (ids, values),
        [ids, {"a": values}],
        {"ids": ids, "x": values},
        Output(3, values),
        Pair(draw(3, 9), values),
        {"other": draw(3, 9), "logits": values.double()},
    ):
        assert torch.equal(pick(raw, ("logits",)), values)
    with pytest.raises(AnalysisError, match="no floating-point tensor"):
        pick({"ids": ids})


class Headed(nn.Module):
    def __init__(self, head: str) -> None:
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.add_module(head, nn.Linear(4, 3))


def test_choice_by_output_and_head() -> None:
    scores = draw(2, 3)
    assert isinstance(choose_task(Headed("fc"), "", scores), Kl)
    assert isinstance(choose_task(Headed("projection"), "", scores), Mse)
    assert isinstance(choose_task(Headed("fc"), "", draw(2, 1)), Mse)
    assert isinstance(choose_task(Headed("fc"), "", draw(2, 3, 3)), Mse)
    assert isinstance(choose_task(Headed("any"), "", {"logits": scores}), Kl)
    maps = choose_task(Headed("any"), "", {"logits": draw(2, 3, 4, 4)})
    assert isinstance(maps, Kl)
    assert maps.class_axis == 1
    assert choose_task(Headed("fc"), "") is None
    assert isinstance(choose_task(Headed("fc"), "", scores, key="cosine"), Cosine)
    with pytest.raises(AnalysisError, match="no such task"):
        choose_task(Headed("fc"), "", key="accuracy")


@pytest.mark.parametrize(
    ("architecture", "kind", "causal"),
    [
        ("LlamaForCausalLM", Kl, True),
        ("GPT2LMHeadModel", Kl, True),
        ("BertForMaskedLM", Kl, False),
        ("ViTForImageClassification", Kl, False),
        ("BertForTokenClassification", Kl, False),
        ("T5ForConditionalGeneration", Kl, False),
    ],
)
def test_choice_by_architecture(architecture: str, kind: type, causal: bool) -> None:
    task = choose_task(Headed("any"), architecture)
    assert isinstance(task, kind)
    assert isinstance(task, Kl)
    assert task.causal == causal


def test_pooling_wins() -> None:
    task = choose_task(Headed("fc"), "BertForMaskedLM", pooling=Pooling())
    assert isinstance(task, Mse)
    assert task.pooling is not None
