"""How the page of the report looks: light or dark as the reader likes, white on paper.

Pictures are drawn with the light colours in their attributes, so that one cut out of
the page stands on its own; in the page rules of the style sheet overrule them.
"""

from __future__ import annotations

from analysis.report.svg import ACCENT, INK, LINE, MARK, MUTED, PAPER

DARK = {
    INK: "#e8eaed",
    MUTED: "#a4a9b0",
    LINE: "#3c4043",
    ACCENT: "#7cb0f4",
    MARK: "#ff9d5c",
    PAPER: "#17191c",
}
"""Colour of a light page or picture -> what it is on a dark one."""

_NAMES = {
    "ink": INK,
    "muted": MUTED,
    "line": LINE,
    "accent": ACCENT,
    "mark": MARK,
    "paper": PAPER,
}

_RULES = """
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; overflow-wrap: anywhere; }
h2 { margin-top: 2.2rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; overflow-wrap: anywhere; }
article, td { overflow-wrap: anywhere; }
.muted { color: var(--muted); } .wide { overflow-x: auto; }
.wide td { overflow-wrap: normal; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; }
table { border-collapse: collapse; font-size: .85rem;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; } td.n, th.n { text-align: right; }
thead th { border-bottom: 2px solid var(--muted); }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid; }
article { border: 1px solid var(--line); border-left-width: 5px; border-radius: 4px;
  padding: .2rem 1rem .6rem; margin: .8rem 0; break-inside: avoid; }
.problem { border-left-color: var(--problem); }
.warning { border-left-color: var(--warning); }
.note { border-left-color: var(--accent); }
pre { overflow-x: auto; } nav { font-size: .85rem; }
section { scroll-margin-top: 1rem; }
svg { break-inside: avoid; max-width: 100%; height: auto; }
.wide svg { max-width: none; }
@media print { body { max-width: none; margin: 0; font-size: 11px; }
  .wide { overflow: visible; } .wide svg { max-width: 100%; }
  * { print-color-adjust: exact; } thead { display: table-header-group; } }
"""


def _variables(colours: dict[str, str], problem: str, warning: str) -> str:
    named = {name: colours.get(light, light) for name, light in _NAMES.items()}
    named |= {"problem": problem, "warning": warning}
    return "".join(f" --{name}: {colour};" for name, colour in named.items())


def _pictures() -> str:
    """Return rules that give the colours of pictures those of the page."""
    rules = []
    for name, light in _NAMES.items():
        for attribute in ("fill", "stroke"):
            # White is the ground and also the writing on dark cells, which stays.
            what = "> rect" if light == PAPER else " "
            selector = f'svg {what}[{attribute}="{light}"]'
            rules.append(f"{selector} {{ {attribute}: var(--{name}); }}")
    return "\n".join(rules)


STYLE = f"""
:root {{ color-scheme: light;{_variables({}, "#b3261e", "#9a6700")} }}
@media screen and (prefers-color-scheme: dark) {{
  :root {{ color-scheme: dark;{_variables(DARK, "#f2857c", "#e3b341")} }} }}
{_pictures()}
{_RULES}"""
"""The style sheet. Paper is white whatever the screen shows."""
