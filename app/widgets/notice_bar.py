"""A line that asks something without stopping the work."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QWidget

from app.theme import theme
from app.widgets.elided import Elided


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should decide, some time.

    Attributes:
        key: What it is about; a later notice of the same key takes its place.
        text: One sentence.
        choices: Key and text of each button; the first is what most would do.
    """

    key: str
    text: str
    choices: tuple[tuple[str, str], ...]


class NoticeBar(QFrame):
    """Shows the oldest unanswered notice; hidden when there is none.

    Signals:
        chosen: Key of the notice and key of the button.
        emptied: The last notice was answered.
        filled: There is a notice to show.
    """

    chosen = Signal(object, object)
    filled = Signal()
    emptied = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without a notice."""
        super().__init__(parent)
        self.setAccessibleName("Notice")
        self._notices: list[Notice] = []
        self._text = Elided(self)
        self._buttons: list[QPushButton] = []
        self._row = layout = QHBoxLayout(self)
        gap = theme().em(0.5)
        layout.setContentsMargins(2 * gap, gap, 2 * gap, gap)
        layout.setSpacing(2 * gap)
        layout.addWidget(self._text, 1)
        theme().themeChanged.connect(self._paint)
        self._paint()

    @property
    def notice(self) -> Notice | None:
        """The notice that is shown."""
        return self._notices[0] if self._notices else None

    def ask(self, notice: Notice) -> None:
        """Show a notice, now or after the earlier ones."""
        keys = [known.key for known in self._notices]
        if notice.key in keys:
            self._notices[keys.index(notice.key)] = notice
        else:
            self._notices.append(notice)
        self._show()

    def withdraw(self, key: str) -> None:
        """Take a notice back that has become pointless."""
        self._notices = [known for known in self._notices if known.key != key]
        self._show()

    def _show(self) -> None:
        for button in self._buttons:
            self._row.removeWidget(button)
            button.deleteLater()
        self._buttons = []
        notice = self.notice
        if notice is None:
            self.emptied.emit()
            return
        self._text.set_full(notice.text)
        self.setAccessibleDescription(notice.text)
        for key, text in notice.choices:
            button = QPushButton(text, self)
            button.clicked.connect(partial(self._answer, notice, key))
            self._row.addWidget(button)
            self._buttons.append(button)
        self.filled.emit()

    def _answer(self, notice: Notice, choice: str, *_: object) -> None:
        self.withdraw(notice.key)
        self.chosen.emit(notice.key, choice)

    def _paint(self) -> None:
        self.setStyleSheet(
            f"NoticeBar {{ border-left: {theme().em(0.5)}px solid "
            f"{theme().colours.warning}; }}"
        )
