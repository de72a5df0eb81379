"""The panels of the window, and where each stands in the ready layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.desk import Panel, Place

if TYPE_CHECKING:
    from app.main_window import MainWindow


def panels_of(window: MainWindow) -> tuple[Panel, ...]:
    """Return the panels of a window, in the order of menu and number keys."""
    below, side = Place("centre_below"), Place("left_below")
    hidden = Place("centre", is_shown=False)
    aside = Place("right", is_shown=False)
    return (
        Panel("layers", "Layers", window.layers, Place("left")),
        Panel("heatmap", "Heatmap", window.heatmap, Place("centre"), below),
        Panel("sensitivity", "Sensitivity", window.sensitivity, Place("centre")),
        Panel("distribution", "Distribution", window.distribution, below, hidden),
        Panel("channels", "Channels", window.channels, below, hidden),
        Panel("error_map", "Rounding error", window.error_map, Place("centre_below")),
        Panel("trade_off", "Trade-off", window.trade_off, side, Place("centre")),
        Panel("inspector", "Inspector", window.inspector, Place("right"), aside),
        Panel("compare", "Compare", window.compare, hidden, below),
        Panel("history", "History", window.history, aside),
        Panel("findings", "Findings", window.findings, Place("right"), aside),
        Panel("jobs", "Jobs", window.jobs, Place("bottom", is_shown=False)),
        Panel("log", "Log", window.log, Place("bottom", is_shown=False)),
        Panel("help", "Help", window.help, aside),
    )
