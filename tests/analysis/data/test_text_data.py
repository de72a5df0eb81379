from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from analysis.data import load_data
from analysis.errors import AnalysisError
from analysis.load.inputs import InputSpec
from tests.analysis.data.networks import VOCABULARY, tokens

TEXT = """Title
*****

the cat sat on
the mat and ran

the dog sat on the mat and ran far far away
"""


def test_text_by_paragraph(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text(TEXT)
    data = load_data(str(path), tokens(), max_length=10)
    ids, mask = data.kwargs["input_ids"], data.kwargs["attention_mask"]
    assert ids.shape == (2, 10)
    assert mask.sum(1).tolist() == [9, 10]
    assert ids[0, 0] == 2
    assert ids[0, -1] == 0
    assert data.labels is None


def test_text_by_line(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("\ufeffthe cat\r\na dog ran\r\n".encode())
    data = load_data(str(path), tokens())
    assert data.kwargs["attention_mask"].sum(1).tolist() == [3, 4]
    assert data.warnings == ("2 samples were found, 64 were asked for.",)


def test_text_for_a_causal_model_is_one_stream(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text(TEXT)
    data = load_data(str(path), tokens(causal=True), max_length=5)
    ids = data.kwargs["input_ids"]
    assert ids.shape == (4, 5)
    assert data.labels is not None
    assert torch.equal(data.labels, ids)
    assert data.kwargs["attention_mask"].all()


def test_text_for_an_encoder_and_decoder(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("the cat\na dog ran\n")
    model = tokens(decoder_start_token_id=0)
    model.module = None
    model.input_hints["inputs"] += tuple(
        InputSpec(f"decoder_{s.name}", s.kind, s.shape, True, s.high)
        for s in model.input_hints["inputs"]
    )
    data = load_data(str(path), model)
    ids = data.kwargs["input_ids"]
    shifted = data.kwargs["decoder_input_ids"]
    assert torch.equal(shifted[:, 1:], ids[:, :-1])
    assert (shifted[:, 0] == 0).all()
    assert data.labels is not None
    assert data.labels[0].tolist() == [2, 3, 5, -100]


def test_text_length_is_limited_by_the_model(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("the cat sat on the mat\n")
    data = load_data(str(path), tokens(max_positions=4))
    assert data.kwargs["input_ids"].shape == (1, 4)


def test_text_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.txt"
    path.write_text("  \n\n ")
    with pytest.raises(AnalysisError, match="The text is empty"):
        load_data(str(path), tokens())
    path.write_bytes(b"caf\xe9")
    with pytest.raises(AnalysisError, match="not UTF-8"):
        load_data(str(path), tokens())
    path.write_text("the")
    with pytest.raises(AnalysisError, match="fewer than 2 tokens"):
        load_data(str(path), tokens(causal=True))
    model = tokens()
    model.tokenizer = None
    with pytest.raises(AnalysisError, match="has no tokenizer"):
        load_data(str(path), model)
    monkeypatch.setattr("analysis.data.text_file.LIMIT", 8)
    path.write_text("the cat sat on the mat")
    data = load_data(str(path), tokens(), samples=1)
    assert data.warnings == ("Only the first 8 characters of the text were read.",)
    assert data.kwargs["input_ids"].tolist() == [[2, 3, 5]]


def lines(path: Path, *rows: object) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def test_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    rows = [{"text": "the cat", "label": 1}, {"text": "a dog ran", "label": 0}]
    data = load_data(lines(path, *rows), tokens())
    assert data.kwargs["attention_mask"].sum(1).tolist() == [3, 4]
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0]
    data = load_data(
        lines(path, {"input_ids": [1, 2]}, {"input_ids": [3, 4]}), tokens()
    )
    assert data.kwargs["input_ids"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"input_ids": [1, 2]}, {"input_ids": [1]}], "differ in shape"),
        ([{"input_ids": [1, VOCABULARY]}], "holds indices out of range"),
        ([{"input_ids": [-1, 2]}], "holds indices out of range"),
        ([{"input_ids": [0.5, 2]}], "input_ids has the wrong type"),
        ([{"input_ids": [[1], [2]]}], "input_ids has the wrong shape"),
        ([{"text": "a"}, {"other": 1}], "Line 2 has other keys"),
        ([{"text": ""}], "Line 1 has no text"),
        ([{"review": "a dog"}], "Given: review. Allowed: text, sentence, content"),
        (
            [{"input_ids": [1, 2], "attention_mask": [1]}],
            r"Given: \[1, 1\]. Allowed: \[",
        ),
        (
            [{"input_ids": [1, 2], "attention_mask": [k, 0]} for k in (1, 0)],
            "1 of 2 samples of attention_mask attend to no token. Given: sample 1",
        ),
        ([[1]], "Line 1 is not understood"),
        ([], "The data are empty"),
    ],
)
def test_jsonl_mistakes(tmp_path: Path, rows: list[object], message: str) -> None:
    path = lines(tmp_path / "d.jsonl", *rows)
    with pytest.raises(AnalysisError, match=message):
        load_data(path, tokens())


def test_token_range_is_told(tmp_path: Path) -> None:
    path = lines(tmp_path / "d.jsonl", {"input_ids": [1, 99]})
    with pytest.raises(AnalysisError, match="out of range") as caught:
        load_data(path, tokens())
    assert "1 to 99" in str(caught.value)
    assert f"0 to {VOCABULARY - 1}" in str(caught.value)
    assert "tokenizer" in (caught.value.hint or "")


def test_sequences_that_the_network_has_no_positions_for(tmp_path: Path) -> None:
    model = tokens(max_positions=3)
    module = model.module
    assert module is not None
    module.register_forward_pre_hook(lambda *_: torch.ones(4) + torch.ones(3))
    path = lines(tmp_path / "d.jsonl", {"input_ids": [1, 2, 3, 4]})
    with pytest.raises(AnalysisError, match="does not run on the data") as caught:
        load_data(path, model)
    assert caught.value.allowed == "sequences of at most 3 tokens"
