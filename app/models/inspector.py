"""The item model of the inspector: groups of lines with a label and a value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PySide6.QtCore import (
    QAbstractItemModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
)
from PySide6.QtGui import QFont

from app.models.layer_facts import Fact, Group
from app.theme import theme
from app.widgets.explain import wrapped
from app.widgets.markdown import markdown

Index = QModelIndex | QPersistentModelIndex
Role = Qt.ItemDataRole
BAR_ROLE = int(Role.UserRole)
TOP = 0
"""Internal number of a group's index; lines have that of their group plus 1."""


class InspectorModel(QAbstractItemModel):
    """Two columns: what it is, and what it is here."""

    def __init__(self, parent: QObject | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.groups: tuple[Group, ...] = ()

    def show(self, groups: Sequence[Group]) -> None:
        """Show other groups."""
        self.beginResetModel()
        self.groups = tuple(groups)
        self.endResetModel()

    def fact(self, index: Index) -> Fact | None:
        """Return the line of an index, None for a heading."""
        if not index.isValid() or index.internalId() == TOP:
            return None
        return self.groups[index.internalId() - 1].facts[index.row()]

    # -- taking away -----------------------------------------------------------

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """Yield group, label and value of every line."""
        for group in self.groups:
            for fact in group.facts:
                yield group.title, fact.label, fact.value

    def as_text(self) -> str:
        """Return everything as text: headings, then label, tab and value."""
        parts = []
        for group in self.groups:
            lines = (f"{fact.label}\t{fact.value}" for fact in group.facts)
            parts.append("\n".join([group.title, *lines]))
        return "\n\n".join(parts)

    def as_markdown(self) -> str:
        """Return everything as one Markdown table."""
        return markdown(("Group", "What", "Value"), self.lines())

    # -- Qt --------------------------------------------------------------------

    def index(
        self,
        row: int,
        column: int,
        parent: Index = QModelIndex(),  # noqa: B008
    ) -> QModelIndex:
        """Return the index of a heading or of a line under one."""
        if not self.hasIndex(row, column, parent):
            return QModelIndex()
        inner = parent.row() + 1 if parent.isValid() else TOP
        return self.createIndex(row, column, inner)

    def parent(self, index: Index = QModelIndex()) -> QModelIndex:  # type: ignore[override]  # noqa: B008
        """Return the heading of a line."""
        if not index.isValid() or index.internalId() == TOP:
            return QModelIndex()
        return self.createIndex(index.internalId() - 1, 0, TOP)

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return the number of groups, or of lines in one."""
        if not parent.isValid():
            return len(self.groups)
        if parent.internalId() != TOP or parent.column() > 0:
            return 0
        return len(self.groups[parent.row()].facts)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Return 2."""
        return 2

    def data(self, index: Index, role: int = Role.DisplayRole) -> object:
        """Return one aspect of a heading or a line."""
        if not index.isValid():
            return None
        fact = self.fact(index)
        if fact is None:
            return self._heading(index, role)
        is_label = index.column() == 0
        if role == Role.DisplayRole:
            return fact.label if is_label else fact.value
        if role == Role.ToolTipRole:
            # A narrow panel cuts long values off.
            return wrapped(fact.value, fact.tip if fact.tip != fact.value else "")
        if role == Role.ForegroundRole and is_label:
            return theme().colour("muted")
        if role == BAR_ROLE and not is_label:
            return fact.bar
        return None

    def _heading(self, index: Index, role: int) -> object:
        if index.column():
            return None
        if role == Role.DisplayRole:
            return self.groups[index.row()].title
        if role == Role.FontRole:
            font = QFont()
            font.setBold(True)
            return font
        return None
