"""What a cell of the layer table shows, says in its tooltip and reads aloud."""

from __future__ import annotations

import math

from app.models.layer_data import LayerData
from app.widgets.format import DASH, integer, significant, size, with_error

MOST_PARTNERS = 8
"""Tied layers named in a tooltip."""

_AT_FORMAT = ("error", "sqnr", "error_share")


def cell_text(data: LayerData, layer: int, key: str) -> str:
    """Return what a cell shows."""
    match key:
        case "name":
            return data.names[layer]
        case "bits":
            return data.schemes[int(data.scheme[layer])]
        case "locked":
            return "locked" if data.locked[layer] else ""
        case "starred":
            return "starred" if data.starred[layer] else ""
        case "size":
            return size(float(data.size[layer]))
        case "error":
            return with_error(float(data.error[layer]), float(data.stderr[layer]))
        case "sqnr":
            value = float(data.sqnr[layer])
            return f"{value:.1f}" if math.isfinite(value) else DASH
        case "kind":
            return data.kinds[layer]
        case "shape":
            return data.shapes[layer]
        case "block":
            return data.blocks[layer]
        case "parameters":
            return integer(int(data.parameters[layer]))
        case "proposed":
            return data.proposed(layer) or DASH
        case "share" | "error_share":
            value = float(data.numbers(key)[layer])
            return f"{value:.2f}" if math.isfinite(value) else DASH
        case _:
            return significant(float(data.numbers(key)[layer]))


def is_muted(data: LayerData, layer: int, key: str) -> bool:
    """Return whether a cell is grey: hypothetical, unknown, or as it was before."""
    if key in _AT_FORMAT or (key in data.results and data.results[key].formats):
        return bool(data.is_reference[layer]) or cell_text(data, layer, key) == DASH
    if key == "bits":
        return not data.scheme[layer]
    if key == "proposed":
        return data.proposed(layer) in ("", data.schemes[int(data.scheme[layer])])
    return key in ("kind", "shape", "block")


def cell_tip(data: LayerData, layer: int, key: str) -> str | None:
    """Return what a cell says when the mouse rests on it."""
    if key in ("name", "bits"):
        partners = [data.names[i] for i in data.partners(layer) if i != layer]
        few = partners[:MOST_PARTNERS] + ["…"] * (len(partners) > MOST_PARTNERS)
        tied = "\nShares its format with:\n" + "\n".join(few) if partners else ""
        return data.names[layer] + tied + _refusal(data, layer) * (key == "bits")
    if key in _AT_FORMAT and data.at(layer):
        kept = "Kept in float; shown as it would be" * bool(data.is_reference[layer])
        where = f"{kept or 'Shown'} at {data.at(layer)}."
        if key == "error" and data.unit:
            where += f"\nUnit: {data.unit}, {integer(data.samples)} samples."
        return where
    if key == "gain" and data.next_step(layer):
        return (
            f"By going from {cell_text(data, layer, 'bits')} to {_step(data, layer)}."
        )
    return None


def _refusal(data: LayerData, layer: int) -> str:
    """Return why the target cannot run the present format, "" if it can."""
    if data.project is None:
        return ""
    scheme = data.project.assignment.scheme_of(layer)
    reason = data.project.refused(scheme, layer)
    return f"\n{reason}" if reason else ""


def _step(data: LayerData, layer: int) -> str:
    more = len(data.partners(layer)) - 1
    along = f", {integer(more)} tied along" if more > 0 else ""
    return f"{data.next_step(layer)}{along}"


def spoken(data: LayerData, layer: int, key: str) -> str:
    """Return a cell for a screen reader."""
    text = cell_text(data, layer, key)
    if key in ("locked", "starred"):
        return text or f"not {key}"
    if key == "name" and data.tie[layer] >= 0:
        return f"{text}, tied"
    return "not known" if text == DASH else text
