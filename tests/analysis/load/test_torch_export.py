from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from analysis.data import load_data
from analysis.errors import AnalysisError
from analysis.load import load
from analysis.load.export_checks import is_plain_expression
from analysis.tasks.kl import Kl

BATCH = torch.export.Dim.AUTO


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(8, 4)

    def forward(
        self, ids: torch.Tensor, scale: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        hidden = self.drop(self.embed(ids)) / ids.shape[1]
        hidden = hidden if scale is None else hidden * scale[:, None]
        return {"logits": self.out(hidden)}


def save(path: Path, *, training: bool = False, fixed: bool = False) -> nn.Module:
    torch.manual_seed(0)
    net = Net().train(training)
    ids = torch.zeros(3, 5, dtype=torch.long)
    shapes = None if fixed else ({0: BATCH, 1: BATCH},)
    torch.export.save(torch.export.export(net, (ids,), dynamic_shapes=shapes), path)
    return net


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    return path, save(path)


def test_program_is_the_network(program: tuple[Path, nn.Module]) -> None:
    path, net = program
    model = load(str(path))
    assert model.module is not None
    assert model.info.name == "net"
    assert model.info.notes == ()
    assert [(x.name, x.kind) for x in model.info.layers] == [
        ("embed", "embedding"),
        ("out", "linear"),
    ]
    assert isinstance(model.task, Kl)
    assert model.example_inputs is not None
    args, kwargs = model.example_inputs(6, 0)
    assert args[0].max() < 10
    assert torch.equal(
        model.module(*args, **kwargs)["logits"], net(*args, **kwargs)["logits"]
    )
    assert torch.equal(model.read_tensor("out.weight"), net.out.weight)
    data = load_data("random", model, samples=5)
    assert len(data) == 5


def test_keyword_inputs(tmp_path: Path) -> None:
    path = tmp_path / "kw.pt2"
    ids, scale = torch.zeros(3, 5, dtype=torch.long), torch.ones(3, 1)
    exported = torch.export.export(
        Net().eval(),
        (ids,),
        {"scale": scale},
        dynamic_shapes={"ids": {0: BATCH, 1: BATCH}, "scale": {0: BATCH}},
    )
    torch.export.save(exported, path)
    model = load(str(path))
    assert model.example_inputs is not None
    args, kwargs = model.example_inputs(4, 0)
    assert len(args) == 1
    assert kwargs["scale"].shape == (4, 1)


def test_fixed_batch_is_told(tmp_path: Path) -> None:
    save(tmp_path / "fixed.pt2", fixed=True)
    model = load(str(tmp_path / "fixed.pt2"))
    assert any("exactly 3 samples" in note for note in model.info.notes)
    assert len(model.info.layers) == 2
    assert model.input_hints["batch_size"] == 3
    data = load_data("random", model, samples=7)
    assert len(data) == 6
    assert "multiples of 3 alone fit" in data.warnings[-1]
    with pytest.raises(AnalysisError, match="exactly 3 samples at a time; these are"):
        load_data("random", model, samples=2)


def test_training_mode_is_told(tmp_path: Path) -> None:
    save(tmp_path / "train.pt2", training=True)
    model = load(str(tmp_path / "train.pt2"))
    assert any("training mode (dropout)" in note for note in model.info.notes)


def test_files_that_are_no_programs(tmp_path: Path) -> None:
    path = tmp_path / "no.pt2"
    path.write_bytes(b"PK not really")
    with pytest.raises(AnalysisError, match="not a program"):
        load(str(path))
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(AnalysisError, match="not a program"):
        load(str(path))


Edit = Callable[[dict[str, bytes]], None]


def rewritten(source: Path, target: Path, edit: Edit) -> str:
    """Return a copy of a program whose files `edit` changed."""
    with zipfile.ZipFile(source) as archive:
        root = archive.namelist()[0].split("/")[0]
        files = {n.split("/", 1)[1]: archive.read(n) for n in archive.namelist()}
    edit(files)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{root}/{name}", content)
    return str(target)


def in_model(change: Callable[[Any], None]) -> Edit:
    def edit(files: dict[str, bytes]) -> None:
        program = json.loads(files["models/model.json"])
        change(program)
        files["models/model.json"] = json.dumps(program).encode()

    return edit


def first_call(program: Any) -> Any:
    return program["graph_module"]["graph"]["nodes"][0]


def bad_target(program: Any) -> None:
    first_call(program)["target"] = "torch.hub.load"


def bad_operator(program: Any) -> None:
    first_call(program)["target"] = "_operator.methodcaller"


def bad_name(program: Any) -> None:
    first_call(program)["name"] = "a = __import__('os')"


def bad_shape(program: Any) -> None:
    sizes = program["graph_module"]["graph"]["tensor_values"]["ids"]["sizes"]
    sizes[0]["as_expr"]["expr_str"] = "__import__('os').system('touch /tmp/x')"


def bad_value_name(program: Any) -> None:
    values = program["graph_module"]["graph"]["tensor_values"]
    values["a\nimport os"] = values["ids"]


def bad_argument_name(program: Any) -> None:
    signature = program["graph_module"]["module_call_graph"][0]["signature"]
    signature["forward_arg_names"] = ["ids=print('x')"]


def bad_spec(program: Any) -> None:
    signature = program["graph_module"]["module_call_graph"][0]["signature"]
    signature["in_spec"] = '[1, {"context": "{\\"default_factory_module\\": \\"a\\"}"}]'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (bad_target, "an operator other than ATen's"),
        (bad_operator, "an operator other than ATen's"),
        (bad_name, "a name that is no identifier"),
        (bad_shape, "a shape that is no arithmetic"),
        (bad_value_name, "a name that is no identifier"),
        (bad_argument_name, "a name that is no identifier"),
        (bad_spec, "a default dictionary"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_programs_that_could_run_code_are_refused(
    program: tuple[Path, nn.Module],
    tmp_path: Path,
    change: Callable[[Any], None],
    message: str,
) -> None:
    path = rewritten(program[0], tmp_path / "bad.pt2", in_model(change))
    with pytest.raises(AnalysisError, match=message) as caught:
        load(path)
    assert "could run" in caught.value.what


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickles_inside_are_refused(
    program: tuple[Path, nn.Module], tmp_path: Path
) -> None:
    proof = tmp_path / "ran"
    pickled = io.BytesIO()
    torch.save(Trap(proof), pickled)

    def samples(files: dict[str, bytes]) -> None:
        files["data/sample_inputs/model.pt"] = pickled.getvalue()

    def weights(files: dict[str, bytes]) -> None:
        name = "data/weights/model_weights_config.json"
        config = json.loads(files[name])
        config["config"]["out.weight"]["use_pickle"] = True
        files[name] = json.dumps(config).encode()
        files["data/weights/weight_1"] = pickled.getvalue()

    def legacy(files: dict[str, bytes]) -> None:
        files["data/weights/model.pt"] = pickled.getvalue()

    def custom(files: dict[str, bytes]) -> None:
        files["data/constants/opaque_obj_0"] = pickled.getvalue()

    def compiled(files: dict[str, bytes]) -> None:
        files["data/aotinductor/model/a.so"] = b""

    cases: list[tuple[Edit, str]] = [
        (samples, "sample inputs other than tensors"),
        (weights, "tensors in pickles"),
        (legacy, "pickle of an older format"),
        (custom, "compiled code or pickled objects"),
        (compiled, "compiled code or pickled objects"),
    ]
    for edit, message in cases:
        path = rewritten(program[0], tmp_path / "bad.pt2", edit)
        with pytest.raises(AnalysisError, match=message):
            load(path)
        assert not proof.exists()


def test_the_rewriting_alone_changes_nothing(
    program: tuple[Path, nn.Module], tmp_path: Path
) -> None:
    path = rewritten(program[0], tmp_path / "same.pt2", lambda files: None)
    assert load(path).info.digest == load(str(program[0])).info.digest


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s27', positive=True, integer=True)",
        "Mul(Integer(8), Symbol('s27', positive=True, integer=True))",
        "Max(Integer(1), Add(Symbol('u0'), Integer(-1)))",
        "s0 + 2*s1//3",
        "Eq(s0, 3)",
    ],
)
def test_plain_expressions(text: str) -> None:
    assert is_plain_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "().__class__",
        "Symbol('s0').func",
        "print(1)",
        "lambda: 0",
        "[x for x in s0]",
        "Symbol('a b; import os')",
        "Integer(open)",
        "s0[0]",
        "(s0 := 3)",
        "Symbol(f'{s0}')",
        "",
        "(" * 500,
    ],
)
def test_expressions_that_could_run_code(text: str) -> None:
    assert not is_plain_expression(text)
