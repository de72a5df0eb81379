"""The layer table: sort, filter, find, choose many, set bits, lock, star, copy."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QModelIndex, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QGuiApplication, QHideEvent, QShowEvent
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QStackedWidget,
    QStyledItemDelegate,
    QVBoxLayout,
    QWidget,
)

from analysis.errors import AnalysisError
from app.context import AppContext
from app.models.layer_columns import COLUMNS, KEYS
from app.models.layer_data import FLOAT, LayerData
from app.models.layer_roles import BAR_ROLE, BITS_ROLE, TIED_ROLE
from app.models.layer_table import LayerTableModel
from app.settings import Settings
from app.theme import theme
from app.views.layer_copy import Form, rows_as
from app.views.layer_finder import LayerFinder
from app.views.layer_folds import LayerFolds
from app.views.layer_menus import LayerMenus
from app.widgets.bits_delegate import (
    BarDelegate,
    BitsDelegate,
    LockDelegate,
    TextDelegate,
)
from app.widgets.column_layout import ColumnLayout
from app.widgets.empty_state import EmptyState
from app.widgets.filter_box import FilterBox
from app.widgets.find_bar import FindBar
from app.widgets.format import count
from app.widgets.mark_delegates import MARK, NameDelegate, StarDelegate
from app.widgets.row_table import RowTable
from quant_core.scheme import parse_scheme

ASSIGNED = "assigned bits"
STATIC = (
    "name",
    "kind",
    "shape",
    "block",
    "parameters",
    "bits",
    "locked",
    "starred",
    "size",
)
"""Columns that results of an analysis do not change."""

QUICK = frozenset(("assignment", "kept", "starred"))
"""What changes without an analysis."""

STREAM_MS = 200
WIDEST_NAME = 40
"""Width up to which the names get as much room as they need [digits]."""
NARROWEST_NAME = 20
"""Width that they have in any case [digits]."""
ALWAYS_SEEN = ("bits", "locked", "error")
"""Columns for which long names leave room in a narrow window."""
HEADER_KEY = "layers/columns"
FILTER_HELP = (
    "Words are looked for in the layer names; * and ? match whole names.\n"
    "kind:linear   format:int4   block:layers.3   locked   tied   starred\n"
    "bits<8   error>1e-3   params>1e6   size>2MB   sqnr<20   kurtosis>10\n"
    "share>5   error_share>10   gain>0.1, and any further result by its name\n"
    "A leading - turns a term round; | separates alternatives."
)


class LayerTableView(QWidget):
    """All layers of the project; listens to the context and changes it.

    Signals:
        openRequested: The button of the empty state.
    """

    openRequested = Signal()  # noqa: N815 - Qt signal naming

    def __init__(
        self,
        context: AppContext,
        settings: Settings | None = None,
        parent: QWidget | None = None,
    ) -> None:
        """Build filter, table and empty state."""
        super().__init__(parent)
        self._context = context
        self._settings = settings
        self._stale: set[str] = set()
        self._is_applying = False
        self._longest = ""
        self.setAccessibleName("Layers")
        self.model = LayerTableModel(self)
        self.filter = FilterBox("Filter: mlp kind:linear bits<8", FILTER_HELP, self)
        self._at = QComboBox(self)
        self.table = RowTable(self.model, [c.width for c in COLUMNS], self)
        self.finder = LayerFinder(self, context, FindBar(FILTER_HELP, self))
        self._empty = EmptyState(parent=self)
        self._stack = QStackedWidget(self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(STREAM_MS)
        self._timer.timeout.connect(self._catch_up)
        self._arrange()
        self.menus = LayerMenus(self, context)
        self.folds = LayerFolds(self, context)
        self._set_up_table()
        self._connect()
        self._on_project()

    # -- building --------------------------------------------------------------

    def _arrange(self) -> None:
        label = QLabel("E&rrors at", self)
        label.setBuddy(self._at)
        self._at.setAccessibleName("Format the errors are shown at")
        self._at.setToolTip(
            "Show predicted error and SQNR at the bits assigned to each layer\n"
            "(layers kept in float: at about 4 bits, grey), or all at one format."
        )
        self._at.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        gap = theme().em(0.75)
        top = QHBoxLayout()
        top.setSpacing(gap)
        top.addWidget(self.filter, 1)
        top.addWidget(label)
        top.addWidget(self._at)
        self._stack.addWidget(self.table)
        self._stack.addWidget(self._empty)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(gap, gap, gap, gap)
        layout.setSpacing(gap)
        layout.addLayout(top)
        layout.addWidget(self.finder.bar)
        layout.addWidget(self._stack, 1)

    def _set_up_table(self) -> None:
        table = self.table
        table.setAccessibleName("Layers")
        # Delegates are not owned by the view: each is kept here.
        self._bits = BitsDelegate(BITS_ROLE, self.menus.choices, self)
        self._bar = BarDelegate(BAR_ROLE, self)
        self._plain = TextDelegate(self)
        self._marks: dict[str, QStyledItemDelegate] = {
            "name": NameDelegate(TIED_ROLE, self),
            "bits": self._bits,
            "locked": LockDelegate(self),
            "starred": StarDelegate(self),
        }
        self.columns = ColumnLayout(table, self._settings, HEADER_KEY)
        self._on_columns()

    def _on_columns(self) -> None:
        """Give the present columns their places, widths and delegates."""
        for number, column in enumerate(self.model.columns):
            plain = self._bar if column.bar else self._plain
            self.table.setItemDelegateForColumn(
                number, self._marks.get(column.key, plain)
            )
        self.columns.apply(self.model.columns)

    def _connect(self) -> None:
        context = self._context
        context.projectChanged.connect(self._on_project)
        context.assignmentChanged.connect(self._on_assignment)
        context.rowsAdded.connect(self._on_rows)
        context.runsChanged.connect(self._on_runs)
        context.starredChanged.connect(self._on_starred)
        context.assignmentsChanged.connect(self._on_kept)
        context.selection.changed.connect(self._on_shared_selection)
        theme().themeChanged.connect(self._on_theme)
        self.filter.edited.connect(self._on_filter)
        self.filter.line.returnPressed.connect(self._on_entered)
        self._at.activated.connect(self._on_at)
        self._empty.actionTriggered.connect(self._on_empty_action)
        self._bits.chosen.connect(self._on_bits_chosen)
        self.model.modelAboutToBeReset.connect(self._on_reset)
        self.model.modelReset.connect(self._show_selection)
        chosen = self.table.selectionModel()
        chosen.selectionChanged.connect(self._on_table_selection)
        chosen.currentChanged.connect(self._on_table_selection)
        self.table.clicked.connect(self._on_clicked)
        self.table.resized.connect(self._fit_names)

    # -- what changed ----------------------------------------------------------

    @Slot()
    def _on_project(self) -> None:
        shown, before = self.model.layers.shown, self.model.columns
        self.columns.capture()
        self.model.set_layers(LayerData(self._context.project))
        self.model.layers.show_at(shown if shown in self.model.layers.formats else None)
        self._stale.clear()
        if self.model.columns != before:
            self._on_columns()
        self._longest = max(self.model.layers.names, key=len, default="")
        self._fit_names()
        self._fill_at()
        self._say_count()

    @Slot()
    def _fit_names(self) -> None:
        """Show names whole, or as long as the columns that matter have room."""
        if not self._longest:
            return
        seen = sum(self.table.columnWidth(KEYS.index(key)) for key in ALWAYS_SEEN)
        room = self.table.viewport().width() - seen
        narrow, wide = theme().em(NARROWEST_NAME), theme().em(WIDEST_NAME)
        wanted = self.table.width_for(self._longest, MARK)
        self.columns.fit("name", min(wanted, max(room, narrow), wide))

    @Slot(object)
    def _on_assignment(self, _layers: object) -> None:
        self._invalidate("assignment", at_once=True)

    @Slot(object)
    def _on_rows(self, measure: object) -> None:
        self._invalidate(str(measure))

    @Slot()
    def _on_starred(self) -> None:
        self._invalidate("starred", at_once=True)

    @Slot()
    def _on_kept(self) -> None:
        self._invalidate("kept", at_once=True)

    @Slot()
    def _on_runs(self) -> None:
        self._invalidate("predicted_error")

    @Slot()
    def _on_theme(self) -> None:
        self.table.viewport().update()

    def _invalidate(self, what: str, *, at_once: bool = False) -> None:
        self._stale.add(what)
        if not self.isVisible():
            return
        if at_once:
            self._catch_up()
        elif not self._timer.isActive():
            self._timer.start()

    @Slot()
    def _catch_up(self) -> None:
        stale, self._stale = self._stale, set()
        if not stale:
            return
        layers = self.model.layers
        has_results = bool(stale - QUICK)
        if "predicted_error" in stale:
            layers.read_errors()
            self._fill_at()
        if "weights" in stale:
            layers.read_weights()
        tie = layers.tie
        if "assignment" in stale:
            layers.read_assignment()
        if "kept" in stale:
            layers.forget_proposal()
        if "starred" in stale:
            layers.read_starred()
        if has_results and self._read_results():
            return
        if has_results and self.model.sorted_by not in (None, *STATIC):
            self._rearrange()
        else:
            # Another target may tie other layers, and names have marks of ties.
            is_edit = stale == {"assignment"} and np.array_equal(tie, layers.tie)
            self.model.refresh(edited=is_edit)

    def _read_results(self) -> bool:
        """Look for further results; return whether the columns are others now."""
        self.columns.capture()
        if not self.model.layers.read_results():
            return False
        self._rearrange()
        self._on_columns()
        return True

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt naming
        """Catch up with what changed while hidden."""
        super().showEvent(event)
        self._catch_up()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - Qt naming
        """Leave no timer behind."""
        self._timer.stop()
        super().hideEvent(event)

    # -- sort and filter -------------------------------------------------------

    @Slot(str)
    def _on_filter(self, text: str) -> None:
        try:
            self.model.set_query(text)
        except AnalysisError as error:
            self.filter.show_mistake(str(error))
            return
        self._say_count()

    @Slot()
    def _on_entered(self) -> None:
        """Go on to the rows that the filter left."""
        if self.model.rowCount() and not self.filter.is_mistaken:
            self.table.setFocus(Qt.FocusReason.OtherFocusReason)

    @Slot()
    def _on_at(self) -> None:
        key = self._at.currentData()
        self.model.layers.show_at(key)
        if self.model.sorted_by not in (None, *STATIC):
            self._rearrange()
        else:
            self.model.refresh()

    def _rearrange(self) -> None:
        self.model.rearrange()
        self._say_count()

    def _fill_at(self) -> None:
        formats = self.model.layers.formats
        known = tuple(self._at.itemData(i) for i in range(1, self._at.count()))
        if self._at.count() and known == formats:
            return
        self._at.clear()
        self._at.addItem(ASSIGNED, None)
        for key in formats:
            self._at.addItem(key, key)
        self._at.setCurrentIndex(max(0, self._at.findData(self.model.layers.shown)))
        self._at.setEnabled(bool(formats))

    def _say_count(self) -> None:
        shown, total = len(self.model.rows.listed), len(self.model.layers)
        self.filter.show_count(shown, total)
        self._stack.setCurrentIndex(0 if shown else 1)
        if shown:
            return
        self._empty.set_text(
            *_why_empty(self._context.project is not None, total, self.filter.text)
        )

    @Slot()
    def _on_empty_action(self) -> None:
        if len(self.model.layers):
            self.filter.set_text("")
        else:
            self.openRequested.emit()

    def focus_filter(self) -> None:
        """Put the cursor into the filter line."""
        self.filter.line.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.filter.line.selectAll()

    # -- selection -------------------------------------------------------------

    @Slot()
    def _on_table_selection(self, *_: object) -> None:
        if self._is_applying:
            return
        layers = self.model.layers_at(self.table.selected_rows())
        current = self.table.selectionModel().currentIndex()
        layer = self.model.layer_at(current.row()) if current.isValid() else -1
        inside = np.isin(layer, layers)
        self._context.selection.set(layers, layer if inside else None)

    @Slot()
    def _on_shared_selection(self) -> None:
        shared = self._context.selection
        self.model.set_current(shared.current)
        if not np.array_equal(
            np.sort(self.model.layers_at(self.table.selected_rows())), shared.layers
        ):
            self._show_selection()

    @Slot()
    def _on_reset(self) -> None:
        # A reset empties the selection of the table; that is nobody's choice.
        self._is_applying = True

    @Slot()
    def _show_selection(self) -> None:
        """Put the shared selection into the table, as merged ranges."""
        if self.folds.open_cut():
            return  # the table was arranged anew, which came here again
        shared = self._context.selection
        self._is_applying = True
        self.table.select_ranges(
            self.model.row_ranges(shared.layers), self.model.row_of(shared.current)
        )
        self._is_applying = False
        self.model.set_current(shared.current)

    def step(self, by: int) -> None:
        """Look at the next (1) or previous (-1) row."""
        if not self.model.rowCount():
            return
        row = self.model.row_of(self._context.selection.current)
        row = min(max(0, row + by), self.model.rowCount() - 1)
        layers = self.model.layers_at(np.array([row]))
        self._context.selection.set(layers, self.model.layer_at(row))

    def select_all(self) -> None:
        """Select every layer that the filter shows."""
        self._context.selection.set(self.model.rows.listed)

    # -- editing ---------------------------------------------------------------

    @Slot(object, object)
    def _on_bits_chosen(self, row: object, text: object) -> None:
        layers = self.model.layers_at(np.array([int(str(row))]))
        chosen = self._context.selection.layers
        target = chosen if np.isin(layers, chosen).all() else layers
        scheme = None if text == FLOAT else parse_scheme(str(text))
        self._context.set_weight(target, scheme)

    @Slot(QModelIndex)
    def _on_clicked(self, index: QModelIndex) -> None:
        if QGuiApplication.keyboardModifiers() or self._context.project is None:
            return
        layers = self.model.layers_at(np.array([index.row()]))
        key = self.model.columns[index.column()].key
        if key == "locked":
            locked = bool(self.model.layers.locked[layers].all())
            self._context.set_locked(layers, not locked)
        elif key == "starred":
            starred = bool(self.model.layers.starred[layers].all())
            self._context.project.set_starred(layers, not starred)

    # -- taking away -----------------------------------------------------------

    def copy(self, form: Form = "text", *, header: bool = False) -> None:
        """Put the selected rows on the clipboard, with the columns shown."""
        columns = self.table.visible_columns()
        layers = self.model.layers_at(self.table.selected_rows())
        text = rows_as(form, self.model, layers.tolist(), columns, header=header)
        QGuiApplication.clipboard().setText(text)
        self._context.message.emit(f"{count(len(layers), 'layer')} copied.")

    def save_settings(self) -> None:
        """Remember widths, order and choice of columns."""
        self.columns.save()


def _why_empty(has_project: bool, total: int, query: str) -> tuple[str, str, str]:
    """Return headline, text and button of a table without rows."""
    if not has_project:
        return "No model open", "Open a model to see its layers.", "Open a model…"
    if not total:
        reason = "This model has no parameter of two or more dimensions that "
        return (
            "Nothing to quantize",
            f"{reason}an operation uses.",
            "Open another model…",
        )
    text = f"None of the {total:,} layers fits “{query}”."
    return "No layer matches", text, "Show all"
