"""What an exported program may contain before torch is asked to read it.

`torch.export.load` is not made for files of strangers. It unpickles tensor
subclasses, custom objects and legacy weights, falls back on unrestricted pickles for
the sample inputs, evaluates shape expressions as Python (through sympy), imports
modules named in its tree specs, resolves any attribute of `torch` as an operator, and
builds Python source from the names in the graph. Every one of these doors is checked
here, through the archive reader that torch itself uses, and closed unless the content
is of the plain kind that `torch.export.save` writes for an ordinary model:

- archives with pickled tensors or constants, compiled code or legacy files are refused;
- sample inputs must be readable under `weights_only=True`;
- operators must be ATen operators, higher-order operators, or arithmetic;
- shape expressions must consist of symbols, numbers and known functions;
- names must be identifiers.

Guards stored in the program are not run. What remains is what any model file can do:
take long, or use much memory.
"""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.errors import AnalysisError

_TARGET = re.compile(
    r"torch\.ops\.(aten|prims|higher_order|quantized_decomposed)(\.\w+)+"
    r"|torch\.sym_\w+|math\.\w+"
    r"|_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|getitem"
    r"|eq|ne|lt|le|gt|ge|and_|or_|not_|xor|lshift|rshift|index)"
)
_NAME = re.compile(r"\w*(\.\w+)*(@\d+)?")
_NAME_KEYS = frozenset(
    "name as_name graph_module_name fqn parameter_name buffer_name "
    "tensor_constant_name custom_obj_name forward_arg_names user_input_name".split()
)
_QUOTED = re.compile(r"[A-Za-z]+\d*|[-+]?[\d.]+(e[-+]?\d+)?")
_FUNCTIONS = frozenset(
    "Symbol Integer Float Rational Add Mul Pow Mod Max Min Abs And Or Not Eq Ne Lt Le "
    "Gt Ge Equality Unequality StrictLessThan LessThan StrictGreaterThan GreaterThan "
    "Piecewise ExprCondPair FloorDiv ModularIndexing Where PythonMod CleanDiv "
    "CeilToInt FloorToInt CeilDiv LShift RShift PowByNatural FloatPow FloatTrueDiv "
    "IntTrueDiv IsNonOverlappingAndDenseIndicator TruncToFloat TruncToInt RoundToInt "
    "RoundDecimal ToFloat Identity bool_and bool_or".split()
)
_NODES = (
    ast.Expression,
    ast.Call,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.keyword,
    ast.Tuple,
    ast.UnaryOp,
    ast.BinOp,
    ast.BoolOp,
    ast.Compare,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
)
_PICKLED = ("data/aotinductor/", "data/constants/custom_obj_", "data/constants/opaque_")


def check_archive(path: Path) -> None:
    """Check a `.pt2` file.

    Raises:
        AnalysisError: it is no program, or holds something that could run code.
    """
    from torch.export.pt2_archive._package import PT2ArchiveReader

    try:
        # The reader that torch.export.load uses: no second opinion on the archive.
        archive = PT2ArchiveReader(str(path))
        names = archive.get_file_names()
    except Exception as error:
        raise AnalysisError(
            "This is not a program that torch.export.save wrote.",
            value=path,
            allowed="a .pt2 archive of torch 2.8 or later",
            hint="Export the model again with the installed torch.",
        ) from error
    for name in names:
        if name.startswith(_PICKLED) or name.endswith((".so", ".pyd", ".dll")):
            raise _unsafe(path, "compiled code or pickled objects", name)
        if name.endswith(".pt") and name != "data/sample_inputs/model.pt":
            raise _unsafe(path, "a pickle of an older format", name)
    models = [n for n in names if n.startswith("models/")]
    if models != ["models/model.json"]:
        raise AnalysisError(
            "The archive must hold exactly one program, called model.",
            value=", ".join(models) or path,
        )
    for name in names:
        if name.endswith("_config.json"):
            _check_config(path, name, json.loads(archive.read_string(name)))
    _check_samples(path, archive.read_bytes("data/sample_inputs/model.pt"))
    check_program(path, json.loads(archive.read_string(models[0])))


def _check_config(path: Path, name: str, config: Any) -> None:
    for key, value in _walk(config):
        if key == "use_pickle" and value is not False:
            raise _unsafe(path, "tensors in pickles (tensor subclasses)", name)


def _check_samples(path: Path, content: bytes) -> None:
    import torch

    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:
        raise _unsafe(path, "sample inputs other than tensors", "") from error


def check_program(path: Path, program: Any) -> None:
    """Check the JSON of a program; see the module's text.

    Raises:
        AnalysisError: a string in it could become code.
    """
    for key, value in _walk(program):
        if not isinstance(value, str):
            continue
        if key == "target" and not _TARGET.fullmatch(value):
            raise _unsafe(path, "an operator other than ATen's", value)
        if key == "expr_str" and not is_plain_expression(value):
            raise _unsafe(path, "a shape that is no arithmetic", value)
        if key in _NAME_KEYS and not _NAME.fullmatch(value):
            raise _unsafe(path, "a name that is no identifier", value)
        if key in {"in_spec", "out_spec"} and "default_factory" in value:
            raise _unsafe(path, "a default dictionary", value)


def _walk(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key of a JSON value with what stands under it; list items too.

    The keys of mappings from names to values are names themselves.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, dict) and key in {"tensor_values", "sym_int_values"}:
                yield "name", name
            yield from _walk(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, key)
    else:
        yield key, value


def is_plain_expression(text: str) -> bool:
    """Tell whether a shape expression consists of symbols, numbers and functions.

    Example:
        >>> is_plain_expression("Mul(Integer(8), Symbol('s27', positive=True))")
        True
        >>> is_plain_expression("__import__('os').system('true')")
        False
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_is_plain(node) for node in ast.walk(tree))


def _is_plain(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS or bool(re.fullmatch(r"[a-z]+\d+|int_oo", node.id))
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return bool(
                re.fullmatch(r"[A-Za-z]+\d*|[-+]?[\d.]+(e[-+]?\d+)?", node.value)
            )
        return isinstance(node.value, (int, float, bool))
    return isinstance(node, _NODES)


def _unsafe(path: Path, found: str, value: str) -> AnalysisError:
    return AnalysisError(
        f"The program holds {found}, which is refused because reading it could run "
        "code.",
        value=f"{path}: {value[:80]}" if value else path,
        allowed="programs of ATen operators with plain tensors",
        hint="Give the model as package.module:callable if you trust its maker.",
    )
