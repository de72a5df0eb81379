"""Small networks of every kind the program must handle, with data to run them on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from analysis.data.batch import Data
from analysis.measures.context import MeasureContext
from analysis.model import LoadedModel, ModelInfo
from analysis.tasks.choose import choose_task
from quant_core.layers import layers_of
from quant_core.scheme import Scheme

SAMPLES = 16


@dataclass(frozen=True)
class Case:
    """One network: how to build it, what to feed it, what must hold.

    Attributes:
        build: Makes the network with random weights.
        data: Makes calibration data.
        kinds: Kinds of layers it must have.
        unlisted: Parameters that are listed with a reason instead.
        smooth: Predicted and measured error agree at 8 bits (no routing).
        rows_per_sample: All samples of a batch can be told apart.
        hints: Input hints of the loaded model.
    """

    build: Callable[[], nn.Module]
    data: Callable[[], Data]
    kinds: frozenset[str]
    unlisted: frozenset[str] = frozenset()
    smooth: bool = True
    rows_per_sample: bool = True
    hints: dict[str, Any] = field(default_factory=dict)


def _tokens(**more: Tensor) -> Callable[[], Data]:
    def make() -> Data:
        generator = torch.Generator().manual_seed(1)
        ids = torch.randint(3, 90, (SAMPLES, 10), generator=generator)
        mask = torch.ones_like(ids)
        mask[::3, 7:] = 0
        return Data((), {"input_ids": ids, "attention_mask": mask, **more})

    return make


def _floats(*shape: int) -> Callable[[], Data]:
    def make() -> Data:
        generator = torch.Generator().manual_seed(1)
        return Data((torch.randn(SAMPLES, *shape, generator=generator),))

    return make


def _seq2seq() -> Data:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 90, (SAMPLES, 8), generator=generator)
    return Data((), {"input_ids": ids, "decoder_input_ids": ids.flip(1)[:, :6]})


def _transformers(name: str, config: str, **settings: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import transformers

        made = getattr(transformers, config)(**settings)
        network: nn.Module = getattr(transformers, name)(made)
        return network

    return make


_SMALL = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2}
_SMALL |= {"num_attention_heads": 4, "intermediate_size": 48}
_ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


class Convolutions(nn.Module):
    """Plain, depthwise, grouped, dilated and transposed convolutions, batch-norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding="same", groups=8)
        self.grouped = nn.Conv2d(8, 8, 2, stride=2, groups=2)
        self.dilated = nn.Conv2d(8, 8, (3, 1), dilation=2, padding=(2, 0), bias=False)
        self.up = nn.ConvTranspose2d(8, 6, 3, stride=2, output_padding=1, groups=2)
        self.line = nn.Conv1d(6, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 5)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x)))
        # The skip connection overwrites a tensor that a layer has used as input.
        y = self.depthwise(x)
        x += y
        x = self.up(self.dilated(self.grouped(x)))
        return self.head(self.line(x.flatten(2)).mean(-1))


class EmbeddingOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(96, 16)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return (self.table(input_ids) * attention_mask.unsqueeze(-1)).sum(1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 12, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class CalledTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(8, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.shared(torch.tanh(self.shared(x)))))


@dataclass
class Wrapped:
    hidden: Tensor
    extra: int = 0


