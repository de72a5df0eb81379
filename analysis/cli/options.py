"""Command-line options generated from the parameters of a method."""

from __future__ import annotations

import argparse
import enum
import inspect
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from analysis.errors import AnalysisError
from analysis.method import ParamInfo, describe_params

if TYPE_CHECKING:
    from analysis.cli.terminal import Terminal

Adder = Callable[..., Any]

SEEDS = 2**63
"""First seed that the generators of torch do not take."""


class Command(Protocol):
    """What a command module offers."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of the command."""
        ...

    def run(self, args: argparse.Namespace, terminal: Terminal) -> int:
        """Do the work and return the exit code."""
        ...


class Parser(argparse.ArgumentParser):
    """An argument parser whose usage errors are `AnalysisError`s.

    The command line then prints them like every other error: one paragraph, or
    one JSON object.
    """

    def error(self, message: str) -> NoReturn:
        """Raise the usage error that argparse found.

        Raises:
            AnalysisError: always.
        """
        raise AnalysisError(
            message[:1].upper() + message[1:].rstrip(".") + ".",
            hint=f"See `{self.prog} --help`.",
        )


def new_parser(prog: str, description: str) -> Parser:
    """Return a parser with the options that every command has."""
    parser = Parser(
        prog=prog,
        description=inspect.cleandoc(description),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else"
    )
    parser.add_argument(
        "--quiet", "-q", action="store_true", help="no progress, no notes"
    )
    return parser


def comma_list(text: str) -> list[str]:
    """Split "a,b" at its commas, dropping blanks and empty parts."""
    return [part for part in (piece.strip() for piece in text.split(",")) if part]


def positive(text: str) -> int:
    """Return a whole number of at least 1.

    Raises:
        ArgumentTypeError: anything else.
    """
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number of at least 1"
        )
    return value


def seed(text: str) -> int:
    """Return a whole number that every random generator takes as its seed.

    Raises:
        ArgumentTypeError: anything else.
    """
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value < SEEDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number from 0 to {SEEDS - 1}"
        )
    return value


def help_text(info: ParamInfo) -> str:
    """Return the help of one parameter: text, unit, limits, default."""
    facts = [info.unit] if info.unit else []
    if info.minimum is not None:
        facts.append(f"at least {info.minimum:g}")
    if info.maximum is not None:
        facts.append(f"at most {info.maximum:g}")
    facts.append(f"default {default_text(info)}")
    # argparse expands "%": a unit of per cent would break its help page.
    return f"{info.doc} ({', '.join(facts)})".replace("%", "%%")


def default_text(info: ParamInfo) -> str:
    """Return the default as it would be typed."""
    value = info.default
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None or value == "" else str(value)


def add_method_options(parser: argparse.ArgumentParser, method: type) -> None:
    """Add `--KEY.NAME` for every parameter of a method class.

    Args:
        parser: Gets one titled group of options.
        method: A frozen dataclass with `key` and `title`.
    """
    key: str = method.key  # type: ignore[attr-defined]
    infos = describe_params(method)
    if not infos:
        return
    group = parser.add_argument_group(f"options of {key}")
    for info in infos:
        _add_option(group.add_argument, key, info)


def method_params(args: argparse.Namespace, method: type) -> dict[str, Any]:
    """Return the parameters of `method` that were given on the command line."""
    prefix = f"{method.key}."  # type: ignore[attr-defined]
    return {
        name.removeprefix(prefix): value
        for name, value in vars(args).items()
        if name.startswith(prefix)
    }


def _add_option(add: Adder, key: str, info: ParamInfo) -> None:
    common: dict[str, Any] = {
        "dest": f"{key}.{info.name}",
        "default": argparse.SUPPRESS,
        "help": help_text(info),
    }
    flag = f"--{key}.{info.name}"
    kind = _without_none(info.type)
    origin = typing.get_origin(kind)
    if kind is bool:
        add(flag, action=argparse.BooleanOptionalAction, **common)
    elif origin is list:
        convert = typing.get_args(kind)[0]
        add(flag, type=_list_of(convert), metavar="A,B", **common)
    elif origin is typing.Literal:
        add(flag, choices=typing.get_args(kind), **common)
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        # Not `choices`: argparse would compare members with their texts.
        values = ", ".join(str(member.value) for member in kind)
        common["help"] = f"one of {values}: {common['help']}"
        add(flag, type=kind, metavar=info.name.upper(), **common)
    else:
        add(
            flag,
            type=kind,
            choices=info.choices,
            metavar=None if info.choices else info.name.upper(),
            **common,
        )


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [a for a in typing.get_args(annotation) if a is not type(None)]
        return members[0]
    return annotation


def _list_of(convert: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    def split(text: str) -> list[Any]:
        return [convert(part) for part in comma_list(text)]

    # argparse names the converter in "invalid ... value".
    split.__name__ = f"comma-separated {getattr(convert, '__name__', 'list')}"
    return split
