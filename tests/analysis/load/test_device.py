"""Where the network goes when nobody says."""

from __future__ import annotations

import pytest

from analysis.errors import AnalysisError
from analysis.load import load


@pytest.mark.parametrize(("gpu", "device"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_used_where_there_is_one(
    gpu: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Seen(Exception):
        pass

    def note(name: str) -> object:
        asked.append(name)
        raise Seen("enough")

    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr("torch.device", note)
    for settings in ({}, {"device": "cpu"}):
        with pytest.raises(Seen, match="enough"):
            load("example:digits-cnn", **settings)  # type: ignore[arg-type]
    assert asked == [device, "cpu"]


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(AnalysisError, match="cannot be used here.*cuda:99"):
        load("example:digits-cnn", device="cuda:99")
