"""The `quantscope` script: a command, or else the window.

Imports nothing heavy, so that quick commands stay quick.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from analysis.cli import COMMANDS, display_missing
    from analysis.cli import main as run_command
    from analysis.cli.codes import USAGE
    from analysis.cli.options import Parser
    from analysis.cli.terminal import Terminal
    from analysis.errors import AnalysisError
except KeyboardInterrupt:
    # Ctrl-C in the half second that the imports take: there is nothing to tell.
    sys.exit(130)

GENERAL = ("-h", "--help", "--version")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, or open the window on a model or project.

    Args:
        argv: Arguments after the program name; those of the process when None.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and (words[0] in COMMANDS or words[0] in GENERAL):
        return run_command(words)
    try:
        return _open_window(words)
    except AnalysisError as error:
        Terminal(json="--json" in words).fail(error)
        return USAGE


def _open_window(words: list[str]) -> int:
    parser = Parser(prog="quantscope", allow_abbrev=False, add_help=False)
    parser.add_argument("path", nargs="?")
    parser.add_argument("--fresh", action="store_true")
    args = parser.parse_args(words)
    if args.path is not None:
        _check_source(args.path)
    reason = display_missing()
    if reason is not None:
        raise AnalysisError(
            f"The window needs a display. {reason}",
            hint="Commands run without one: see `quantscope --help`, or start with "
            "`quantscope demo --headless`.",
        )
    from app.__main__ import main as open_window

    return open_window(args.path, args.fresh)


def _check_source(path: str) -> None:
    """Refuse what is neither a file nor another kind of model source.

    Raises:
        AnalysisError: probably a mistyped command or path.
    """
    # "example:NAME" and "package.module:callable" are sources without a file.
    if ":" in path or Path(path).exists():
        return
    near = difflib.get_close_matches(path, COMMANDS, n=1)
    raise AnalysisError(
        "There is no such command, and no such file or folder.",
        value=path,
        allowed=f"{', '.join(COMMANDS)}, or the path of a model or project",
        hint=f"Did you mean `quantscope {near[0]}`?" if near else None,
    )


if __name__ == "__main__":
    sys.exit(main())
