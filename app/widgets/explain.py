"""Explanations as tooltips."""

from __future__ import annotations

import html

from analysis.glossary import explain_heading


def wrapped(*paragraphs: str) -> str:
    """Return plain paragraphs as a tooltip that breaks long lines.

    Qt breaks the lines of rich text only.
    """
    return "".join(f"<p>{html.escape(text)}</p>" for text in paragraphs if text)


def explained(heading: str, *more: str) -> str | None:
    """Return what a heading of a small table means, None when the glossary is silent.

    Args:
        heading: The text, with or without a unit in brackets.
        more: Further paragraphs.
    """
    entry = explain_heading(heading)
    return None if entry is None else wrapped(entry.text(), *more)
