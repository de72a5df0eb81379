"""Everything about the selected layers, in groups, to read and to copy."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QSize, Qt, Slot
from PySide6.QtGui import QAction, QGuiApplication, QKeySequence, QPainter, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QMenu,
    QStackedWidget,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QToolButton,
    QTreeView,
    QVBoxLayout,
    QWidget,
)

from app.context import AppContext
from app.models.inspector import BAR_ROLE, InspectorModel
from app.models.layer_facts import layer_facts
from app.models.layers_facts import layers_facts
from app.selection import PinnableSelection
from app.theme import theme
from app.widgets.bits_delegate import BarDelegate
from app.widgets.elided import Elided
from app.widgets.empty_state import NOTHING, EmptyState
from app.widgets.format import count
from app.widgets.late_view import LateView
from app.widgets.pin_button import PinButton


class ValueDelegate(BarDelegate):
    """Draws a bar under a value that has one, and plain text otherwise."""

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        """Draw the cell."""
        if index.data(BAR_ROLE) is None:
            QStyledItemDelegate.paint(self, painter, option, index)
        else:
            super().paint(painter, option, index)

    def sizeHint(  # noqa: N802 - Qt naming
        self,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> QSize:
        """Return the size of a cell, with room for a bar below the text."""
        return QSize(super().sizeHint(option, index).width(), theme().line(1.35))


class InspectorView(LateView):
    """The inspector panel; stays on its layers while pinned."""

    def __init__(self, context: AppContext, parent: QWidget | None = None) -> None:
        """Listen to the context."""
        super().__init__(parent)
        self._context = context
        self.selection = PinnableSelection(context.selection, self)
        self.setAccessibleName("Inspector")
        self.model = InspectorModel(self)
        self.tree = QTreeView(self)
        self._values = ValueDelegate(BAR_ROLE, self)
        self._title = Elided(self)
        self._empty = EmptyState(parent=self)
        self._stack = QStackedWidget(self)
        self._folded: set[str] = set()
        self._keeps_width = self._is_fitting = False
        self._set_up_tree()
        self._arrange()
        self._connect()

    # -- building --------------------------------------------------------------

    def _set_up_tree(self) -> None:
        tree = self.tree
        tree.setAccessibleName("Properties of the selected layers")
        tree.setModel(self.model)
        tree.setHeaderHidden(True)
        tree.setAlternatingRowColors(True)
        tree.setUniformRowHeights(True)
        tree.setIndentation(theme().em(1.5))
        tree.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        tree.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        tree.setItemDelegate(self._values)
        tree.setTabKeyNavigation(False)
        header = tree.header()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
        header.setStretchLastSection(True)
        header.sectionResized.connect(self._on_resized)
        tree.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        self._actions = []
        for text, slot in (
            ("&Copy value", self.copy_values),
            ("Copy &all as text", self.copy_text),
            ("Copy all as &Markdown", self.copy_markdown),
        ):
            action = QAction(text, self)
            action.triggered.connect(slot)
            tree.addAction(action)
            self._actions.append(action)
        copy = self._actions[0]
        copy.setShortcut(QKeySequence(QKeySequence.StandardKey.Copy))
        copy.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)

    def _arrange(self) -> None:
        font = self._title.font()
        font.setBold(True)
        self._title.setFont(font)
        more = QToolButton(self)
        more.setText("Copy")
        more.setToolTip("Copy the selected values, or everything")
        more.setAccessibleName("Copy what the inspector shows")
        more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(more)
        menu.addActions(self._actions)
        more.setMenu(menu)
        top = QHBoxLayout()
        top.addWidget(self._title, 1)
        top.addWidget(PinButton(self.selection, self))
        top.addWidget(more)
        self._stack.addWidget(self.tree)
        self._stack.addWidget(self._empty)
        gap = theme().em(0.75)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(gap, gap, gap, gap)
        layout.setSpacing(gap)
        layout.addLayout(top)
        layout.addWidget(self._stack, 1)

    def _connect(self) -> None:
        context = self._context
        self.selection.changed.connect(self._on_any)
        context.projectChanged.connect(self._on_any)
        context.assignmentChanged.connect(self._on_any)
        context.starredChanged.connect(self._on_any)
        context.assignmentsChanged.connect(self._on_any)
        context.rowsAdded.connect(self._on_results)
        context.runsChanged.connect(self._on_results)
        theme().themeChanged.connect(self.tree.viewport().update)
        self.tree.collapsed.connect(self._on_fold)
        self.tree.expanded.connect(self._on_fold)

    # -- showing ---------------------------------------------------------------

    def renew(self) -> None:
        """Show what is true now."""
        project, layers = self._context.project, self.selection.layers
        if project is None or not len(layers):
            self._title.set_full("")
            self.model.show(())
            self._stack.setCurrentWidget(self._empty)
            select = "Select a layer in the table or in a plot to see all about it."
            is_bare = project is not None and not project.info.layers
            self._empty.set_text(
                *(NOTHING if is_bare else ("No layer selected", select))
            )
            return
        one = len(layers) == 1
        shown = layer_facts(project, int(layers[0])) if one else None
        place = self.tree.verticalScrollBar().value()
        fits = self._context.target_fits(project)
        self.model.show(shown or layers_facts(project, layers, fits))
        first = project.info.layers[int(layers[0])].name
        self._title.set_full(first if one else count(len(layers), "layer"))
        self._stack.setCurrentWidget(self.tree)
        self._fit_labels()
        self._unfold()
        self.tree.verticalScrollBar().setValue(place)

    def _fit_labels(self) -> None:
        """Make the labels as wide as they are, unless a person has chosen a width.

        Values get half of the room at least.
        """
        if self._keeps_width:
            return
        wide = self.tree.fontMetrics().horizontalAdvance
        widest = max((wide(label) for _, label, _ in self.model.lines()), default=0)
        indent = 2 * self.tree.indentation() + theme().em(1)
        self._is_fitting = True
        half = self.tree.viewport().width() // 2
        self.tree.header().resizeSection(0, min(widest + indent, half))
        self._is_fitting = False

    @Slot(int, int, int)
    def _on_resized(self, section: int, _before: int, _now: int) -> None:
        # The last section follows the width of the panel by itself.
        if section == 0 and not self._is_fitting:
            self._keeps_width = True

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt naming
        """Share the new width out."""
        super().resizeEvent(event)
        self._fit_labels()

    def _unfold(self) -> None:
        self.tree.blockSignals(True)
        for row, group in enumerate(self.model.groups):
            index = self.model.index(row, 0)
            self.tree.setFirstColumnSpanned(row, QModelIndex(), True)
            self.tree.setExpanded(index, _kind(group.title) not in self._folded)
        self.tree.blockSignals(False)

    @Slot(QModelIndex)
    def _on_fold(self, index: QModelIndex) -> None:
        """Remember which groups are folded, for the next layer."""
        title = _kind(self.model.groups[index.row()].title)
        if self.tree.isExpanded(index):
            self._folded.discard(title)
        else:
            self._folded.add(title)

    # -- taking away -----------------------------------------------------------

    @Slot()
    def copy_values(self) -> None:
        """Copy the values of the selected lines, one per line."""
        rows = self.tree.selectionModel().selectedRows(0)
        facts = (self.model.fact(index) for index in rows)
        self._copy("\n".join(fact.value for fact in facts if fact is not None))

    @Slot()
    def copy_text(self) -> None:
        """Copy everything as text."""
        self._copy(f"{self._title.full}\n\n{self.model.as_text()}\n")

    @Slot()
    def copy_markdown(self) -> None:
        """Copy everything as a Markdown table."""
        self._copy(f"**{self._title.full}**\n\n{self.model.as_markdown()}")

    def _copy(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self._context.message.emit("Copied." if text else "Nothing selected to copy.")


def _kind(title: str) -> str:
    """Return a heading without its unit and sample count."""
    return title.partition(" [")[0]
