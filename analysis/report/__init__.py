"""Self-contained HTML files: about an assignment of a project, and the handbook.

Everything is inside the file: no network, no other file. Layer names and whatever
else comes from the model or the project is untrusted and escaped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from analysis.diagnosis import diagnose
from analysis.export.base import check_free, write_whole

if TYPE_CHECKING:
    from analysis.diagnosis import Diagnosis
    from analysis.project import Project
    from quant_core.assignment import Assignment

__all__ = ["write_handbook", "write_report"]


def write_report(
    project: Project,
    path: str | Path,
    *,
    assignment: Assignment | None = None,
    name: str = "",
    overwrite: bool = False,
) -> Diagnosis:
    """Write an assignment's totals, layers, findings and plots as one HTML file.

    Args:
        project: Where everything is read; nothing is run.
        path: File to write; it is complete or as it was before.
        assignment: What is reported; None for the one being edited.
        name: What to call it.
        overwrite: Replace an existing file.

    Returns:
        The findings that the report tells.

    Raises:
        AnalysisError: the file exists or cannot be written, or the project is damaged.
        QuantError: the assignment belongs to another model.
    """
    from analysis.report.page import page

    target = Path(path)
    check_free(target, overwrite, project)
    plan = project.assignment if assignment is None else assignment
    subject = f"the assignment {name}" if name else "the current assignment"
    diagnosis = diagnose(project, plan, subject)
    write_whole(target, page(project, plan, diagnosis, name))
    return diagnosis


def write_handbook(path: str | Path, *, overwrite: bool = False) -> None:
    """Write all pages of the handbook as one HTML file.

    Args:
        path: File to write; it is complete or as it was before.
        overwrite: Replace an existing file.

    Raises:
        AnalysisError: the file exists or cannot be written.
    """
    from analysis.report.handbook_page import handbook_page

    check_free(Path(path), overwrite)
    write_whole(Path(path), handbook_page())
