from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

from quant_core.assignment import Assignment, entries_in
from quant_core.cost import bops, weight_bits
from quant_core.errors import QuantError
from quant_core.scheme import Scheme, parse_scheme
from quant_core.sites import Layer
from tests.budget import assert_within, clock

LAYERS = tuple(
    Layer(f"layers.{i}.fc", f"layers.{i}.fc.weight", "linear", shape, dtype, (0,), macs)
    for i, (shape, dtype, macs) in enumerate(
        [
            ((8, 64), "float32", 512),
            ((64, 8), "float32", 4096),
            ((16, 64), "bfloat16", 9),
            ((4, 27), "float32", 1),
        ]
    )
)
INT4, UINT8 = Scheme("int4"), Scheme("uint8", "tensor")


@pytest.fixture
def start() -> Assignment:
    return Assignment.float(LAYERS, "toy", "abc")


def test_edits_leave_the_original_alone(start: Assignment) -> None:
    edited = start.with_weight([0, 2], INT4).with_input([1], UINT8)
    edited = edited.with_locked([3], True).with_site("a:softmax", UINT8)
    assert [start.scheme_of(i) for i in range(4)] == [None] * 4
    assert [edited.scheme_of(i) for i in range(4)] == [INT4, None, INT4, None]
    assert [edited.input_of(i) for i in range(4)] == [None, UINT8, None, None]
    assert edited.locked.tolist() == [False, False, False, True]
    assert edited.sites == {"a:softmax": UINT8}
    assert not start.sites
    assert start.palette == (None,)
    assert edited.palette == (None, INT4, UINT8)
    assert edited.with_site("a:softmax", None).sites == {}
    assert edited.with_weight([0, 2], None).used() == (None,)
    with pytest.raises(ValueError, match="read-only"):
        edited.weight[0] = 1


def test_indices_masks_and_arrays(start: Assignment) -> None:
    mask = np.array([True, False, True, False])
    for indices in ([0, 2], (0, 2), np.array([0, 2]), mask, range(0, 3, 2)):
        assert start.with_weight(indices, INT4).weight.tolist() == [1, 0, 1, 0]
    assert start.with_weight([], INT4).weight.tolist() == [0, 0, 0, 0]


def test_totals_are_the_sum_over_layers(start: Assignment) -> None:
    edited = start.with_weight([0, 2], INT4).with_weight([1], UINT8)
    edited = edited.with_input([0, 1], UINT8)
    bits = sum(weight_bits(x, edited.scheme_of(i)) for i, x in enumerate(LAYERS))
    stored = sum(weight_bits(x, None) for x in LAYERS)
    parameters = sum(x.parameters for x in LAYERS)
    totals = edited.totals()
    assert totals.weight_bits_total == bits == edited.weight_bits().sum()
    assert totals.bytes == bits / 8
    assert totals.average_bits == bits / parameters
    assert totals.compression == stored / bits
    assert totals.parameters == parameters
    schemes = [(edited.scheme_of(i), edited.input_of(i)) for i in range(4)]
    assert totals.bops == sum(
        bops(layer, *pair) for layer, pair in zip(LAYERS, schemes, strict=True)
    )
    assert start.totals().compression == 1


def test_no_layers_at_all() -> None:
    empty = Assignment.float((), "none", "")
    assert empty.totals().average_bits == 0
    assert empty.with_weight([], INT4).totals().compression == 1
    assert Assignment.from_json(empty.to_json(), (), "").diff(empty).size == 0


def test_choice_of_a_search(start: Assignment) -> None:
    palette = (Scheme("int2"), None, INT4)
    chosen = start.with_choice(np.array([0, 1, 2, 2]), palette)
    assert [chosen.scheme_of(i) for i in range(4)] == [palette[0], None, INT4, INT4]


def test_diff_and_digest_do_not_depend_on_the_way(start: Assignment) -> None:
    one = start.with_weight([0], INT4).with_weight([1], UINT8).with_input([2], INT4)
    other = start.with_weight([1], UINT8).with_weight([0, 3], INT4)
    assert one.diff(other).tolist() == [2, 3]
    other = other.with_weight([3], None).with_input([2], INT4)
    assert one.diff(other).size == 0
    assert one.digest == other.digest
    assert one.digest != start.digest
    assert one.with_site("x", INT4).digest != one.digest
    assert one.with_locked([0], True).digest == one.digest
    assert one.diff(one.with_locked([0], True)).tolist() == [0]
    swapped = start.with_weight([0], UINT8).with_weight([1], INT4)
    assert swapped.digest != start.with_weight([0], INT4).with_weight([1], UINT8).digest
    with pytest.raises(QuantError, match="different models cannot be compared"):
        one.diff(Assignment.float(LAYERS[:2]))


def test_wrong_edits_are_told(start: Assignment) -> None:
    with pytest.raises(QuantError, match=r"layers\.3\.fc: Group size 64 does not"):
        start.with_weight([0, 3], parse_scheme("int4/group(64)"))
    with pytest.raises(QuantError, match="no layer with this index"):
        start.with_weight([4], INT4)
    with pytest.raises(QuantError, match="no layer with this index"):
        start.with_locked([-1], True)
    with pytest.raises(QuantError, match="one entry per layer"):
        start.with_input(np.array([True]), INT4)
    with pytest.raises(QuantError, match=r"Did you mean layers\.1\.fc"):
        start.index_of("layer.1.fc")
    assert start.index_of("layers.2.fc") == 2


