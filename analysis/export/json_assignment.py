"""The native assignment file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import ClassVar

from analysis.export.base import Subject, finished, write_whole
from analysis.method import Update
from analysis.version import tool_version


@dataclass(frozen=True)
class JsonAssignment:
    """The whole assignment, to be read back by Quantscope and by scripts.

    Follows `resources/schema/assignment.schema.json`.
    """

    key: ClassVar[str] = "json"
    title: ClassVar[str] = "Quantscope assignment (JSON)"
    suffix: ClassVar[str] = ".json"

    def run(self, subject: Subject, path: Path) -> Iterator[Update]:
        """Write the assignment to `path`."""
        layers = subject.assignment.layers
        yield Update(0, max(1, len(layers)), note="collecting layers")
        write_whole(path, json.dumps(document(subject), indent=2) + "\n")
        yield finished(layers, path)


def document(subject: Subject) -> dict[str, object]:
    """Return the JSON document, its provenance completed."""
    result: dict[str, object] = subject.assignment.to_json()
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    result["provenance"] = {
        **subject.notes,
        **({"name": subject.name} if subject.name else {}),
        "tool_version": tool_version(),
        "created": now,
        # What a search wrote down about its own result is the better witness.
        **{k: v for k, v in subject.assignment.provenance.items() if v is not None},
    }
    return result