class Returning(nn.Module):
    """Takes keywords only and returns its result wrapped in a container."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 12), nn.Linear(12, 3)
        self.wrap = wrap

    def forward(self, *, features: Tensor) -> Any:
        return self.wrap(self.b(torch.sin(self.a(features))))


class Gathered(nn.Module):
    """Uses weights through indexing, a cast, a product with an expression."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.Parameter(torch.randn(4, 6, 8) / 3)
        self.scale = nn.Parameter(torch.randn(6, 6) / 3)

    def forward(self, x: Tensor) -> Tensor:
        chosen = self.experts[(x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()]
        y = torch.bmm(chosen, x.unsqueeze(-1)).squeeze(-1)
        return torch.einsum("ni,io->no", torch.tanh(y), torch.tanh(self.scale))


class TimeMajor(nn.Module):
    """Keeps samples on the second axis inside, as `batch_first=False` does."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 24)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x.transpose(0, 1)).mean(0))


def _keyword_features() -> Data:
    return Data((), {"features": _floats(8)().args[0]})


def _exported() -> nn.Module:
    network = nn.Sequential(
        nn.Conv1d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(24, 5)
    )
    example = torch.randn(2, 3, 8)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(
        network.eval(), (example,), dynamic_shapes=({0: batch},)
    )
    return program.module()


def _bf16() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4)).bfloat16()


def _bf16_data() -> Data:
    return Data((_floats(8)().args[0].bfloat16(),))


_LLAMA = {**_SMALL, "num_key_value_heads": 2, **_ENDS}
_LINEAR = frozenset({"linear"})
_TEXT = frozenset({"linear", "embedding"})

CASES: dict[str, Case] = {
    "bert": Case(_transformers("BertModel", "BertConfig", **_SMALL), _tokens(), _TEXT),
    "vit": Case(
        _transformers(
            "ViTForImageClassification",
            "ViTConfig",
            image_size=8,
            patch_size=2,
            num_channels=3,
            num_labels=5,
            **{k: v for k, v in _SMALL.items() if k != "vocab_size"},
        ),
        lambda: Data((), {"pixel_values": _floats(3, 8, 8)().args[0]}),
        frozenset({"linear", "conv"}),
        frozenset({"vit.embeddings.cls_token", "vit.embeddings.position_embeddings"}),
    ),
    "gpt2": Case(
        _transformers(
            "GPT2LMHeadModel",
            "GPT2Config",
            vocab_size=96,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=16,
            **_ENDS,
        ),
        _tokens(),
        _TEXT,
    ),
    "llama": Case(
        _transformers("LlamaForCausalLM", "LlamaConfig", **_LLAMA), _tokens(), _TEXT
    ),
    "qwen": Case(
        _transformers("Qwen2ForCausalLM", "Qwen2Config", **_LLAMA), _tokens(), _TEXT
    ),
    "mixtral": Case(
        _transformers(
            "MixtralForCausalLM", "MixtralConfig", num_local_experts=4, **_LLAMA
        ),
        _tokens(),
        frozenset({"linear", "embedding", "experts"}),
        smooth=False,
        rows_per_sample=False,
    ),
    "t5": Case(
        _transformers(
            "T5Model",
            "T5Config",
            vocab_size=96,
            d_model=32,
            d_kv=8,
            d_ff=48,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=0,
        ),
        _seq2seq,
        _TEXT,
        rows_per_sample=False,
    ),
    "cnn": Case(
        Convolutions,
        _floats(3, 8, 8),
        frozenset({"conv", "transposed_conv", "linear"}),
    ),
    "encoder": Case(
        lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 24, batch_first=True), 2
        ),
        _floats(6, 16),
        frozenset({"linear", "attention_projection"}),
    ),
    "time_major": Case(
        TimeMajor, _floats(6, 16), frozenset({"linear", "attention_projection"})
    ),
    "embedding": Case(EmbeddingOnly, _tokens(), frozenset({"embedding"})),
    "lstm": Case(
        Recurrent,
        _floats(5, 8),
        frozenset({"recurrent", "linear"}),
        rows_per_sample=False,
    ),
    "called_twice": Case(CalledTwice, _floats(8), _LINEAR),
    "dict_output": Case(
        lambda: Returning(lambda y: {"logits": y}), _keyword_features, _LINEAR
    ),
    "tuple_output": Case(
        lambda: Returning(lambda y: (y, None)), _keyword_features, _LINEAR
    ),
    "dataclass_output": Case(lambda: Returning(Wrapped), _keyword_features, _LINEAR),
    "gathered": Case(
        Gathered, _floats(8), frozenset({"experts", "other"}), rows_per_sample=False
    ),
    "bf16": Case(_bf16, _bf16_data, _LINEAR, smooth=False),
    "exported": Case(_exported, _floats(3, 8), frozenset({"conv", "linear"})),
}


def build(name: str, seed: int = 0) -> tuple[nn.Module, Data]:
    """Return the network of a case in evaluation mode, and its data."""
    torch.manual_seed(seed)
    case = CASES[name]
    network = case.build()
    if name != "exported":  # an exported program refuses to change its mode
        network.eval()
    return network, case.data()


def loaded(name: str) -> tuple[LoadedModel, Data]:
    """Return the opened model of a case, its task chosen as a loader would."""
    module, data = build(name)
    layers, unlisted = layers_of(module)
    batch = next(data.batches(2))
    with torch.no_grad():
        output = module(*batch.args, **batch.kwargs)
    architecture = type(module).__name__
    task = choose_task(module, architecture, output)
    info = ModelInfo(name, f"case:{name}", "0" * 64, layers, unlisted)
    parameters = dict(module.named_parameters())
    model = LoadedModel(
        info,
        module,
        lambda key: parameters[key].detach(),
        task,
        input_hints=dict(CASES[name].hints),
    )
    return model, data


def context(name: str, *formats: str, **settings: Any) -> MeasureContext:
    """Return everything a measure needs to run on a case."""
    model, data = loaded(name)
    schemes = tuple(Scheme(key) for key in formats)
    return MeasureContext(model, data, schemes, **settings)


def state_of(module: nn.Module) -> dict[str, Any]:
    """Return everything a measure could leave changed."""
    return {
        "tensors": {k: v.clone() for k, v in module.state_dict().items()},
        "pointers": {k: p.data_ptr() for k, p in module.named_parameters()},
        "gradients": {k: p.requires_grad for k, p in module.named_parameters()},
        "grads": {k: p.grad for k, p in module.named_parameters()},
        "modes": {k: m.training for k, m in module.named_modules()},
        "hooks": {
            f"{k}.{kind}": len(hooks)
            for k, m in module.named_modules()
            for kind, hooks in vars(m).items()
            if kind.endswith("_hooks")
        },
        "hooks of all modules": {
            kind: len(hooks)
            for kind, hooks in vars(nn.modules.module).items()
            if kind.startswith("_global_") and hasattr(hooks, "__len__")
        },
        "gradient hooks": {
            k: len(p._backward_hooks or ()) for k, p in module.named_parameters()
        },
        "methods": {
            k: sorted(name for name, value in vars(m).items() if callable(value))
            for k, m in module.named_modules()
        },
        "functions": {
            name: id(getattr(nn.functional, name))
            for name in ("scaled_dot_product_attention", "multi_head_attention_forward")
        },
        "function modes": len(torch.overrides._get_current_function_mode_stack()),
        "fast_path": torch.backends.mha.get_fastpath_enabled(),
        "grad_enabled": torch.is_grad_enabled(),
    }


def assert_same_state(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Fail unless two states are the same, bit for bit."""
    for name, tensor in before["tensors"].items():
        assert torch.equal(tensor, after["tensors"][name]), name
    rest = [{k: v for k, v in s.items() if k != "tensors"} for s in (before, after)]
    assert rest[0] == rest[1]


def tensors_of(output: Any) -> list[Tensor]:
    """Return every tensor of a raw output, whatever it is wrapped in."""
    if isinstance(output, Tensor):
        return [output]
    if dataclasses.is_dataclass(output) and not isinstance(output, dict):
        output = [getattr(output, f.name) for f in dataclasses.fields(output)]
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        return [t for part in output for t in tensors_of(part)]
    return []
