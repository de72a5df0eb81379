"""JSON lines as calibration data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from analysis.data.match import LABELS
from analysis.data.request import Found, Request
from analysis.data.text_file import encode
from analysis.errors import AnalysisError

_TEXT = ("text", "sentence", "content")


def read_jsonl(path: Path, request: Request) -> Found:
    """Return samples of a file with one JSON object per line.

    A line holds a text (`text`, `sentence` or `content`), or the inputs of the
    network as lists of equal shape (`input_ids`, `attention_mask` ...), and
    perhaps a `label`.
    """
    rows = _rows(path)
    keep = request.choose(len(rows)).tolist()
    rows = [rows[i] for i in keep]
    keys = rows[0][1].keys()
    for number, row in rows:
        if row.keys() != keys:
            raise AnalysisError(
                f"Line {number} has other keys than the lines before.",
                value=", ".join(row),
                allowed=", ".join(keys),
            )
    text = next((key for key in _TEXT if key in keys), None)
    if text is None:
        _refuse_texts(rows[0])
        return Found({key: _stack(key, rows) for key in keys})
    for number, row in rows:
        if not isinstance(row[text], str) or not row[text].strip():
            raise AnalysisError(
                f"Line {number} has no text.",
                value=json.dumps({text: row[text]}),
                allowed=f'a text that is not empty, {{"{text}": "..."}}',
            )
    found = encode([row[text] for _, row in rows], request)
    label = next((key for key in LABELS if key in keys), None)
    if label is None:
        return found
    labels = _stack(label, rows)
    return Found(found.tensors, (), labels, found.warnings)


def _refuse_texts(first: tuple[int, dict[str, Any]]) -> None:
    """Refuse texts under a key that is not looked for.

    Raises:
        AnalysisError: names the key, and those that are.
    """
    number, row = first
    for key, value in row.items():
        if isinstance(value, str):
            raise AnalysisError(
                f"Line {number} has a text under another key.",
                value=key,
                allowed=", ".join(_TEXT),
                hint=f"Rename {key} to text, or leave it out.",
            )


def _rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    rows = []
    with path.open(encoding="utf-8-sig") as lines:
        try:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("no JSON object")
                rows.append((number, row))
        except (ValueError, RecursionError) as error:
            raise AnalysisError(
                f"Line {number} is not understood: {error}.",
                value=path,
                allowed='one JSON object per line, {"text": ...} for one',
            ) from error
    if not rows or not rows[0][1]:
        raise AnalysisError("The data are empty.", value=path)
    return rows


def _stack(key: str, rows: list[tuple[int, dict[str, Any]]]) -> Any:
    import numpy as np

    try:
        return np.array([row[key] for _, row in rows])
    except ValueError as error:
        raise AnalysisError(
            f"The values of {key} differ in shape from line to line.",
            allowed="the same shape in every line",
            hint="Pad them, and say so in attention_mask.",
        ) from error
