"""A folder of images as calibration data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.request import Found, Request
from analysis.errors import AnalysisError
from analysis.load.headers import read_json

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def read_images(path: Path, request: Request) -> Found:
    """Return images `[N, channels, height, width]`, and labels from sub-folders.

    Images are resized to the network's input and, when the model's folder has a
    `preprocessor_config.json`, normalised by its mean and standard deviation, else
    scaled to 0 ... 1. With images in sub-folders, the sub-folders in alphabetical
    order are the classes 0, 1, ...
    """
    shape = _image_shape(path, request)
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in _SUFFIXES)
    if not files:
        raise AnalysisError(
            "The folder holds no images.", value=path, allowed=", ".join(_SUFFIXES)
        )
    folders = sorted({f.parent for f in files})
    keep = [files[i] for i in request.choose(len(files)).tolist()]
    images = np.stack([_read(f, shape) for f in keep])
    mean, std = _normalisation(request, shape[0])
    labels = None
    if path not in folders:
        labels = np.array([folders.index(f.parent) for f in keep])
    warnings: tuple[str, ...] = ()
    if mean is None or std is None:
        warnings = ("Images were scaled to 0 ... 1; nothing told a normalisation.",)
    else:
        images = (images - mean) / std
    return Found({"": images.astype(np.float32)}, (), labels, warnings)


def _image_shape(path: Path, request: Request) -> tuple[int, int, int]:
    """Return channels, height and width of the network's one image input."""
    floats = [spec.shape for spec in request.specs if spec.kind == "float"]
    if len(floats) == 1 and len(floats[0]) == 3:
        channels, height, width = floats[0]
        if channels is not None and height is not None and width is not None:
            return channels, height, width
    raise AnalysisError(
        "The folder of images does not fit: the network takes no images of a known "
        "size.",
        value=path,
        hint="Give the prepared images as an .npz file.",
    )


def _read(file: Path, shape: tuple[int, int, int]) -> Any:
    try:
        from PIL import (  # type: ignore[import-not-found, unused-ignore]
            Image,
            UnidentifiedImageError,
        )
    except ImportError as error:
        raise AnalysisError(
            "Image files need the Pillow library, which is not installed here.",
            hint="Install it with: pip install pillow; or give an .npz file.",
        ) from error
    channels, height, width = shape
    try:
        with Image.open(file) as image:
            converted = image.convert("L" if channels == 1 else "RGB")
            resized = converted.resize((width, height), Image.Resampling.BICUBIC)
            values = np.asarray(resized, np.float32) / 255
    except (UnidentifiedImageError, OSError) as error:
        raise AnalysisError("The image cannot be read.", value=file) from error
    return values[None] if channels == 1 else values.transpose(2, 0, 1)


def _normalisation(request: Request, channels: int) -> tuple[Any, Any]:
    """Return mean and standard deviation `[channels, 1, 1]`, or None twice."""
    file = Path(request.model.info.source) / "preprocessor_config.json"
    if not file.is_file():
        return None, None
    config = read_json(file)
    mean, std = config.get("image_mean"), config.get("image_std")
    if not config.get("do_normalize", True):
        return 0.0, 1.0
    if not (isinstance(mean, list) and isinstance(std, list)):
        return None, None
    if len(mean) != channels or len(std) != channels:
        return None, None
    return np.reshape(mean, (-1, 1, 1)), np.reshape(std, (-1, 1, 1))
