"""Explanations as tooltips."""

from __future__ import annotations

import html


def wrapped(*paragraphs: str) -> str:
    """Return plain paragraphs as a tooltip that breaks long lines.

    Qt breaks the lines of rich text only.
    """
    return "".join(f"<p>{html.escape(text)}</p>" for text in paragraphs if text)
