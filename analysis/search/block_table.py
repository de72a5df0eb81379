"""The measured costs of blocks beside a cost table: what their layers do together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.network_blocks import BLOCK_ERROR, blocks_of
from analysis.search.problem import MEASURE, BlockCosts, CostTable
from analysis.search.setup import Setup
from quant_core.scheme import parse_scheme

if TYPE_CHECKING:
    from analysis.project import Project

ERRORS = (MEASURE, "measured_error")
"""Objectives in the unit of the task, as the costs of blocks are."""


def block_run(project: Project, setup: Setup) -> int | None:
    """Return the run of block_error that a search reads, None for none.

    A setup that names its runs gets no blocks but of the run it names.
    """
    if str(setup.objective) not in ERRORS:
        return None
    if setup.runs:
        return setup.runs.get(BLOCK_ERROR)
    latest = project.latest_run(BLOCK_ERROR)
    return None if latest is None else latest.id


def with_blocks(project: Project, setup: Setup, table: CostTable) -> CostTable:
    """Return the table with the costs of blocks, as far as there are any that fit.

    Args:
        project: May hold a run of block_error.
        setup: Blocks count beside an objective in the unit of the task.
        table: Of this project and setup.
    """
    number = block_run(project, setup)
    if number is None:
        return table
    keys = project.formats(BLOCK_ERROR, "error", "weight", number)
    options = [
        option
        for option, scheme in enumerate(table.palette)
        if [scheme] == [parse_scheme(key) for key in keys]
        and (table.inputs is None or table.inputs[option] is None)
    ]
    if not options:
        return table
    found = blocks_of(project.run_arrays(number))
    return replace(
        table,
        blocks=tuple(BlockCosts(tuple(x), options[0], cost) for x, cost in found),
    )
