"""The parts of a sentence-transformers folder, read from `modules.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from analysis.load.headers import read_json

if TYPE_CHECKING:
    from analysis.tasks.pooling import Pooling

# Key in 1_Pooling/config.json -> name of the pooling.
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True, slots=True)
class SentenceFolder:
    """How a sentence-transformers folder turns text into an embedding.

    Attributes:
        transformer: Folder of the encoder.
        modes: Poolings, concatenated in this order; empty when there is none.
        normalize: The embedding is scaled to length 1.
        max_length: Longest text its users give it (tokens), or None.
        notes: What of the folder is not followed.
    """

    transformer: Path
    modes: tuple[str, ...]
    normalize: bool
    max_length: int | None
    notes: tuple[str, ...] = ()

    def pooling(self) -> Pooling | None:
        """Return the pooling, or None when the folder has none."""
        from analysis.tasks.pooling import Pooling

        return Pooling(self.modes, self.normalize) if self.modes else None


def read_sentence_folder(root: Path) -> SentenceFolder | None:
    """Return the parts of the folder, or None when it is an ordinary one.

    Raises:
        AnalysisError: `modules.json` is malformed or names a folder outside.
    """
    file = root / "modules.json"
    if not file.is_file():
        return None
    try:
        modules = json.loads(file.read_text(encoding="utf-8"))
        parts = [(str(m["type"]).rpartition(".")[2], str(m["path"])) for m in modules]
    except (ValueError, KeyError, TypeError) as error:
        raise AnalysisError(
            "modules.json is not understood.",
            value=file,
            allowed='[{"type": ..., "path": ...}, ...]',
        ) from error
    if not parts or parts[0][0] != "Transformer":
        return None
    encoder = _inside(root, parts[0][1])
    modes: tuple[str, ...] = ()
    ignored: list[str] = []
    for kind, path in parts[1:]:
        if kind == "Pooling":
            modes = _pooling_modes(read_json(_inside(root, path) / "config.json"))
        elif kind not in {"Normalize", "Dropout"}:
            ignored.append(kind)
    normalize = any(kind == "Normalize" for kind, _ in parts)
    notes = (
        f"The embedding is judged before {', '.join(ignored)}, which follow the "
        "pooling.",
    )
    return SentenceFolder(
        encoder, modes, normalize, _max_length(root, encoder), notes if ignored else ()
    )


def _inside(root: Path, path: str) -> Path:
    if path.startswith("/") or "\\" in path or ".." in PurePosixPath(path).parts:
        raise AnalysisError(
            "modules.json names a folder outside its own, which is refused.",
            value=path,
            allowed="folders inside the model's folder",
        )
    return root / path


def _pooling_modes(config: dict[str, Any]) -> tuple[str, ...]:
    modes = tuple(name for key, name in _MODES.items() if config.get(key))
    # Newer releases write one name instead of six switches.
    named = config.get("pooling_mode")
    if not modes and named:
        modes = (named,) if isinstance(named, str) else tuple(named)
    unknown = set(modes) - set(_MODES.values())
    if unknown:
        raise AnalysisError(
            "The pooling of the folder is not known.",
            value=", ".join(sorted(unknown)),
            allowed=", ".join(_MODES.values()),
        )
    return modes or ("mean",)


def _max_length(root: Path, encoder: Path) -> int | None:
    for folder in (encoder, root):
        file = folder / "sentence_bert_config.json"
        if file.is_file():
            length = read_json(file).get("max_seq_length")
            return length if isinstance(length, int) and length > 0 else None
    return None
