"""The journal beside a project file: finished results, appended as they come.

An HDF5 file that is open for writing may be left unreadable by a killed process, so
the project file is never written in place. Results go to this sidecar, one framed
and checksummed record per update, and are merged into a new project file later.
A record is either complete or, being the last one written, dropped.

File layout: `MAGIC`, then frames of `<length: u64> <crc32: u32> <payload>`. A payload
is `<header length: u32> <JSON header>` followed by the arrays in `.npy` form, without
pickles. The first record names the project file the journal belongs to.
"""

from __future__ import annotations

import errno
import io
import json
import os
import struct
import zlib
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError

MAGIC = b"QSJOURN1"
_FRAME = struct.Struct("<QI")
_HEADER = struct.Struct("<I")
_PLAIN_KINDS = "biufSU"


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened to a project.

    Attributes:
        kind: What happened ("begin", "rows", "end" ...).
        data: JSON values.
        arrays: Named arrays of numbers, booleans or text.
    """

    kind: str
    data: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a journal file holds.

    Attributes:
        owner: Identity of the project file, and the state of it, that the records
            continue; empty when the file is not a journal.
        records: Complete records, oldest first.
        size: Bytes up to the end of the last complete record.
    """

    owner: str
    records: tuple[Record, ...]
    size: int


def check_array(name: str, array: NDArray[Any]) -> None:
    """Refuse arrays that could only be kept as pickles.

    Raises:
        AnalysisError: the array holds Python objects or another rare type.
    """
    if array.dtype.kind not in _PLAIN_KINDS:
        raise AnalysisError(
            f"The array {name} cannot be kept in a project.",
            value=array.dtype,
            allowed="numbers, booleans and text",
        )


def encode(record: Record) -> bytes:
    """Return a record as one frame.

    Raises:
        AnalysisError: an array of a type that cannot be kept.
    """
    for name, array in record.arrays.items():
        check_array(name, array)
    names = list(record.arrays)
    header = {"kind": record.kind, "data": record.data, "arrays": names}
    text = json.dumps(header, allow_nan=True).encode()
    payload = io.BytesIO()
    payload.write(_HEADER.pack(len(text)) + text)
    for array in record.arrays.values():
        np.lib.format.write_array(
            payload, np.asarray(array, order="C"), allow_pickle=False
        )
    body = payload.getbuffer()
    return _FRAME.pack(len(body), zlib.crc32(body)) + body


def _decode(payload: bytes) -> Record:
    """Return the record of a payload whose checksum is right."""
    (length,) = _HEADER.unpack_from(payload)
    end = _HEADER.size + length
    header = json.loads(payload[_HEADER.size : end])
    stream = io.BytesIO(payload[end:])
    arrays = {
        name: np.lib.format.read_array(stream, allow_pickle=False)
        for name in header["arrays"]
    }
    return Record(header["kind"], header["data"], arrays)


def read_journal(path: Path) -> Contents:
    """Return the complete records of a journal; a torn tail is left out.

    Args:
        path: The journal; a missing file reads as an empty journal.

    Raises:
        AnalysisError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                return Contents("", (), 0)
            records: list[Record] = []
            size = len(MAGIC)
            left = os.fstat(file.fileno()).st_size - size
            while len(frame := file.read(_FRAME.size)) == _FRAME.size:
                length, checksum = _FRAME.unpack(frame)
                if length > left - _FRAME.size:
                    break
                payload = file.read(length)
                if len(payload) != length or zlib.crc32(payload) != checksum:
                    break
                records.append(_decode(payload))
                size += _FRAME.size + length
                left -= _FRAME.size + length
    except FileNotFoundError:
        return Contents("", (), 0)
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise AnalysisError(
            "The journal beside the project cannot be read.",
            value=path,
            hint=f"{error}. Move it away to open the project without it.",
        ) from error
    if not records or records[0].kind != "journal":
        return Contents("", (), 0)
    return Contents(str(records[0].data.get("owner")), tuple(records[1:]), size)


class Journal:
    """Appends records to a journal file, created with the first record.

    Records survive the death of the process at any moment, for every record whose
    `append` returned; what a power cut spares is up to the operating system. When
    the disk is full, `append` raises and keeps the record; the next call writes
    all kept ones first, so none is left out.

    Args:
        path: File to write.
        owner: Identity of the project file, see `Contents.owner`.
        keep: Bytes of an existing journal of the same owner to continue after;
            0 starts afresh.
    """

    def __init__(self, path: Path, owner: str, keep: int = 0) -> None:
        self.path = path
        self._size = keep
        self._file: io.FileIO | None = None
        self._waiting: deque[bytes] = deque()
        if not keep:
            first = Record("journal", {"owner": owner})
            self._waiting.append(MAGIC + encode(first))

    def append(self, record: Record) -> None:
        """Write one record.

        Raises:
            AnalysisError: the disk is full or the folder cannot be written; or an
                array of a type that cannot be kept (then nothing is kept).
        """
        self._waiting.append(encode(record))
        try:
            if self._file is None:
                self._open()
            while self._waiting:
                self._write(self._waiting[0])
                self._size += len(self._waiting.popleft())
        except OSError as error:
            raise disk_error(error, self.path) from error

    def _open(self) -> None:
        self._file = io.FileIO(self.path, "r+" if self._size else "w")
        self._file.truncate(self._size)
        self._file.seek(self._size)

    def _write(self, frame: bytes) -> None:
        """Write a whole frame, or leave the file as it was."""
        assert self._file is not None
        view = memoryview(frame)
        try:
            while view:
                view = view[write_some(self._file, view) :]
        except OSError:
            self._file.truncate(self._size)
            self._file.seek(self._size)
            raise

    def close(self, *, remove: bool = False) -> None:
        """Close the file, and delete it when its records are kept elsewhere."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if remove:
            self.path.unlink(missing_ok=True)


def write_some(file: io.FileIO, data: memoryview) -> int:
    """Write what the system takes at once and return its size (bytes)."""
    return file.write(data) or 0


def disk_error(error: OSError | RuntimeError, path: Path) -> AnalysisError:
    """Return the paragraph for a failed write to `path`."""
    codes = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
    number = getattr(error, "errno", None)
    full = number in codes or "No space left" in str(error)
    if full:
        return AnalysisError(
            "The disk is full; nothing was lost and the file is as it was.",
            value=path,
            hint="Free some space, or save to another disk, then try again.",
        )
    return AnalysisError(
        "The file cannot be written; it is as it was.",
        value=path,
        hint=f"{getattr(error, 'strerror', None) or error}.",
    )
