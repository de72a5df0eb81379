"""What every HTML page has in common: one file that needs no network."""

from __future__ import annotations

from analysis.report.style import STYLE
from analysis.report.svg import text_of

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def document(title: str, note: str, body: str, script: str = "") -> str:
    """Return a whole HTML page.

    Args:
        title: Plain text.
        note: What stands under it, as HTML.
        body: The rest, as HTML.
        script: JavaScript; "" for none.
    """
    name, run = text_of(title), f"<script>{script}</script>" if script else ""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}</title><style>{STYLE}</style></head><body>"
        f'<h1>{name}</h1><p class="muted">{note}</p>{body}{run}</body></html>'
    )
