"""HDF5 files as calibration data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.data.request import Found, Request
from analysis.errors import AnalysisError


def read_h5(path: Path, request: Request) -> Found:
    """Return the data sets at the top of an HDF5 file by name.

    Links to other files and data sets stored elsewhere are refused: a data file
    must not be able to show the program other files of this machine.
    """
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise AnalysisError("This is not an HDF5 file.", value=path) from error
    with file:
        arrays: dict[str, Any] = {}
        for name in file:
            link = file.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise _elsewhere(path, name)
            item = file[name]
            if not isinstance(item, h5py.Dataset):
                continue
            if item.external or item.is_virtual:
                raise _elsewhere(path, name)
            arrays[name] = item[()]
    if not arrays:
        raise AnalysisError(
            "The HDF5 file has no data sets at its top.",
            value=path,
            allowed="data sets named after the inputs of the network, and labels",
        )
    return Found(arrays)


def _elsewhere(path: Path, name: str) -> AnalysisError:
    return AnalysisError(
        f"{name} is a link or is stored in another file, which is refused.",
        value=path,
        hint="Copy the arrays themselves into one file.",
    )
