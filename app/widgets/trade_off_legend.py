"""What the marks of the trade-off plot mean."""

from __future__ import annotations

from collections.abc import Sequence

import pyqtgraph as pg

from app.theme import theme
from app.widgets.legend import Entry
from app.widgets.trade_off_plot import KEPT, MEASURED, NOW, PROPOSED, SUM


def legend_entries(
    widths: Sequence[float], *, has_measured: bool, has_kept: bool
) -> tuple[Entry, ...]:
    """Return the entries of what is drawn.

    Args:
        widths: Bits of the formats that have a point, rising.
        has_measured: Whether something was measured.
        has_kept: Whether an assignment is kept.
    """
    base, ink = theme().brush("base"), theme().brush("text")
    clear = theme().brush("current", alpha=0.15)
    entries = [
        Entry("now", NOW, theme().pen("current", width=2), clear),
        Entry("now, layers added up", SUM, theme().pen("current"), base),
        Entry("best trade-offs", "line", theme().pen("front", width=2), base),
        Entry("proposed", PROPOSED, theme().pen("accent", width=2), base),
    ]
    if has_measured:
        entries.append(Entry("measured", MEASURED, theme().pen("base"), ink))
    for bits in widths:
        colour, mark = theme().bit_colour(bits), theme().bit_mark(bits)
        name = f"all {bits:g}-bit"
        entries.append(Entry(name, mark, pg.mkPen(colour), pg.mkBrush(colour)))
    if has_kept:
        entries.append(Entry("kept assignment", KEPT, theme().pen("text"), ink))
    return tuple(entries)
