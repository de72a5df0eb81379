"""Loader of Hugging Face folders: config.json and safetensors, through transformers.

Nothing is fetched and no code of the folder is run: transformers is told to stay
offline, classes come from the installed library alone, and pickles are refused.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from analysis.load.base import Loader, Options, place
from analysis.load.checkpoint import info_of_checkpoint
from analysis.load.headers import TensorHeader, read_checkpoint, read_json
from analysis.load.hf_inputs import hints_of
from analysis.load.inputs import random_inputs
from analysis.load.safetensors_file import reader
from analysis.load.sentence import SentenceFolder, read_sentence_folder
from analysis.model import LoadedModel, ModelInfo

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, slots=True)
class _Folder:
    """What the files of a folder say before anything is built."""

    path: Path
    config: dict[str, Any]
    sentence: SentenceFolder | None
    tensors: dict[str, TensorHeader]
    info: ModelInfo


def _accepts(source: str) -> bool:
    return Path(source).is_dir()


def _open(source: str, options: Options) -> LoadedModel:
    folder = _read_folder(source)
    if options.headers_only:
        note = "Layer names are those of the checkpoint; the opened network may differ."
        info = replace(folder.info, notes=(*folder.info.notes, note))
        return LoadedModel(info, None, reader(folder.tensors))
    return _open_network(folder, options)


def _read_folder(source: str) -> _Folder:
    root = Path(source)
    sentence = read_sentence_folder(root)
    path = root if sentence is None else sentence.transformer
    if not (path / "config.json").is_file():
        raise AnalysisError(
            "The folder has no config.json, so it is not a Hugging Face model.",
            value=path,
            allowed="a folder with config.json and model.safetensors",
            hint=_without_config(path),
        )
    config = read_json(path / "config.json")
    tensors = read_checkpoint(path)
    architectures = config.get("architectures") or []
    info = info_of_checkpoint(
        tensors,
        name=_name(root, config),
        source=source,
        architecture=str(architectures[0]) if architectures else "",
        model_type=str(config.get("model_type", "")),
        notes=() if sentence is None else sentence.notes,
    )
    return _Folder(path, config, sentence, tensors, info)


def _name(root: Path, config: Mapping[str, Any]) -> str:
    """Return a short name: the folder's, unless that says nothing."""
    folder = root.resolve()
    if folder.parent.name == "snapshots":  # the cache of the hub: the name is a hash
        return folder.parent.parent.name.rpartition("--")[2]
    if folder.name in {"model", "checkpoint", "main"}:
        known = str(config.get("_name_or_path") or "").rstrip("/").rpartition("/")[2]
        return known or folder.name
    return folder.name


def _without_config(path: Path) -> str:
    if (path / "adapter_config.json").is_file():
        return "This is an adapter: merge it into its base model and save that."
    if (path / "model_index.json").is_file():
        return "This is a pipeline: open one of its folders, such as unet or vae."
    lone = sorted(path.glob("*.safetensors"))
    if lone:
        return f"Open {lone[0]} for measures of the weights alone."
    return "Choose the folder that `save_pretrained` wrote."


def _open_network(folder: _Folder, options: Options) -> LoadedModel:
    from analysis.tasks.choose import choose_task
    from quant_core.layers import layers_of
    from quant_core.ties import find_ties

    _refuse_code(folder)
    _refuse_quantized(folder)
    module, missing = _build(folder, options)
    module = place(module, options)
    stored = _match(module, folder.tensors)
    layers, unlisted = layers_of(module)
    common = _most_common_dtype(folder.tensors)
    layers = tuple(
        replace(layer, dtype=stored[layer.parameter].dtype)
        if layer.parameter in stored
        else replace(layer, dtype=common)
        for layer in layers
    )
    info = replace(
        folder.info,
        layers=layers,
        unlisted=unlisted,
        ties=find_ties([layer.name for layer in layers]),
        architecture=type(module).__name__,
        notes=(
            *(() if folder.sentence is None else folder.sentence.notes),
            *_notes(folder, missing, {layer.name for layer in layers}),
        ),
    )
    pooling = None if folder.sentence is None else folder.sentence.pooling()
    hints, specs = hints_of(module, folder.sentence)
    return LoadedModel(
        info,
        module,
        _reader(module, stored, common),
        choose_task(module, info.architecture, key=options.task, pooling=pooling),
        _tokenizer(folder.path),
        random_inputs(specs) if specs else None,
        hints,
    )


def _refuse_code(folder: _Folder) -> None:
    auto_map = folder.config.get("auto_map")
    if not auto_map:
        return
    model_type = folder.config.get("model_type")
    from_library = model_type in transformers_library().CONFIG_MAPPING
    raise AnalysisError(
        "The folder asks for code of its own (auto_map in config.json), which is "
        "never run.",
        value=", ".join(map(str, auto_map.values()))
        if isinstance(auto_map, Mapping)
        else auto_map,
        allowed="architectures that the installed transformers library knows",
        hint=f"transformers has its own {model_type}: to use that, copy the folder and "
        "delete auto_map from its config.json."
        if from_library
        else "Read that code, and give the model as package.module:callable. Its "
        "layers can be listed without it.",
    )


def _refuse_quantized(folder: _Folder) -> None:
    quantization = folder.config.get("quantization_config")
    if not quantization:
        return
    method = "unknown"
    if isinstance(quantization, Mapping):
        method = str(quantization.get("quant_method", method))
    raise AnalysisError(
        "The checkpoint is quantized already, so there is no float model to compare "
        "with.",
        value=f"quantization_config: {method}",
        hint="Open the checkpoint that it was made from.",
    )


