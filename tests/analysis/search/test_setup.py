"""Objectives, rules, cost tables, inputs and sites; and searching once more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.method import Row, Update
from analysis.model import ModelInfo
from analysis.project import Project
from analysis.search import solve
from analysis.search.budget import Budget
from analysis.search.cost_file import read_costs
from analysis.search.objective import Objective
from analysis.search.of_project import rerun, search
from analysis.search.rules import Rule
from analysis.search.setup import Setup
from analysis.search.table import table_from_project
from quant_core.cost import bops
from quant_core.errors import QuantError
from quant_core.scheme import Scheme, parse_scheme
from quant_core.sites import Layer, Site

LAYERS = tuple(
    Layer(name, f"{name}.weight", kind, shape, "float32", macs=macs)
    for name, kind, shape, macs in [
        ("embed", "embedding", (64, 32), 0),
        ("block.up", "linear", (64, 32), 2000),
        ("block.down", "linear", (32, 64), 2000),
        ("head", "linear", (16, 32), 500),
    ]
)
SITES = tuple(
    Site(layer.name, layer.kind, "input", layer.name, (1, 32)) for layer in LAYERS
) + (Site("block:softmax", "softmax", "output", None, (1, 8)),)
KEYS = ("int4", "int4/group(32)", "fp4_e2m1", "int8")
INPUT = Scheme("int8", "tensor")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    info = ModelInfo(
        name="tiny",
        digest="0" * 64,
        source="tiny.safetensors",
        layers=LAYERS,
        sites=SITES,
    )
    made = Project.create(info, tmp_path / "p.qscope")
    rng = np.random.default_rng(0)
    rows = []
    for layer in LAYERS:
        for key, size in zip(KEYS, (4.0, 3.0, 5.0, 0.02), strict=True):
            value = size * float(rng.uniform(0.5, 1.5))
            rows.append(Row(layer.name, key, value, 0.1 * value))
        if layer.macs:
            rows.append(Row(layer.name, INPUT.key, 0.01, 0.001, part="input"))
    rows.append(Row("block:softmax", INPUT.key, 0.5, 0.05, part="output"))
    store(made, "predicted_error", rows)
    quality = [
        Row(layer.name, key, float(db), quantity="sqnr")
        for layer in LAYERS
        for key, db in zip(KEYS, (18, 20, 17, 40), strict=True)
    ]
    store(made, "weights", quality)
    yield made
    made.close()


def store(project: Project, measure: str, rows: list[Row]) -> None:
    run = project.begin_run(measure)
    project.apply(run, Update(1, 1, rows=tuple(rows)))
    project.end_run(run)


def schemes(project: Project, budget: str, **given: object) -> list[str]:
    found = search(project, budget, **given)  # type: ignore[arg-type]
    return [
        "float" if scheme is None else scheme.key
        for scheme in (found.scheme_of(i) for i in range(len(LAYERS)))
    ]


# -- objective ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("predicted_error", "predicted_error"),
        ("weights.sqnr", "weights.sqnr"),
        (" a.b * 2 , c*1e-1", "a.b*2,c*0.1"),
    ],
)
def test_objectives_are_read_and_written(text: str, written: str) -> None:
    assert str(Objective.parse(text)) == written
    assert Objective.parse(written) == Objective.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read.*predicted_error"),
        ("a b", "cannot be read"),
        ("a*", "cannot be read"),
        ("a*e", "cannot be read"),
        ("a*-1", "positive number"),
        ("a*0", "positive number"),
        ("a,a*2", "names a measure twice"),
    ],
)
def test_objectives_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(AnalysisError, match=f"(?s){message}"):
        Objective.parse(text)


def test_signal_to_noise_becomes_relative_error(project: Project) -> None:
    table = table_from_project(project, Setup(Objective.parse("weights.sqnr")))
    np.testing.assert_allclose(
        table.cost, np.tile([0, 10**-1.8, 10**-2.0, 10**-1.7, 1e-4], (4, 1))
    )
    assert table.objective == "weights.sqnr"


def test_a_mix_weighs_shares_of_the_largest(project: Project) -> None:
    one = table_from_project(project).cost
    two = table_from_project(project, Setup(Objective.parse("weights.sqnr"))).cost
    mixed = Setup(Objective.parse("predicted_error*3,weights.sqnr"))
    np.testing.assert_allclose(
        table_from_project(project, mixed).cost, 3 * one / one.max() + two / two.max()
    )


def test_an_objective_without_numbers(project: Project) -> None:
    with pytest.raises(AnalysisError, match=r"needs the hessian.*Run the measure"):
        search(project, "bits<=4", objective="hessian")
    with pytest.raises(AnalysisError, match="one number for each layer and format"):
        search(project, "bits<=4", objective="weights.kurtosis")


# -- formats of one width ----------------------------------------------------------


def test_formats_of_one_width_compete_with_their_scales(project: Project) -> None:
    table = table_from_project(project)
    by_key = {s and s.key: i for i, s in enumerate(table.palette)}
    plain, grouped = by_key["int4"], by_key["int4/group(32)"]
    assert (table.bits[1:, grouped] >= table.bits[1:, plain]).all()
    found = solve(table, "size<=1x", "exact", {})
    assert not found.choice.any()
    # Just the room for groups everywhere: the better of the 4-bit formats wins.
    most = float(table.bits[:, grouped].sum()) / 8
    cheap = solve(table, f"size<={most:.17g}", "exact", {})
    for layer, option in enumerate(cheap.choice):
        width = table.palette[option]
        assert width is not None
        assert width.bits == 4
        assert table.cost[layer, option] <= table.cost[layer, plain]
    assert cheap.bits == sum(
        project.assignment.with_weight([i], table.palette[o]).weight_bits()[i]
        for i, o in enumerate(cheap.choice)
    )


# -- rules -------------------------------------------------------------------------


def test_floors_ceilings_and_fixed_formats(project: Project) -> None:
    free = schemes(project, "bits<=5.5")
    ruled = schemes(
        project,
        "bits<=7",
        rules=["at_least first|last=8", "at_most kind:linear -last=4"],
    )
    assert free != ruled
    assert ruled[0] == ruled[3] == "int8"
    assert all(parse_scheme(key).bits == 4 for key in ruled[1:3])
    fixed = schemes(project, "bits<=6", rules=["fix block.*=fp4_e2m1"])
    assert fixed[1:3] == ["fp4_e2m1", "fp4_e2m1"]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("at_least nothing=8", "No layer matches.*nothing"),
        ("at_least embed", "rule cannot be read"),
        ("about embed=8", "rule cannot be read"),
        ("at_least embed=wide", "number of bits"),
        ("at_least embed=-1", "number of bits"),
        ("fix embed=int3", "not analysed.*int4"),
        ("fix embed=nothing", "no such format|format"),
        ("at_least embed=64", "No scheme is left for embed.*rules"),
    ],
)
def test_rules_that_cannot_hold(project: Project, rule: str, message: str) -> None:
    with pytest.raises(QuantError, match=f"(?s){message}"):
        search(project, "bits<=8", rules=[rule])


def test_rules_are_written_as_read() -> None:
    rule = Rule.parse("at_most", " kind:linear -first = 6.5")
    assert Rule.read(str(rule)) == rule
    assert rule.layers == "kind:linear -first"


def test_a_lock_outranks_a_rule(project: Project) -> None:
    project.set_weight([0], Scheme("int4"))
    project.set_locked([0], True)
    assert schemes(project, "bits<=8", rules=["at_least *=8"])[0] == "int4"


# -- cost tables -------------------------------------------------------------------


def latency(tmp_path: Path, factor: float = 1.0) -> Path:
    path = tmp_path / "latency.csv"
    cost = {"float": 8.0, "int4": 3.0, "int4/group(32)": 4.0, "int8": 1.0}
    lines = ["layer,format,cost"]
    lines += [
        f"{layer.name},{key},{value * factor}"
        for layer in LAYERS
        for key, value in cost.items()
    ]
    path.write_text("\n".join(lines))
    return path


def test_a_latency_table_limits_and_hides_what_it_does_not_list(
    project: Project, tmp_path: Path
) -> None:
    costs = {"latency": latency(tmp_path)}
    assert schemes(project, "latency<=4", costs=costs) == ["int8"] * 4
    assert "fp4_e2m1" not in schemes(project, "bits<=4.6,latency<=16", costs=costs)
    assert schemes(project, "latency<=1x", costs=costs) == ["float"] * 4
    with pytest.raises(AnalysisError, match=r"keeps latency<=3\..*latency<=4 or"):
        search(project, "latency<=3", costs=costs)
    with pytest.raises(AnalysisError, match="unknown quantity.*energy"):
        search(project, "energy<=3", costs=costs)


def test_json_tables_say_the_same(tmp_path: Path) -> None:
    nested, listed = tmp_path / "a.json", tmp_path / "b.json"
    nested.write_text(json.dumps({"head": {"int8": 1, "float": 2.5}}))
    records = [
        {"layer": "head", "format": "int8", "cost": 1},
        {"layer": "head", "format": "float", "cost": "2.5"},
    ]
    listed.write_text(json.dumps(records))
    assert read_costs(nested).cost == read_costs(listed).cost
    assert read_costs(nested).cost["head", "float", None] == 2.5


def test_the_format_of_the_input_may_matter(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "layer,format,input,cost\nhead,int8,int8/tensor,1\nhead,int8,float,7\n"
        "head,float,,9\n"
    )
    setup = Setup(costs={"t": read_costs(path)}, inputs=True)
    table = table_from_project(project, setup)
    told = {
        table.name_of(option): float(table.costs["t"][3, option])
        for option in range(len(table.palette))
    }
    assert told["int8 x int8/tensor"] == 1
    assert told["int8 x float"] == 7
    assert told["float x float"] == told["float x int8/tensor"] == 9
    assert told["int4 x float"] == np.inf
    assert (table.costs["t"][0] == 0).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer,format\nhead,int8", "lacks cost.*line 2"),
        ("layer,format,cost\n", "is empty"),
        ("layer,format,cost\nhead,int8,fast", "not a number.*line 2: fast"),
        ("layer,format,cost\nhead,int8,-1", "not a number.*-1"),
        ("layer,format,cost\nhead,int8,nan", "not a number.*nan"),
        ("layer,format,cost\nhead,int77,1", "line 2.*int77"),
        ("layer,format,cost\nhead,int8,1\nhead,int8/channel,2", "twice.*line 3"),
        ("layer,format,cost\nhaed,int8,1", r"lacks\..*haed.*Did you mean head"),
    ],
)
def test_cost_tables_with_mistakes(
    project: Project, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(QuantError, match=f"(?s){message}"):
        search(project, "t<=4", costs={"t": path})


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not JSON"), ("[1]", "another layout")]
)
def test_json_tables_with_mistakes(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(AnalysisError, match=message):
        read_costs(path)
    with pytest.raises(AnalysisError, match="cannot be read"):
        read_costs(tmp_path / "gone.csv")


def test_a_locked_layer_must_be_in_the_table(project: Project, tmp_path: Path) -> None:
    project.set_weight([1], Scheme("fp4_e2m1"))
    project.set_locked([1], True)
    with pytest.raises(AnalysisError, match=r"latency does not list.*block.up in fp4"):
        search(project, "latency<=9", costs={"latency": latency(tmp_path)})


# -- inputs and sites --------------------------------------------------------------


def test_inputs_are_chosen_where_operations_are_limited(project: Project) -> None:
    setup = Setup(inputs=True)
    table = table_from_project(project, setup)
    assert table.sites == ("block:softmax",)
    assert table.inputs is not None
    for layer, option in [(1, 9), (2, 3), (3, 0)]:
        expected = bops(LAYERS[layer], table.palette[option], table.inputs[option])
        assert table.bops is not None
        assert table.bops[layer, option] == expected
    found = search(project, "bops<=0.05x", inputs=True)
    assert found.totals().bops <= 0.05 * project.assignment.totals().bops
    assert found.input_of(1) == found.input_of(2) == INPUT
    assert found.input_of(0) is None  # never analysed
    assert found.sites == {}  # costs error, saves nothing
    assert search(project, "bops<=1x", inputs=True).input_of(1) is None


def test_what_a_choice_costs_is_the_sum_of_its_parts(project: Project) -> None:
    table = table_from_project(project, Setup(inputs=True))
    found = project.assignment.with_weight([1], Scheme("int8"))
    found = found.with_input([1], INPUT).with_site("block:softmax", INPUT)
    choice = table.choice_of(found)
    assert choice is not None
    weight = project.values("predicted_error", "int8")[1]
    assert table.error(choice) == pytest.approx(weight + 0.01 + 0.5)
    assert table.assign(project.assignment, choice).digest == found.digest
    assert table.choice_of(found.with_weight([0], Scheme("int2"))) is None


def test_inputs_must_have_been_analysed(project: Project) -> None:
    with pytest.raises(AnalysisError, match="inputs of the layers were not analysed"):
        search(project, "bits<=6", objective="weights.sqnr", inputs=True)


def test_locked_inputs_stay(project: Project) -> None:
    project.set_input([1], INPUT)
    project.set_locked([1], True)
    found = search(project, "bops<=1x", inputs=True)
    assert found.input_of(1) == INPUT
    assert found.scheme_of(1) is None


# -- provenance --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params", "inputs"),
    [
        ("exact", {}, True),
        ("exact", {}, False),
        ("genetic", {"seed": 3, "generations": 5}, True),
        ("annealing", {"seed": 4, "runs": 4, "moves": 2, "cooling": 0.95}, False),
        ("greedy", {"order": "aimet"}, True),
    ],
)
def test_a_kept_result_can_be_searched_again_to_the_bit(
    project: Project,
    tmp_path: Path,
    method: str,
    params: dict[str, object],
    inputs: bool,
) -> None:
    project.set_weight([3], Scheme("int8"))
    project.set_locked([3], True)
    found = search(
        project,
        "bits<=6,latency<=24",
        method=method,
        params=params,
        objective="predicted_error" if inputs else "predicted_error,weights.sqnr*2",
        inputs=inputs,
        rules=["at_least first=8"],
        costs={"latency": latency(tmp_path)},
    )
    project.add_assignment("kept", found, found.provenance)
    project.save()
    # Neither later edits nor later runs of a measure change the answer.
    project.set_locked([3], False)
    project.set_weight(range(4), Scheme("int4"))
    rows = [
        Row(layer.name, key, 1.0, 0.1) for layer in LAYERS for key in reversed(KEYS)
    ]
    store(project, "predicted_error", rows)
    kept = project.assignments["kept"]
    again = rerun(project, kept)

    def document(assignment: object) -> str:
        told = assignment.to_json()  # type: ignore[attr-defined]
        told["provenance"].pop("created")
        return json.dumps(told, sort_keys=True)

    assert document(again) == document(kept)
    for name, value in params.items():
        assert again.provenance["params"][name] == value


def test_a_rerun_refuses_what_has_changed(project: Project, tmp_path: Path) -> None:
    path = latency(tmp_path)
    found = search(project, "latency<=20", costs={"latency": path})
    latency(tmp_path, 2.0)
    with pytest.raises(AnalysisError, match="has changed since the search"):
        rerun(project, found)
    with pytest.raises(AnalysisError, match="not made by a search"):
        rerun(project, project.assignment)
    found = search(project, "bits<=6")
    project.target = "vllm-like"
    with pytest.raises(AnalysisError, match="another target.*any"):
        rerun(project, found)


@pytest.mark.parametrize(
    ("text", "size"), [("compression>=7", 1 / 7), ("compression >= 4x", 1 / 4)]
)
def test_compression_is_a_limit_on_the_size(
    project: Project, text: str, size: float
) -> None:
    table = table_from_project(project)
    one = solve(table, text, "exact", {})
    two = solve(table, f"size<={size}x", "exact", {})
    assert one.choice.tolist() == two.choice.tolist()
    with pytest.raises(
        AnalysisError, match=r"compression>=7\.\d+ or less, the largest"
    ):
        solve(table, "compression>=9", "exact", {})
    with pytest.raises(AnalysisError, match="cannot be read"):
        Budget.parse("compression<=4")
