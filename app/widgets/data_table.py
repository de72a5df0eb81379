"""The numbers behind a plot as a table: for reading, copying and CSV files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QPersistentModelIndex,
    QSaveFile,
    Qt,
)
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from app.theme import theme
from app.widgets.explain import explained
from app.widgets.plot_axis import number

Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length with their titles.

    Attributes:
        titles: One per column, with the unit in brackets.
        columns: Sequences of text, numbers or NaN, read by index only.
    """

    titles: tuple[str, ...]
    columns: tuple[Sequence[Any], ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.columns[0]) if self.columns else 0

    def text(self, delimiter: str = ",") -> str:
        """Return the table as delimited text in the C locale; NaN is empty."""
        out = io.StringIO()
        writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
        writer.writerow(self.titles)
        for row in zip(*self.columns, strict=True):
            writer.writerow(["" if _is_nan(v) else _plain(v) for v in row])
        return out.getvalue()

    def save(self, path: Path) -> None:
        """Write a CSV file, whole or not at all.

        Raises:
            OSError: the file cannot be written.
        """
        file = QSaveFile(str(path))
        data = self.text().encode()
        fits = file.open(QSaveFile.OpenModeFlag.WriteOnly) and file.write(data) >= 0
        if not (fits and file.commit()):
            raise OSError(f"{path} cannot be written: {file.errorString()}")


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _plain(value: Any) -> str:
    return f"{float(value):.9g}" if isinstance(value, float) else str(value)


class TableModel(QAbstractTableModel):
    """A read-only Qt model of a `Table`; formats only the cells that are shown."""

    def __init__(self, table: Table, parent: QWidget | None = None) -> None:
        """Keep the table."""
        super().__init__(parent)
        self._table = table

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        """Return the number of rows."""
        return 0 if parent.isValid() else self._table.rows

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        """Return the number of columns."""
        return 0 if parent.isValid() else len(self._table.titles)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return the text of a cell, numbers to the right."""
        if not index.isValid():
            return None
        value = self._table.columns[index.column()][index.row()]
        is_number = isinstance(value, float)
        if role == Qt.ItemDataRole.DisplayRole:
            return number(float(value), 4) if is_number else str(value)
        if role == Qt.ItemDataRole.TextAlignmentRole and not isinstance(value, str):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def headerData(
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Return column titles, explained, and row numbers counted from 1."""
        across = orientation == Qt.Orientation.Horizontal
        if role == Qt.ItemDataRole.ToolTipRole and across:
            return explained(self._table.titles[section])
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        return self._table.titles[section] if across else section + 1


class TableDialog(QDialog):
    """Shows a table; Ctrl+C copies all of it with its header."""

    def __init__(self, title: str, table: Table, parent: QWidget | None = None) -> None:
        """Build a non-modal window that frees itself when closed."""
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(title)
        self._table = table
        self._model = TableModel(table, self)
        view = QTableView(self)
        view.setAccessibleName(title)
        view.setAlternatingRowColors(True)
        view.setModel(self._model)
        header = view.horizontalHeader()
        header.setHighlightSections(False)
        metrics = view.fontMetrics()
        for column, text in enumerate(table.titles):
            few = range(min(table.rows, 50))
            some = [str(self._model.index(row, column).data()) for row in few]
            widest = max(map(metrics.horizontalAdvance, [text, *some]))
            view.setColumnWidth(column, widest + theme().em(3))
        copy = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), self)
        copy.activated.connect(self.copy)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        button = buttons.addButton("Copy", QDialogButtonBox.ButtonRole.ActionRole)
        button.clicked.connect(self.copy)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(view)
        layout.addWidget(buttons)
        self.resize(theme().em(80), theme().line(30))

    def copy(self) -> None:
        """Put the table on the clipboard as tab-separated text."""
        QApplication.clipboard().setText(self._table.text("\t"))
