from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Literal

import pytest

from analysis.cli.options import add_method_options, method_params, new_parser
from analysis.errors import AnalysisError
from analysis.method import param


class Way(Enum):
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True)
class Method:
    """Does nothing."""

    key: ClassVar[str] = "method"
    title: ClassVar[str] = "Method"

    probes: int = param(1, "Number of probes.", minimum=1, maximum=64)
    share: float = param(0.5, "Share of it, 50 % say.", unit="%")
    exact: bool = param(False, "Whether exact.")
    sizes: list[int] = param([1, 2], "Sizes.")
    mode: Literal["fast", "slow"] = param("fast", "Mode.")
    way: Way = param(Way.UP, "Direction.")
    limit: int | None = param(None, "Limit, if any.")
    sites: str = param("inputs", "Which.", choices=("inputs", "all"))


def parse(*words: str) -> dict[str, object]:
    parser = new_parser("quantscope test", "Test.")
    add_method_options(parser, Method)
    return method_params(parser.parse_args(words), Method)


def test_only_given_options_are_parameters() -> None:
    assert parse() == {}


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--method.probes", "8"], "probes", 8),
        (["--method.share=0.25"], "share", 0.25),
        (["--method.exact"], "exact", True),
        (["--no-method.exact"], "exact", False),
        (["--method.sizes", "3,4"], "sizes", [3, 4]),
        (["--method.mode", "slow"], "mode", "slow"),
        (["--method.way", "down"], "way", Way.DOWN),
        (["--method.limit", "3"], "limit", 3),
        (["--method.sites", "all"], "sites", "all"),
    ],
)
def test_every_type(words: list[str], name: str, value: object) -> None:
    found = parse(*words)
    assert found == {name: value}
    assert getattr(Method(**found), name) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method.probes", "many"], "invalid int value"),
        (["--method.mode", "odd"], "invalid choice"),
        (["--method.way", "left"], "invalid Way value"),
        (["--method.sizes", "1,x"], "invalid comma-separated int value"),
        (["--method.probe", "1"], "Unrecognized arguments"),
    ],
)
def test_usage_errors_are_analysis_errors(words: list[str], message: str) -> None:
    with pytest.raises(AnalysisError, match=message) as caught:
        parse(*words)
    assert caught.value.hint == "See `quantscope test --help`."


def test_help_has_limits_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parse("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "Number of probes. (at least 1, at most 64, default 1)" in text
    assert "Share of it, 50 % say. (%, default 0.5)" in text
    assert "Direction. (default up)" in text
