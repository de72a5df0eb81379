"""Tables of the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.diagnosis.finding import significant
from analysis.report.svg import text_of


def table(
    head: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]], kind: str = ""
) -> str:
    """Return a table; `head` says which columns are numbers, cells are HTML."""
    titles = "".join(
        f"<th{' class=n' * is_number}>{text_of(title)}</th>"
        for title, is_number in head
    )
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{titles}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def cell(text: object) -> str:
    """Return a cell of text."""
    return f"<td>{text_of(text)}</td>"


def number(value: float, stderr: float = float("nan")) -> str:
    """Return a cell that sorts by its number; empty when not known."""
    if not np.isfinite(value):
        return '<td class=n data-value=""></td>'
    bar = f" ± {significant(stderr, 2)}" if np.isfinite(stderr) and stderr > 0 else ""
    return f'<td class=n data-value="{float(value)!r}">{significant(value)}{bar}</td>'
