"""Replays give what full runs give, bit for bit, or hand out nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from analysis.data.batch import call
from quant_core.quantizer import Quantizer
from quant_core.replay import Recording, recorded
from quant_core.scheme import Scheme
from quant_core.tap import Tap
from tests.cases import CASES, assert_same_state, build, state_of, tensors_of

ONE_PIECE = {"gathered"}
"""Cases without a module inside that could be left out."""


def forwards(module: nn.Module) -> dict[str, object]:
    """Return what every module has for a forward function of its own."""
    return {k: m.__dict__.get("forward") for k, m in module.named_modules()}


def record(module: nn.Module, *args: Tensor, **options: int) -> Recording:
    with torch.no_grad(), recorded(Tap(module), **options) as recording:
        module(*args)
    return recording


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_layer_changed_gives_the_output_of_a_full_run(name: str) -> None:
    module, data = build(name)
    tap, batch = Tap(module), next(data.batches(8))
    before, own = state_of(module), forwards(module)
    with torch.no_grad(), recorded(tap) as recording:
        float_output = tensors_of(call(module, batch))
    with torch.no_grad(), tap.quantized():
        plain = tensors_of(call(module, batch))
    assert all(map(torch.equal, float_output, plain))
    parameters = dict(module.named_parameters())
    for layer in tap.layers:
        weight = parameters[layer.parameter].detach()
        changed = Quantizer(Scheme("int2")).fake_quantize(weight, layer.channel_axes)
        start = recording.begin([layer.parameter], [])
        with torch.no_grad(), tap.quantized({layer.parameter: changed}):
            full = tensors_of(call(module, batch))
            with recording.skipping(start):
                part = tensors_of(call(module, batch))
        assert len(full) == len(part)
        assert all(map(torch.equal, full, part)), layer.name
        assert recording.intact
    assert bool(len(recording)) == (name not in ONE_PIECE)
    assert_same_state(before, state_of(module))
    assert forwards(module) == own


@pytest.mark.parametrize("name", ["bert", "cnn", "encoder", "gpt2"])
def test_every_input_changed_gives_the_output_of_a_full_run(name: str) -> None:
    module, data = build(name)
    tap, batch = Tap(module), next(data.batches(8))
    sites: list[str] = []
    with torch.no_grad(), tap.watch(lambda site, _: sites.append(site.name)):
        call(module, batch)
    with torch.no_grad(), recorded(tap, inside_attention=True) as recording:
        call(module, batch)
    for site in dict.fromkeys(sites):
        change = {site: lambda x: x * 0.75}
        start = recording.begin([], [site])
        assert start > 0
        with torch.no_grad(), tap.quantized({}, change, inside_attention=True):
            full = tensors_of(call(module, batch))
            with recording.skipping(start):
                part = tensors_of(call(module, batch))
        assert all(map(torch.equal, full, part)), site


def test_modules_before_the_change_do_not_run() -> None:
    class Counting(nn.Linear):
        runs = 0

        def forward(self, x: Tensor) -> Tensor:
            type(self).runs += 1
            return super().forward(x)

    network = nn.Sequential(*(Counting(4, 4) for _ in range(5))).eval()
    recording = record(network, torch.randn(2, 4))
    assert Counting.runs == 5
    with torch.no_grad(), recording.skipping(recording.begin(["3.weight"], [])):
        network(torch.randn(2, 4))
    assert Counting.runs == 7
    assert recording.share(["4.weight"], []) < recording.share(["0.weight"], [])
    # Nothing is known of it, so nothing is left out.
    assert recording.begin(["no.such"], []) == 0


class Stateful(nn.Module):
    """Changes an attribute, a buffer or its input, or draws random numbers."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.inner = nn.Linear(4, 4)
        self.register_buffer("total", torch.zeros(1))
        self.seen: list[int] = []
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        if self.how == "attribute":
            self.last = y
        elif self.how == "list":
            self.seen.append(1)
        elif self.how == "buffer":
            self.total += 1
        elif self.how == "new buffer":
            self.total = self.total + 1
        elif self.how == "random":
            y = y + torch.rand(1)
        elif self.how == "input":
            x.mul_(2)
        return y


@pytest.mark.parametrize("how", ["attribute", "list", "buffer", "new buffer", "random"])
def test_a_pass_that_leaves_traces_hands_out_nothing(how: str) -> None:
    network = nn.Sequential(Stateful(how), nn.Linear(4, 4)).eval()
    assert len(record(network, torch.randn(2, 4))) == 0


def test_a_module_that_writes_to_its_input_runs_again() -> None:
    network = nn.Sequential(nn.Linear(4, 4), Stateful("input"), nn.Linear(4, 4)).eval()
    recording = record(network, torch.randn(2, 4))
    with torch.no_grad(), recording.skipping(recording.ticks + 1):
        assert network[1].__dict__.get("forward") is None
        # Its input was overwritten, so the module before cannot be left out either.
        assert network[0].__dict__.get("forward") is None
        assert network[2].__dict__.get("forward") is not None


def test_a_replay_that_writes_to_what_was_kept_is_noticed() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            if self.b.weight.sum() > 0:
                y.mul_(2)
            return self.b(y)

    network = Writes().eval()
    with torch.no_grad():
        network.b.weight.fill_(-1.0)
    x = torch.randn(2, 4)
    recording = record(network, x)
    tap = Tap(network)
    with (
        torch.no_grad(),
        tap.quantized({"b.weight": torch.ones(4, 4)}),
        recording.skipping(recording.ticks),
    ):
        network(x)
    assert not recording.intact


def test_modules_called_twice_or_with_unknown_objects_run_again() -> None:
    class Passed:
        cache: Tensor | None = None

    class Takes(nn.Linear):
        def forward(self, x: Tensor, passed: Passed | None = None) -> Tensor:
            return super().forward(x)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice, self.takes = nn.Linear(4, 4), Takes(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.takes(self.twice(self.twice(x)), Passed())

    assert len(record(Network().eval(), torch.randn(2, 4))) == 0


@pytest.mark.parametrize("kept", [7, 6, 3, 1, 0])
def test_memory_is_bounded_by_letting_inner_outputs_go(kept: int) -> None:
    def block() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), nn.Tanh())

    network = nn.Sequential(block(), block(), nn.Linear(4, 4)).eval()
    # Seven modules, each of which returns 2 x 4 floats: 32 bytes.
    recording = record(network, torch.randn(2, 4), keep_bytes=32 * kept)
    assert len(recording) == kept
    if kept == 3:  # both blocks and the last layer
        with recording.skipping(recording.ticks + 1):
            left_out = [bool(m.__dict__.get("forward")) for m in network]
        assert left_out == [True, True, True]


def test_the_network_is_restored_when_the_pass_fails() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("out of memory, say")

    network = nn.Sequential(nn.Linear(4, 4), Fails()).eval()
    before, own = state_of(network), forwards(network)
    with pytest.raises(RuntimeError, match="out of memory"):
        record(network, torch.randn(2, 4))
    assert_same_state(before, state_of(network))
    assert forwards(network) == own


def test_containers_are_handed_out_fresh() -> None:
    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> list[Tensor]:
            return [self.a(x), x]

    class Pops(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pairs, self.out = Pairs(), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            parts = self.pairs(x)
            return self.out(parts.pop(0) + parts.pop())

    network, x = Pops().eval(), torch.randn(2, 4)
    recording = record(network, x)
    run: Callable[[], Tensor] = lambda: network(x)  # noqa: E731
    with torch.no_grad(), recording.skipping(recording.begin(["out.weight"], [])):
        first, second = run(), run()
    assert torch.equal(first, second)
