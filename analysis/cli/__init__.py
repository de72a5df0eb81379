"""The command line: one module per command, all with `--json`.

    quantscope COMMAND [options]

Exit codes: 0 done, 1 failed, 2 wrong usage or bad input, 130 interrupted with the
results so far kept.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence

from analysis.cli.codes import DONE, FAILED, INTERRUPTED, USAGE
from analysis.cli.display import display_missing
from analysis.cli.options import Command, new_parser
from analysis.cli.terminal import Terminal
from analysis.errors import AnalysisError
from analysis.heap import keep_freed_memory
from analysis.version import tool_version
from quant_core.errors import QuantError

__all__ = ["COMMANDS", "display_missing", "main"]


COMMANDS = {
    "demo": "the whole job on a bundled example",
    "layers": "list the layers of a model",
    "analyze": "run measures on a model",
    "search": "assign formats under a budget",
    "show": "show the results of a project",
    "evaluate": "measure the error of an assignment",
    "export": "write an assignment for another tool",
    "report": "say what looks wrong and what to try, and write it as one page",
    "help": "read the handbook, or write it as one page",
    "methods": "list measures, searches, formats, targets and exporters",
    "doctor": "say what this installation has and lacks",
}
"""What each command does, in the order of the help page.

The module of a command has its name and is imported when it is used: listing layers
must not wait for what analysing them needs.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments after the program name; those of the process when None.

    Returns:
        0 done, 1 failed, 2 wrong usage or bad input, 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    terminal = Terminal(json="--json" in words)
    try:
        return _run(words, terminal)
    except QuantError as error:
        terminal.fail(error)
        return USAGE
    except BrokenPipeError:
        # The reader (`head`, a closed pager) has seen enough. What is left in the
        # buffer has nowhere to go, and the interpreter must not try at exit.
        sys.stdout = None
        return DONE
    except KeyboardInterrupt:
        terminal.fail(AnalysisError("Interrupted. Finished results were kept."))
        return INTERRUPTED
    except OSError as error:
        terminal.fail(
            AnalysisError(
                f"The system refused: {error.strerror or error}.", value=error.filename
            )
        )
        return USAGE
    except MemoryError:
        terminal.fail(_out_of_memory())
        return FAILED
    except Exception as error:
        return _failed(error, terminal)


def _run(words: list[str], terminal: Terminal) -> int:
    if not words or words[0] in ("-h", "--help"):
        terminal.out.write(usage())
        return DONE if words else USAGE
    if words[0] == "--version":
        terminal.out.write(f"quantscope {tool_version()}\n")
        return DONE
    if words[0] not in COMMANDS:
        raise AnalysisError(
            "There is no such command.",
            value=words[0],
            allowed=", ".join(COMMANDS),
            hint="See `quantscope --help`.",
        )
    command: Command = importlib.import_module(f"analysis.cli.{words[0]}")
    parser = new_parser(f"quantscope {words[0]}", command.__doc__ or "")
    command.add_arguments(parser)
    try:
        args = parser.parse_args(words[1:])
    except SystemExit as done:  # --help has printed its page
        return int(done.code or 0)
    terminal.quiet = args.quiet
    keep_freed_memory()
    return command.run(args, terminal)


def usage() -> str:
    """Return the help page of `quantscope` itself."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: quantscope [--fresh] [PATH]       open the window",
            "       quantscope COMMAND [options]      work without it",
            "",
            "PATH is a model or a project (*.qscope). --fresh ignores saved settings.",
            "",
            "Commands (each has --help, --json and --quiet):",
            *lines,
            "",
            "Exit codes: 0 done, 1 failed, 2 wrong usage or bad input, 130 interrupted",
            "with the results so far kept.",
            "",
        ]
    )


def _failed(error: Exception, terminal: Terminal) -> int:
    """Tell an error that nobody foresaw."""
    if "out of memory" in str(error).lower():
        terminal.fail(_out_of_memory())
        return FAILED
    # A mistake of ours: the trace is what a report of it needs.
    traceback.print_exception(error, file=terminal.err)
    terminal.fail(
        AnalysisError(
            f"Unexpected {type(error).__name__}: {error}",
            hint="This is a bug in Quantscope; finished results were kept.",
        )
    )
    return FAILED


def _out_of_memory() -> AnalysisError:
    return AnalysisError(
        "Memory ran out. Finished results were kept.",
        hint="Continue with --resume and a smaller --batch-size or fewer --samples.",
    )