def transformers_library() -> Any:
    """Return the transformers library, told to stay offline.

    Raises:
        AnalysisError: it is not installed.
    """
    # Read by huggingface_hub and transformers when they are imported.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    try:
        import transformers
    except ImportError as error:
        raise AnalysisError(
            "Hugging Face folders need the transformers library, which is not "
            "installed here.",
            hint='Install it with: pip install "quantscope[hf]". Without it the '
            "layers can be listed and the weights measured.",
        ) from error
    return transformers


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep progress bars and advice of transformers off the terminal."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _model_class(transformers: Any, folder: _Folder) -> Any:
    """Return the class that config.json names, else the one for its type."""
    name = folder.info.architecture
    found = getattr(transformers, name, None) if name.isidentifier() else None
    if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
        return found
    model_type = folder.config.get("model_type")
    if model_type in transformers.CONFIG_MAPPING:
        return transformers.AutoModel
    raise AnalysisError(
        "The installed transformers library does not know this architecture.",
        value=name or model_type or "no architectures and no model_type",
        allowed=f"architectures of transformers {transformers.__version__}",
        hint="Update transformers, or give the model as package.module:callable.",
    )


def _build(folder: _Folder, options: Options) -> tuple[nn.Module, list[str]]:
    """Return the network and the names of parameters the checkpoint lacks."""
    import torch

    transformers = transformers_library()
    cls = _model_class(transformers, folder)
    dtype = torch.float32 if options.dtype == "float32" else "auto"
    with _quiet(transformers), torch.random.fork_rng(devices=[]):
        # Parameters that the checkpoint lacks are drawn; the same ones each time.
        torch.manual_seed(0)
        try:
            module, report = cls.from_pretrained(
                folder.path,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=dtype,
                output_loading_info=True,
            )
        except MemoryError:
            raise
        except Exception as error:
            # Whatever a config makes a class of the library raise, its own errors
            # of validation included, is a fact about the folder.
            raise AnalysisError(
                f"transformers could not build the network: {_first_line(error)}",
                value=folder.path,
                hint="Config and checkpoint may not belong together; the weights "
                "alone can still be measured by opening the .safetensors file.",
            ) from error
    if hasattr(module.config, "use_cache"):
        module.config.use_cache = False  # past keys and values are not judged
    return module, sorted(report.get("missing_keys", ()))


def _first_line(error: Exception) -> str:
    """Return what an error says first, to the end of its sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    said = lines[0]
    if said.endswith(":") and len(lines) > 1:
        said += f" {lines[1].strip()}"
    return said.rstrip(".") + "."


def _match(
    module: nn.Module, tensors: Mapping[str, TensorHeader]
) -> dict[str, TensorHeader]:
    """Return the stored tensor behind each parameter, where there is one as it is.

    A checkpoint of the bare encoder lacks the prefix that a model with a head gives
    to it, and the other way round; transformers adds or drops it when loading.
    """
    prefix = f"{getattr(module, 'base_model_prefix', '')}."
    stored = {}
    for name, parameter in module.named_parameters():
        for key in (name, name.removeprefix(prefix), prefix + name):
            tensor = tensors.get(key)
            if tensor is not None and tensor.shape == tuple(parameter.shape):
                stored[name] = tensor
                break
    return stored


def _most_common_dtype(tensors: Mapping[str, TensorHeader]) -> str:
    sizes: dict[str, int] = {}
    for tensor in tensors.values():
        if tensor.is_float:
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.nbytes
    return max(sizes, key=lambda dtype: sizes[dtype], default="float32")


def _notes(folder: _Folder, missing: list[str], names: set[str]) -> tuple[str, ...]:
    notes = []
    if missing:
        some = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        notes.append(
            f"Parameters that are not in the checkpoint and were drawn at random: "
            f"{some} ({len(missing)} in all). Results that depend on them mean nothing."
        )
    elsewhere = [layer.name for layer in folder.info.layers if layer.name not in names]
    if elsewhere:
        notes.append(
            "Layers of the checkpoint that have another name or shape in the opened "
            f"network: {len(elsewhere)}, such as {elsewhere[0]}."
        )
    return tuple(notes)


def _reader(
    module: nn.Module, stored: Mapping[str, TensorHeader], dtype: str
) -> Callable[[str], torch.Tensor]:
    """Return a reader of stored tensors that falls back on the network.

    Parameters that transformers renamed or stacked come from the network, in the
    type the checkpoint is stored in; they were raised from it without loss.
    """
    import torch

    parameters = dict(module.named_parameters())

    def read(name: str) -> torch.Tensor:
        if name in stored:
            return stored[name].read()
        if name in parameters:
            return parameters[name].detach().cpu().to(getattr(torch, dtype))
        raise AnalysisError("There is no parameter of this name.", value=name)

    return read


def _tokenizer(path: Path) -> Any:
    """Return the tokenizer of the folder, or None without `tokenizer.json`."""
    file = path / "tokenizer.json"
    if not file.is_file():
        return None
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 - tokenizers raises bare Exception
        raise AnalysisError(
            f"The tokenizer of the folder cannot be read: {_first_line(error)}",
            value=file,
        ) from error


LOADER = Loader("hf_folder", "a Hugging Face folder", _accepts, _open)
