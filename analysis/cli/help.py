"""Read the handbook: panels, measures, searches, formats and the glossary.

The pages are those of the help pane of the window. A page is called by its topic, such
as measure:hessian; with --html all of them are written as one file that needs no
network.
"""

from __future__ import annotations

import argparse

from analysis.cli.codes import DONE
from analysis.cli.terminal import Terminal
from analysis.errors import AnalysisError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "topic", nargs="?", metavar="TOPIC", help="print one page; default: list them"
    )
    parser.add_argument("--html", metavar="F.html", help="write all pages as one file")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the file if it exists"
    )


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print one page, or list or write all.

    Raises:
        AnalysisError: there is no such page, or the file exists.
    """
    from analysis.handbook import page, topics

    known = dict(topics())
    if args.topic is not None and (text := page(args.topic)) is None:
        raise AnalysisError(
            "There is no such page.",
            value=args.topic,
            hint="`quantscope help` lists them.",
        )
    if args.html is not None:
        from analysis.report import write_handbook

        write_handbook(args.html, overwrite=args.overwrite)
        terminal.note(f"wrote {args.html}")
    if args.topic is not None:
        terminal.result({"topic": args.topic, "page": text, "file": args.html})
        terminal.say(str(text))
    else:
        terminal.result({"topics": known, "file": args.html})
        if args.html is None:
            wide = max(map(len, known))
            for topic, title in known.items():
                terminal.say(f"{topic:{wide}}  {title}")
    return DONE
