"""The Markdown of the handbook as HTML: what its pages use, and no more.

Headings, paragraphs, lists with `-`, indented blocks, bold, emphasis, code, links and
escaped signs. A Markdown library would be a dependency for five pages' worth of rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from analysis.report.svg import text_of

_INLINE = re.compile(
    r"`(?P<code>[^`]+)`"
    r"|\\(?P<sign>[\\`*_<>|#~\[\]])"
    r"|\*\*(?P<bold>(?:\\.|[^*\\]|\*(?!\*))+)\*\*"
    r"|\*(?P<soft>(?:\\.|[^*\\])+)\*"
    r"|\[(?P<link>(?:\\.|[^\]\\])+)\]\((?P<to>[^)\s]+)\)"
)
_HEADING = re.compile(r"(#{1,4}) +(.*)")
_TAGS = {"bold": "strong", "soft": "em"}
INDENT = "    "


def html_of(text: str, link: Callable[[str], str | None], level: int = 1) -> str:
    r"""Return Markdown as HTML.

    Args:
        text: Markdown.
        link: Returns the address of a target, None to leave a link out.
        level: Level of the uppermost heading.

    Example:
        >>> html_of("# A\n\nSee `x` in [b](panel:b).", lambda to: f"#{to}", 2)
        '<h2>A</h2><p>See <code>x</code> in <a href="#panel:b">b</a>.</p>'
    """
    return "".join(_block(lines, link, level) for lines in _blocks(text))


def _blocks(text: str) -> Iterator[list[str]]:
    """Yield the lines of each block; headings and indented lines stand apart."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        is_code = line.startswith(INDENT) and not _is_list(block)
        was_code = bool(block) and block[0].startswith(INDENT)
        is_break = bool(_HEADING.match(line)) or is_code != was_code or not line.strip()
        if block and is_break:
            yield block
            block = []
        if _HEADING.match(line):
            yield [line]
        elif line.strip():
            block.append(line)


def _is_list(block: list[str]) -> bool:
    return bool(block) and block[0].startswith("- ")


def _block(lines: list[str], link: Callable[[str], str | None], level: int) -> str:
    if heading := _HEADING.fullmatch(lines[0]):
        tag = f"h{min(level + len(heading[1]) - 1, 6)}"
        return f"<{tag}>{_inline(heading[2], link)}</{tag}>"
    if lines[0].startswith(INDENT):
        code = "\n".join(text_of(line.removeprefix(INDENT)) for line in lines)
        return f"<pre>{code}</pre>"
    if _is_list(lines):
        items: list[str] = []
        for line in lines:
            if line.startswith("- "):
                items.append(line[2:])
            else:
                items[-1] += f" {line.strip()}"
        points = "".join(f"<li>{_inline(item, link)}</li>" for item in items)
        return f"<ul>{points}</ul>"
    return f"<p>{_inline(' '.join(map(str.strip, lines)), link)}</p>"


def _inline(text: str, link: Callable[[str], str | None]) -> str:
    parts, end = [], 0
    for found in _INLINE.finditer(text):
        parts.append(text_of(text[end : found.start()]))
        end = found.end()
        kind = str(found.lastgroup)
        if kind == "code":
            parts.append(f"<code>{text_of(found['code'])}</code>")
        elif kind == "sign":
            parts.append(text_of(found["sign"]))
        elif kind == "to":
            address, inside = link(found["to"]), _inline(found["link"], link)
            is_known = address is not None
            parts.append(f'<a href="{address}">{inside}</a>' if is_known else inside)
        else:
            tag = _TAGS[kind]
            parts.append(f"<{tag}>{_inline(found[kind], link)}</{tag}>")
    return "".join([*parts, text_of(text[end:])])
