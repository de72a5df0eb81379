"""Tables as Markdown, for notes and issues."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown(
    titles: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[bool] = ()
) -> str:
    """Return a table in pipe notation, as GitHub and most editors read it.

    Args:
        titles: One per column.
        rows: Texts of the cells; a bar in a text is escaped.
        right: Columns that stand to the right; empty for none.
    """
    sides = ["---:" if is_right else "---" for is_right in right]
    lines = [titles, sides or ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(map(_escaped, line))} |\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
