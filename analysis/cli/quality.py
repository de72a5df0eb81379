"""The table of `quantscope show --quality`: which measure to trust on this model."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from typing import TYPE_CHECKING

from analysis.cli.terminal import Terminal, number, table
from analysis.quality import JUDGE, Quality, measure_quality

if TYPE_CHECKING:
    from analysis.project import Project

_HEADER = (
    "measure",
    "quantity",
    "part",
    ">Spearman",
    ">by format",
    ">predicted/measured",
    ">passes",
)


def show_quality(project: Project, terminal: Terminal, *, as_csv: bool) -> None:
    """Print how well each measure stands for the measured error, best first.

    Args:
        project: Holds the results.
        terminal: Where to print.
        as_csv: Print comma-separated rows instead of a table.
    """
    found = sorted(measure_quality(project), key=_worst_last)
    judge = project.latest_run(JUDGE)
    samples = 0 if judge is None else judge.samples
    rows = [{**dataclasses.asdict(one), "median_per_format": one.rank} for one in found]
    terminal.result({"judge": JUDGE, "samples": samples, "rows": rows})
    if as_csv:
        terminal.say(_lines(found))
        return
    if not found:
        terminal.say("No measure to judge: run others than the measured error.")
        return
    terminal.say(table(_HEADER, [_cells(one) for one in found]))
    terminal.say(
        f"\nSpearman with {JUDGE} ({samples} samples) over layers x formats, and the "
        "median of those within one format; median and quartiles of predicted over "
        "measured; time of the run in forward passes over its samples."
    )
    for note in dict.fromkeys(one.note for one in found if one.note):
        names = [f"{q.measure} {q.quantity}" for q in found if q.note == note]
        terminal.note(f"{', '.join(names)}: {note}")


def _worst_last(one: Quality) -> tuple[bool, float]:
    return math.isnan(one.rank), -one.rank


def _cells(one: Quality) -> tuple[str, ...]:
    ratio = number(one.ratio, 3)
    if not math.isnan(one.ratio):
        ratio += f" ({number(one.ratio_low, 3)} to {number(one.ratio_high, 3)})"
    return (
        one.measure,
        one.quantity,
        one.part,
        number(one.spearman, 3),
        number(one.rank, 3),
        ratio,
        number(one.forwards, 3),
    )


def _lines(found: list[Quality]) -> str:
    """Return one line per measure, then its rank correlation in each format."""
    formats = list(dict.fromkeys(key for one in found for key in one.per_format))
    names = [f.name for f in dataclasses.fields(Quality) if f.name != "per_format"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*names, *(f"spearman {key}" for key in formats)))
    for one in found:
        values = [getattr(one, name) for name in names]
        values += [one.per_format.get(key, math.nan) for key in formats]
        writer.writerow("" if value != value else value for value in values)
    return text.getvalue().rstrip("\n")
