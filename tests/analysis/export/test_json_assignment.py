from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.export.base import Subject
from analysis.export.json_assignment import JsonAssignment
from quant_core.assignment import Assignment
from quant_core.formats import FORMATS
from quant_core.scheme import Scheme, parse_scheme
from quant_core.sites import Layer

LAYERS = (
    Layer("encoder.0", "encoder.0.weight", "linear", (8, 64), "float32"),
    Layer("encoder.1", "encoder.1.weight", "linear", (8, 64), "float32"),
    Layer("head", "head.weight", "linear", (4, 8), "bfloat16"),
)


def plan() -> Assignment:
    start = Assignment.float(LAYERS, "tiny", "sha256:0123")
    return (
        start.with_weight([0], parse_scheme("int4/group(32)/percentile(99.9)"))
        .with_weight([1], parse_scheme("nf4"))
        .with_input([0], parse_scheme("uint8/tensor"))
        .with_locked([1], True)
        .with_site("encoder.0:softmax", parse_scheme("fp8_e4m3/token"))
    )


def schema() -> dict[str, object]:
    file = resources.files("resources") / "schema" / "assignment.schema.json"
    document: dict[str, object] = json.loads(file.read_text(encoding="utf-8"))
    return document


def written(assignment: Assignment, path: Path, **facts: object) -> dict[str, object]:
    list(JsonAssignment().run(Subject(assignment, **facts), path))
    document: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return document


def faults(document: object) -> list[str]:
    """Return what the schema finds wrong with a document."""
    found = jsonschema.Draft202012Validator(schema()).iter_errors(document)
    return [error.message for error in found]


def test_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_file_follows_the_schema(tmp_path: Path) -> None:
    document = written(plan(), tmp_path / "a.json", name="best", notes={"samples": 8})
    assert faults(document) == []


def test_round_trip(tmp_path: Path) -> None:
    document = written(plan(), tmp_path / "a.json")
    again = Assignment.from_json(document, LAYERS, "sha256:0123")
    assert again.digest == plan().digest
    assert not len(again.diff(plan()))
    assert again.sites == plan().sites
    np.testing.assert_array_equal(again.locked, [False, True, False])


def test_provenance_of_a_search_is_kept(tmp_path: Path) -> None:
    found = plan().with_provenance(search="exact", budget="bits<=4", created="then")
    document = written(found, tmp_path / "a.json", name="best", notes={"samples": 8})
    provenance = document["provenance"]
    assert isinstance(provenance, dict)
    assert provenance["search"] == "exact"
    assert provenance["budget"] == "bits<=4"
    assert provenance["created"] == "then"
    assert provenance["samples"] == 8
    assert provenance["tool_version"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_fits_the_schema(name: str) -> None:
    document = Assignment.float(LAYERS, "tiny", "d").with_weight([0], Scheme(name))
    assert faults(document.to_json()) == []


@pytest.mark.parametrize(
    "text",
    [
        "int4/group(8)",
        "int8/tensor",
        "int8/token",
        "int8/mse",
        "int4/manual(-0.5:2e-3)",
    ],
)
def test_every_part_of_a_scheme_fits_the_schema(text: str) -> None:
    document = Assignment.float(LAYERS, "tiny", "d").with_weight(
        [0], parse_scheme(text)
    )
    assert faults(document.to_json()) == []
    again = Assignment.from_json(document.to_json(), LAYERS, "d")
    assert again.scheme_of(0) == parse_scheme(text)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("version",), 2),
        (("format",), "other"),
        (("extra",), 1),
        (("layers", "head", "locked"), "yes"),
        (("layers", "head", "weight"), {"granularity": "channel"}),
        (("layers", "head", "weight"), {"format": "int4", "granularity": "group(0)"}),
        (("layers", "head", "colour"), "red"),
    ],
)
def test_schema_refuses(where: tuple[str, ...], value: object) -> None:
    document = plan().to_json()
    place = document
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    with pytest.raises(jsonschema.ValidationError, match=r".+"):
        jsonschema.validate(document, schema())


@pytest.mark.parametrize(
    ("number", "text", "hint"),
    [
        (28, "No space left on device", "Free some space or choose another place."),
        (30, "Read-only file system", "Choose another place."),
    ],
)
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str, hint: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text("before")

    def full(_: int) -> None:
        raise OSError(number, text)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(AnalysisError, match=text) as caught:
        written(plan(), path)
    assert caught.value.hint == f"Nothing was changed. {hint}"
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_is_written_to_and_not_replaced() -> None:
    with pytest.raises(AnalysisError, match="No space left on device"):
        written(plan(), Path("/dev/full"))
    assert Path("/dev/full").is_char_device()
