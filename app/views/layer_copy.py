"""Rows of the layer table as text, CSV and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from app.models.layer_cells import cell_text
from app.models.layer_columns import RIGHT, Column
from app.models.layer_data import LayerData
from app.models.layer_table import LayerTableModel
from app.widgets.data_table import Table
from app.widgets.markdown import markdown

Form = Literal["text", "csv", "markdown"]


def rows_as(
    form: Form,
    model: LayerTableModel,
    layers: Sequence[int],
    columns: Sequence[int],
    *,
    header: bool = True,
) -> str:
    """Return layers as rows of the table, folded or not.

    Args:
        form: "text": as shown, separated by tabs. "markdown": as shown. "csv":
            numbers in full, unrounded, bytes without a unit, with a column of
            standard errors.
        model: The table.
        layers: From the top.
        columns: Column numbers, from left to right.
        header: Whether the titles come first; CSV and Markdown always have them.
    """
    chosen = [model.columns[number] for number in columns]
    if form == "csv":
        return _table(model.layers, layers, chosen).text()
    titles = [column.title for column in chosen]
    data = model.layers
    texts = [[cell_text(data, x, column.key) for column in chosen] for x in layers]
    if form == "markdown":
        return markdown(titles, texts, [column.align == RIGHT for column in chosen])
    return "\n".join("\t".join(line) for line in ([titles] * header) + texts)


def _table(data: LayerData, layers: Sequence[int], columns: Sequence[Column]) -> Table:
    """Return the numbers behind the cells; NaN where unknown."""
    titles: list[str] = []
    values: list[list[Any]] = []
    for column in columns:
        is_number = column.align == RIGHT
        titles.append("Size [bytes]" if column.key == "size" else column.title)
        if column.key == "parameters":
            values.append([int(data.parameters[layer]) for layer in layers])
        elif is_number:
            values.append(data.numbers(column.key)[layers].tolist())
        else:
            values.append([cell_text(data, layer, column.key) for layer in layers])
        if column.key == "error":
            titles.append("Standard error")
            values.append(data.stderr[layers].tolist())
    return Table(tuple(titles), tuple(values))
