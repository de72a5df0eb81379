"""What methods say of themselves, without importing those that import torch.

The window never imports torch, so docstrings and parameters of measures are read from
the source by its syntax tree; a test compares them with the classes.
"""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from analysis.measures import NAMES
from analysis.method import ParamInfo, describe_params

_MEASURES = "analysis.measures"
_TYPES = {
    "bool": bool,
    "float": float,
    "int": int,
    "list[str]": list[str],
    "str": str,
}


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of a method without importing it.

    Attributes:
        key: As on the command line.
        title: As in the window.
        unit: Of its numbers; "" without one, or when the task decides.
        needs_data: Whether it runs the network on calibration data.
        help: Its docstring, without indentation.
        parameters: In the order of their declaration.
        reconstruction: What was rebuilt where the source leaves it open; "" when
            nothing was.
    """

    key: str
    title: str
    unit: str
    needs_data: bool
    help: str
    parameters: tuple[ParamInfo, ...]
    reconstruction: str = ""

    @property
    def sentence(self) -> str:
        """The first sentence of the help, for lists."""
        return self.help.partition("\n\n")[0].replace("\n", " ")


def describe(method: type) -> Described:
    """Return what a method class says of itself."""
    return Described(
        method.key,  # type: ignore[attr-defined]
        method.title,  # type: ignore[attr-defined]
        getattr(method, "unit", ""),
        getattr(method, "needs_data", False),
        inspect.cleandoc(method.__doc__ or ""),
        describe_params(method),
        getattr(method, "reconstruction", ""),
    )


@cache
def measures_described() -> dict[str, Described]:
    """Return every measure by its key, in the order of `NAMES`, from the source."""
    found: dict[str, Described] = {}
    for file in resources.files(_MEASURES).iterdir():
        if file.name.endswith(".py"):
            module = f"{_MEASURES}.{file.name.removesuffix('.py')}"
            for node in _tree(module).body:
                if isinstance(node, ast.ClassDef) and "key" in _constants(node):
                    described = _of_class(node, module)
                    found[described.key] = described
    return {key: found[key] for key in NAMES}


@cache
def _tree(module: str) -> ast.Module:
    """Return the syntax of a module; packages around it are not imported either."""
    package, *parts = module.split(".")
    place = resources.files(package).joinpath(*parts)
    if place.is_dir():
        file = place / "__init__.py"
    else:
        file = resources.files(package).joinpath(*parts[:-1], f"{parts[-1]}.py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _constants(node: ast.ClassDef) -> dict[str, Any]:
    """Return the constants that a class assigns to names."""
    return {
        line.target.id: line.value.value
        for line in node.body
        if isinstance(line, ast.AnnAssign)
        and isinstance(line.target, ast.Name)
        and isinstance(line.value, ast.Constant)
    }


def _of_class(node: ast.ClassDef, module: str) -> Described:
    constants, parameters = _constants(node), []
    for line in node.body:
        match line:
            case ast.AnnAssign(
                target=ast.Name(id=name),
                value=ast.Call(func=ast.Name(id="param"), args=given, keywords=more),
            ):
                default, doc = (_value(argument, module) for argument in given)
                limits = {str(k.arg): _value(k.value, module) for k in more}
                info = ParamInfo(
                    name,
                    _TYPES[ast.unparse(line.annotation)],
                    default,
                    doc,
                    limits.get("unit", ""),
                    limits.get("minimum"),
                    limits.get("maximum"),
                    limits.get("choices"),
                )
                parameters.append(info)
    return Described(
        constants["key"],
        constants["title"],
        constants.get("unit", ""),
        constants.get("needs_data", False),
        ast.get_docstring(node) or "",
        tuple(parameters),
        constants.get("reconstruction", ""),
    )


def _value(node: ast.expr, module: str) -> Any:
    """Return what an expression of a module comes to; of mappings, only the keys.

    Raises:
        ValueError: the expression is more than literals, names and `tuple(...)`.
    """
    match node:
        case ast.Name(id=name):
            return _named(name, module)
        case ast.Tuple(elts=items):
            return tuple(_value(item, module) for item in items)
        case ast.Dict(keys=keys):
            return {ast.literal_eval(key): None for key in keys if key is not None}
        case ast.Call(func=ast.Name(id="tuple"), args=[argument]):
            return tuple(_value(argument, module))
    return ast.literal_eval(node)


def _named(name: str, module: str) -> Any:
    """Return what a module assigns to a name, or what it imports by that name."""
    for line in _tree(module).body:
        match line:
            case ast.Assign(targets=[ast.Name(id=known)], value=value):
                if known == name:
                    return _value(value, module)
            case ast.AnnAssign(target=ast.Name(id=known), value=ast.expr() as value):
                if known == name:
                    return _value(value, module)
            case ast.ImportFrom(module=str() as source, names=names):
                for alias in names:
                    if (alias.asname or alias.name) == name:
                        return _named(alias.name, source)
    raise ValueError(f"{module} gives no constant called {name}")
