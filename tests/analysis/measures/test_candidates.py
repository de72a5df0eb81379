"""Candidates are kept when all of them are small, and formed anew otherwise."""

from __future__ import annotations

import torch
from torch import nn

from analysis.measures.candidates import Candidates
from quant_core.layers import layers_of
from quant_core.quantizer import Quantizer
from quant_core.scheme import Scheme

SCHEMES = (Scheme("int4"), Scheme("nf4"), Scheme("int8"))


def network() -> tuple[list, dict[str, nn.Parameter]]:
    """Return the layers of a small network, a look-up among them, and parameters."""
    parts = {"a": nn.Linear(6, 5), "b": nn.Linear(5, 4), "c": nn.Embedding(9, 6)}
    module = nn.ModuleDict(parts)
    return list(layers_of(module)[0]), dict(module.named_parameters())


def test_all_that_fits_is_formed_once_and_look_ups_are_not() -> None:
    layers, parameters = network()
    linear = [layer for layer in layers if layer.kind != "embedding"]
    candidates = Candidates(layers, SCHEMES)
    candidates.form(layers, parameters, room=4 * 3 * (6 * 5 + 5 * 4))
    first = [candidates.deltas(x, parameters[x.parameter]) for x in linear]
    again = [candidates.deltas(x, parameters[x.parameter]) for x in linear]
    assert all(one is other for one, other in zip(first, again, strict=True))
    for layer, deltas in zip(linear, first, strict=True):
        weight = parameters[layer.parameter]
        for scheme, delta in zip(SCHEMES, deltas, strict=True):
            error = Quantizer(scheme).error(weight, layer.channel_axes)
            assert torch.equal(delta, error)


def test_what_does_not_fit_as_a_whole_is_not_kept() -> None:
    layers, parameters = network()
    candidates = Candidates(layers, SCHEMES)
    candidates.form(layers, parameters, room=4 * 3 * (6 * 5 + 5 * 4) - 1)
    one, other, _ = layers
    deltas = candidates.deltas(one, parameters[one.parameter])
    values = deltas.clone()
    candidates.deltas(other, parameters[other.parameter])
    assert not torch.equal(deltas, values)  # its memory was used again
    assert torch.equal(candidates.deltas(one, parameters[one.parameter]), values)
