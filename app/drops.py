"""What may be dropped on the window."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QMimeData

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def dropped_path(data: QMimeData) -> str:
    """Return the one local file or folder that is dragged; "" otherwise."""
    urls = data.urls()
    return urls[0].toLocalFile() if len(urls) == 1 and urls[0].isLocalFile() else ""


def refusal(path: str, number: int) -> str:
    """Return why a drop cannot be opened; "" when it can be tried."""
    if number > 1:
        return "Drop one model or project at a time."
    if not path:
        return "Only files and folders of this computer can be opened."
    target = Path(path)
    if not target.exists():
        return "There is no such file."
    if target.suffix in PICKLES:
        return (
            f"{target.name} is a pickle, which can run code when it is read. "
            "Convert it to .safetensors first."
        )
    return ""
