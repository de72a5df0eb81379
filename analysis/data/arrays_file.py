"""Arrays in `.npz`, `.npy` and `.safetensors` files as calibration data."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from analysis.data.request import Found, Request
from analysis.errors import AnalysisError
from analysis.load.headers import read_header


def read_npz(path: Path, request: Request) -> Found:
    """Return the arrays of a `.npz` file by name; pickled objects are refused."""
    del request  # arrays are matched to the inputs by their names
    try:
        # Opened here: numpy leaves the file open when it is no archive.
        with (
            path.open("rb") as stream,
            np.load(stream, allow_pickle=False) as archive,
        ):
            return Found({name: archive[name] for name in archive.files})
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error


def read_npy(path: Path, request: Request) -> Found:
    """Return the array of a `.npy` file, samples along its first axis."""
    del request
    try:
        return Found({"": np.load(path, allow_pickle=False, mmap_mode="r")})
    except (ValueError, EOFError) as error:
        raise _unreadable(path, error) from error


def read_safetensors(path: Path, request: Request) -> Found:
    """Return the tensors of a `.safetensors` file by name."""
    del request
    return Found({name: tensor.read() for name, tensor in read_header(path).items()})


def _unreadable(path: Path, error: Exception) -> AnalysisError:
    return AnalysisError(
        f"The arrays cannot be read: {str(error).rstrip('.')}.",
        value=path,
        allowed="numeric arrays written by numpy.save or numpy.savez",
    )
