"""List the layers of a model: its parameters that can be quantized.

Reads headers only, so a checkpoint of any size is listed at once.

MODEL is a Hugging Face folder, a .safetensors file, a .pt2 program,
package.module:callable or example:NAME.
"""

from __future__ import annotations

import argparse

from analysis.cli.codes import DONE
from analysis.cli.terminal import Terminal, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("model", metavar="MODEL")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """List the layers."""
    from analysis.load import load

    info = load(args.model, headers_only=True).info
    rows = [
        {
            "layer": layer.name,
            "kind": layer.kind,
            "shape": list(layer.shape),
            "parameters": layer.parameters,
        }
        for layer in info.layers
    ]
    terminal.result({"rows": rows})
    header = ("layer", "kind", ">shape", ">parameters", "stored")
    cells = [
        (x.name, x.kind, "x".join(map(str, x.shape)), f"{x.parameters:,}", x.dtype)
        for x in info.layers
    ]
    terminal.say(table(header, cells))
    kind = f" ({info.architecture})" if info.architecture else ""
    terminal.say(
        f"\n{info.name}{kind}: {len(info.layers)} layers, "
        f"{info.parameters:,} parameters"
    )
    for left in info.unlisted:
        shape = "x".join(map(str, left.shape))
        terminal.note(f"not listed: {left.parameter} [{shape}]: {left.reason}")
    for note in info.notes:
        terminal.note(f"note: {note}")
    return DONE
