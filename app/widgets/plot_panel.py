"""The frame of a plot panel: title, subtitle, legend, picture, read-out, take-away.

Every panel says in its subtitle what is measured, in which unit and on how many
samples; shows an empty state with a first step instead of an empty plot; redraws
only while it is visible, once per turn of the event loop; and gives its picture as
PNG or SVG and its numbers as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from PySide6.QtCore import QSize, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QAction, QImage, QShowEvent
from PySide6.QtWidgets import (
    QApplication,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMenu,
    QSizePolicy,
    QSplitter,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.theme import theme
from app.widgets.data_table import Table, TableDialog
from app.widgets.elided import Elided
from app.widgets.empty_state import NOTHING, EmptyState
from app.widgets.flow_layout import FlowLayout
from app.widgets.legend import Legend
from app.widgets.plot_picture import to_image, write_svg

PICTURE_SCALE = 2
"""Pixels of a saved picture for one on the screen."""
FINE_SCALE = 3
"""The same where print is the aim."""
_FINE = "PNG picture, fine (*.png)"
_KINDS = f"PNG picture (*.png);;{_FINE};;SVG picture (*.svg)"


class PlotPanel(QWidget):
    """Base of the plot panels.

    A subclass puts its plot into `body`, its controls into `controls` or, at the far
    end, into `corner`, and overrides `refresh`, `table` and `fit`.

    Signals:
        actionRequested: Key of the window's action that the empty state offers.
        message: A sentence for the status bar.
    """

    actionRequested = Signal(object)
    message = Signal(object)

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        """Build the frame around an empty body."""
        super().__init__(parent)
        self.setAccessibleName(title)
        self.controls = FlowLayout()
        self.corner = QHBoxLayout()
        self.legend = Legend()
        self.read_out = Elided(self)
        self._title = Elided()
        self._subtitle = QLabel()
        self._picture = QWidget(self)
        self._empty = EmptyState(parent=self)
        self._empty_action = ""
        self._stack = QStackedWidget(self)
        self._below: QWidget | None = None
        self._wants_list = True
        self.body = QVBoxLayout()
        self._stale: set[str] = set()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._catch_up)
        self._actions = self._make_actions()
        self._arrange(title)
        self._empty.actionTriggered.connect(self._on_empty_action)
        theme().themeChanged.connect(self._on_theme)
        self._on_theme()

    def _arrange(self, title: str) -> None:
        self._title.set_full(title)
        font = self._title.font()
        font.setBold(True)
        self._title.setFont(font)
        self._subtitle.setWordWrap(True)
        self._subtitle.setSizePolicy(
            QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum
        )
        gap = theme().em(0.75)
        inside = QVBoxLayout(self._picture)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(gap // 2)
        for widget in (self._title, self._subtitle, self.legend):
            inside.addWidget(widget)
        inside.addLayout(self.body, 1)
        self._stack.addWidget(self._picture)
        self._stack.addWidget(self._empty)
        self._bar = QWidget(self)
        row = QHBoxLayout(self._bar)
        row.setContentsMargins(0, 0, 0, 0)
        row.addLayout(self.controls, 1)
        top, more = Qt.AlignmentFlag.AlignTop, self._more_button()
        row.addLayout(self.corner)
        row.addWidget(more, 0, top)
        row.setAlignment(self.corner, top)
        self._outside = outside = QVBoxLayout(self)
        outside.setContentsMargins(gap, gap, gap, gap // 2)
        outside.setSpacing(gap)
        outside.addWidget(self._bar)
        outside.addWidget(self._stack, 1)
        outside.addWidget(self.read_out)

    def _more_button(self) -> QToolButton:
        button = QToolButton(self)
        button.setText("Picture")
        button.setToolTip("Save or copy the picture and the numbers behind it")
        button.setAccessibleName("Save or copy the picture or its numbers")
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._menu = QMenu(button)
        self._menu.addActions(self._actions)
        button.setMenu(self._menu)
        return button

    def _make_actions(self) -> list[QAction]:
        actions = []
        for text, slot in (
            ("&Fit view\tF", self.fit),
            ("&Copy picture", self.copy_picture),
            ("Save &picture…", self._ask_picture),
            ("Show as &table", self.show_table),
            ("Copy &numbers", self.copy_numbers),
            ("Save numbers as CS&V…", self._ask_numbers),
        ):
            action = QAction(text, self)
            action.triggered.connect(slot)
            actions.append(action)
        return actions

    def contextMenuEvent(self, event: object) -> None:
        """Offer the same menu at the mouse."""
        QMenu.exec(self._actions, event.globalPos())  # type: ignore[attr-defined]

    # -- for subclasses ------------------------------------------------------------

    def refresh(self, stale: set[str]) -> None:
        """Redraw the parts named in `stale`; "all" means everything."""
        raise NotImplementedError

    def table(self) -> Table | None:
        """Return the numbers behind the picture, None when there are none."""
        raise NotImplementedError

    @Slot()
    def fit(self) -> None:
        """Show everything, or the selection first where there is one."""
        raise NotImplementedError

    def add_control_row(self, row: QWidget) -> None:
        """Put a further row of controls under the first; it is in no picture."""
        self._outside.insertWidget(1, row)

    def add_switch(self, text: str) -> QAction:
        """Return an action to be checked or not, added to the menu of the picture."""
        action = QAction(text, self)
        action.setCheckable(True)
        self._menu.addAction(action)
        self._actions.append(action)
        return action

    def add_list(self, widget: QWidget) -> None:
        """Put a list under the picture, with a handle between; it is in no picture."""
        splitter = QSplitter(Qt.Orientation.Vertical, self)
        splitter.setChildrenCollapsible(False)
        self._outside.insertWidget(self._outside.indexOf(self._stack), splitter, 1)
        splitter.addWidget(self._stack)
        splitter.addWidget(widget)
        splitter.setStretchFactor(0, 3)
        splitter.setStretchFactor(1, 2)
        self._below = widget

    @Slot(bool)
    def set_list_shown(self, shown: bool) -> None:
        """Show the list under the picture, or leave all the room to the picture."""
        self._wants_list = shown
        if self._below is not None:
            self._below.setVisible(shown and not self.is_empty)

    def set_subtitle(self, text: str) -> None:
        """Say what is measured, in which unit, on how much data."""
        self._subtitle.setText(text)
        self._subtitle.setVisible(bool(text))

    @property
    def subtitle(self) -> str:
        """The subtitle shown."""
        return self._subtitle.text()

    def set_title(self, title: str) -> None:
        """Say what the picture shows."""
        self._title.set_full(title)

    def set_summary(self, text: str) -> None:
        """Give a screen reader the picture in one sentence."""
        self.setAccessibleDescription(text)

    def show_empty(
        self,
        title: str,
        text: str,
        action: str = "",
        key: str = "",
        *,
        controls: bool = False,
    ) -> None:
        """Show what is missing and the first step instead of the plot.

        Args:
            title: What is missing.
            text: What to do about it.
            action: Text of the button; "" for none.
            key: What `actionRequested` then emits.
            controls: Whether the controls stay, because they lead out of it.
        """
        self._empty.set_text(title, text, action)
        self._empty_action = key
        self._stack.setCurrentWidget(self._empty)
        self._bar.setVisible(controls)
        self._offer_picture(False)
        self.read_out.set_full("")
        self.set_summary(f"{title}. {text}")

    def show_no_layer(self, layers: int) -> None:
        """Show that no layer is selected, or that the model has none.

        Args:
            layers: How many the model has.
        """
        if layers:
            text = "Choose a layer in the table or in the heatmap."
            self.show_empty("No layer selected", text)
        else:
            self.show_empty(*NOTHING, "Open a model…", "open")

    def show_plot(self) -> None:
        """Show the plot again."""
        self._stack.setCurrentWidget(self._picture)
        self._bar.setVisible(True)
        self._offer_picture(True)

    def _offer_picture(self, is_there: bool) -> None:
        if self._below is not None:
            self._below.setVisible(is_there and self._wants_list)
        for action in self._actions:
            action.setEnabled(is_there)

    @property
    def is_empty(self) -> bool:
        """Whether the empty state is shown."""
        return self._stack.currentWidget() is self._empty

    @property
    def empty_title(self) -> str:
        """Headline of the empty state."""
        return self._empty.title

    @Slot()
    def _on_empty_action(self) -> None:
        self.actionRequested.emit(self._empty_action)

    # -- redrawing -----------------------------------------------------------------

    def invalidate(self, *parts: str) -> None:
        """Redraw parts at the end of this turn, or when next visible."""
        self._stale.update(parts or ("all",))
        if self.isVisible() and not self._timer.isActive():
            self._timer.start(0)

    def showEvent(self, event: QShowEvent) -> None:
        """Catch up with what changed while hidden."""
        super().showEvent(event)
        self._catch_up()

    @Slot()
    def _catch_up(self) -> None:
        if self._stale and self.isVisible():
            stale, self._stale = self._stale, set()
            self.refresh(stale)

    @Slot()
    def _on_theme(self) -> None:
        # Set, not inherited: an inherited palette arrives later than a picture is
        # rendered in the print colours.
        for label in self._picture.findChildren(QLabel):
            role = "muted" if label is self._subtitle else "text"
            palette = label.palette()
            palette.setColor(palette.ColorRole.WindowText, theme().colour(role))
            label.setPalette(palette)
        self.invalidate("all")

    # -- taking the picture away ---------------------------------------------------

    def picture(self, scale: int = PICTURE_SCALE) -> QImage:
        """Return the picture with title and legend, in print colours on white."""
        with self._in_print_colours():
            return to_image(self._picture, scale)

    def save_picture(self, path: Path, scale: int = PICTURE_SCALE) -> None:
        """Write the picture as what its ending says: SVG, PNG, JPEG ...

        Args:
            path: The file.
            scale: Pixels for one on the screen; SVG needs none.

        Raises:
            OSError: the file cannot be written.
        """
        if path.suffix.lower() != ".svg":
            if not self.picture(scale).save(str(path)):
                raise OSError(f"{path} cannot be written.")
            return
        with self._in_print_colours():
            write_svg(self._picture, path, self._title.full)

    @contextmanager
    def _in_print_colours(self) -> Iterator[None]:
        """Show the light theme for a moment, whatever the window shows."""
        mode, was_dark = theme().mode, theme().is_dark
        if was_dark:
            theme().set_mode("light")
            self._redraw_now()
        try:
            yield
        finally:
            if was_dark:
                theme().set_mode(mode)
                self._redraw_now()

    def _redraw_now(self) -> None:
        self._stale.clear()
        if not self.is_empty:
            self.refresh({"all"})

    @Slot()
    def copy_picture(self) -> None:
        """Put the picture on the clipboard."""
        if self.is_empty:
            return
        QApplication.clipboard().setImage(self.picture())
        self.message.emit("Picture copied.")

    @Slot()
    def copy_numbers(self) -> None:
        """Put the numbers on the clipboard as tab-separated text."""
        table = self.table()
        if table is not None:
            QApplication.clipboard().setText(table.text("\t"))
            self.message.emit(f"{table.rows:,} rows copied.")

    @Slot()
    def show_table(self) -> TableDialog | None:
        """Open the numbers behind the picture in a window of their own."""
        table = self.table()
        if table is None:
            return None
        dialog = TableDialog(self._title.full, table, self)
        dialog.show()
        return dialog

    @Slot()
    def _ask_picture(self) -> None:
        path, kind = self._ask("Save picture", _KINDS)
        if path is not None:
            scale = FINE_SCALE if kind == _FINE else PICTURE_SCALE
            self._save(path, partial(self.save_picture, scale=scale))

    @Slot()
    def _ask_numbers(self) -> None:
        table = self.table()
        if table is not None:
            path, _ = self._ask("Save numbers", "CSV table (*.csv)")
            if path is not None:
                self._save(path, table.save)

    def _ask(self, title: str, kinds: str) -> tuple[Path | None, str]:
        """Return the file a person chooses, with an ending, and its kind."""
        name, kind = QFileDialog.getSaveFileName(self, title, "", kinds)
        if not name:
            return None, kind
        path = Path(name)
        if not path.suffix:
            path = path.with_suffix(kind[kind.index("*") + 1 : kind.index(")")])
        return path, kind

    def _save(self, path: Path, save: Callable[[Path], None]) -> None:
        try:
            save(path)
        except OSError as error:
            self.message.emit(str(error))
        else:
            self.message.emit(f"Saved {path.name}.")

    def minimumSizeHint(self) -> QSize:
        """Return a size below which a plot says nothing."""
        return QSize(theme().em(30), theme().line(12))