def test_wrong_arrays_are_told(start: Assignment) -> None:
    zeros, free = start.weight, start.locked
    with pytest.raises(QuantError, match="one entry per layer"):
        Assignment(LAYERS, (None,), zeros[:2], zeros, free)
    with pytest.raises(QuantError, match="outside the palette"):
        Assignment(LAYERS, (None,), zeros + 1, zeros, free)
    with pytest.raises(QuantError, match="None first"):
        Assignment(LAYERS, (INT4,), zeros, zeros, free)


def test_file_round_trip(start: Assignment) -> None:
    edited = start.with_weight([0, 2], parse_scheme("int4/group(32)/mse"))
    edited = edited.with_input([1], UINT8).with_locked([3], True)
    edited = edited.with_site("x:matmul.0", UINT8)
    edited = edited.with_provenance(measure="predicted_error", budget="bits<=4")
    document = json.loads(json.dumps(edited.to_json()))
    assert document["format"] == "quantscope-assignment"
    assert document["version"] == 1
    assert document["model"] == {"name": "toy", "digest": "abc"}
    assert document["layers"]["layers.3.fc"] == {
        "weight": None,
        "input": None,
        "locked": True,
    }
    assert document["totals"]["bytes"] == edited.totals().bytes
    read = Assignment.from_json(document, LAYERS, "abc")
    assert read.diff(edited).size == 0
    assert (read.digest, read.sites) == (edited.digest, edited.sites)
    assert (read.model_name, read.provenance) == ("toy", edited.provenance)
    assert read.to_json() == edited.to_json()


def test_file_written_by_hand() -> None:
    document = {
        "format": "quantscope-assignment",
        "version": 1,
        "model": {"digest": "abc"},
        "layers": {"layers.1.fc": {"weight": {"format": "int4"}}},
    }
    read = Assignment.from_json(document, LAYERS, "abc")
    assert [read.scheme_of(i) for i in range(4)] == [None, INT4, None, None]


def broken(path: str, value: object) -> dict:
    document = Assignment.float(LAYERS, "toy", "abc").to_json()
    *parents, last = path.split("/")
    place = document
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "gguf", "not an assignment file"),
        ("version", 2, "another version"),
        ("version", None, "has no 'version'"),
        ("extra", 1, "unknown entry"),
        ("model/digest", "xyz", "made for another model"),
        ("model", 3, "`model` must be an object"),
        ("layers/layers.9.fc", {}, r"layer that the model does not have.*layers\.9"),
        ("layers/layers.0.fc", [], "must be an object"),
        ("layers/layers.0.fc/bits", 4, "unknown entry"),
        ("layers/layers.0.fc/locked", 1, "`locked` has a wrong value"),
        (
            "layers/layers.0.fc/weight",
            {"format": "int9"},
            r"layers\.0\.fc, weight: There is no such number format",
        ),
        (
            "layers/layers.0.fc/input",
            {"format": ["int8"]},
            "input: A scheme must be an object of texts",
        ),
        ("layers/layers.0.fc/weight", "int4", "weight: A scheme must be an object"),
        (
            "layers/layers.3.fc/weight",
            {"format": "int4", "granularity": "group(64)"},
            r"layers\.3\.fc: Group size 64 does not divide",
        ),
        ("sites", {"x": {"format": "int0"}}, "site x: There is no such number format"),
        ("provenance", [], "`provenance` must be an object"),
    ],
)
def test_wrong_files_are_told(path: str, value: object, message: str) -> None:
    with pytest.raises(QuantError, match=message) as caught:
        Assignment.from_json(broken(path, value), LAYERS, "abc")
    assert caught.value.allowed


@pytest.mark.parametrize("document", [None, [], "text", {1: 2}, {}])
def test_other_json_is_told(document: object) -> None:
    with pytest.raises(QuantError, match="The assignment file"):
        Assignment.from_json(document, LAYERS, "abc")


def test_copies_travel_between_processes(start: Assignment) -> None:
    edited = start.with_weight([1], INT4)
    for twin in (pickle.loads(pickle.dumps(edited)), copy.deepcopy(edited)):
        assert twin.digest == edited.digest
        assert twin.with_weight([0], INT4).totals() == (
            edited.with_weight([0], INT4).totals()
        )


def test_layers_are_alike_that_no_target_can_tell_apart() -> None:
    def layer(name: str, shape: tuple[int, int], dtype: str) -> Layer:
        return Layer(name, name, "linear", shape, dtype, (0,), len(name))

    plan = Assignment.float(
        [
            layer("a", (4, 8), "float32"),
            layer("b", (4, 8), "float16"),
            layer("other", (4, 8), "float32"),
            layer("d", (8, 4), "float32"),
        ]
    )
    assert plan.alike.tolist() == [0, 1, 0, 3]
    assert plan.with_weight([1], INT4).alike is plan.alike
    assert Assignment.float([]).alike.tolist() == []


def test_sixty_thousand_layers_are_edited_in_milliseconds() -> None:
    layers = [
        Layer(f"l.{i}", f"l.{i}.weight", "linear", (512, 512), "float32", (0,), 9)
        for i in range(60_000)
    ]
    plan = Assignment.float(layers).with_weight(range(30_000), INT4)
    plan.totals()
    seconds = []
    for index in range(5):
        begin = clock()
        plan = plan.with_weight([index], UINT8)
        plan.totals()
        seconds.append(clock() - begin)
    assert_within(0.002, seconds)


@pytest.mark.parametrize("choice", [[], [0], [3, 0, 3, 7], [2, 2]])
def test_entries_in_a_choice_rise_and_come_once(choice):
    entries = np.array(choice, dtype=np.int16)
    assert entries_in(entries).tolist() == np.unique(entries).tolist()
