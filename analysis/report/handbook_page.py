"""The handbook as one HTML page: the same texts as in the help pane of the window."""

from __future__ import annotations

import re

from analysis.handbook import page, topics
from analysis.report.frame import document
from analysis.report.markup import html_of
from analysis.report.svg import text_of
from analysis.version import tool_version

_UNSAFE = re.compile(r"[^A-Za-z0-9]+")


def handbook_page() -> str:
    """Return every page of the handbook, with a table of contents, as HTML."""
    known = {topic: title for topic, title in topics()}

    def link(target: str) -> str | None:
        return f"#{_anchor(target)}" if target in known else None

    groups: dict[str, list[str]] = {}
    sections = []
    for topic, title in known.items():
        kind, _, name = title.rpartition(": ")
        entry = f'<a href="#{_anchor(topic)}">{text_of(name)}</a>'
        groups.setdefault(kind, []).append(entry)
        text = html_of(page(topic) or "", link, level=2)
        sections.append(f'<section id="{_anchor(topic)}">{text}</section>')
    contents = "".join(
        f"<li>{f'{_plural(kind)}: ' if kind else ''}{', '.join(entries)}</li>"
        for kind, entries in groups.items()
    )
    note = f"Of Quantscope {text_of(tool_version())}."
    body = f'<nav aria-label="Contents"><ul>{contents}</ul></nav>{"".join(sections)}'
    return document("Quantscope handbook", note, body)


def _anchor(topic: str) -> str:
    return _UNSAFE.sub("-", topic)


def _plural(kind: str) -> str:
    return text_of(f"{kind}es" if kind.endswith("ch") else f"{kind}s")
