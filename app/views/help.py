"""The help pane: the page of whatever has the keyboard."""

from __future__ import annotations

from PySide6.QtCore import QUrl, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)
from shiboken6 import isValid

from analysis.handbook import GLOSSARY, page, topics
from app.help_topics import topic_of
from app.theme import theme
from app.widgets.tick_box import TickBox

FIRST = "panel:help"


class HelpView(QWidget):
    """A list of all pages, the page itself, and whether it follows the focus."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Show how to use it."""
        super().__init__(parent)
        self.topic = ""
        self._focused: QWidget | None = None
        self.setAccessibleName("Help")
        self.contents = QComboBox(self)
        self.contents.setAccessibleName("Page")
        self.contents.setMinimumContentsLength(16)
        policy = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        self.contents.setSizeAdjustPolicy(policy)
        self.follow = TickBox("Follo&w the focus")
        self.follow.setChecked(True)
        self.browser = QTextBrowser(self)
        self.browser.setAccessibleName("Explanation")
        self.browser.setOpenLinks(False)
        label = QLabel("Pa&ge", self)
        label.setBuddy(self.contents)
        gap = theme().em(0.75)
        top = QHBoxLayout()
        top.setSpacing(gap)
        top.addWidget(label)
        top.addWidget(self.contents, 1)
        top.addWidget(self.follow)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(gap, gap, gap, gap)
        layout.setSpacing(gap)
        layout.addLayout(top)
        layout.addWidget(self.browser, 1)
        self.contents.activated.connect(self._on_contents)
        self.browser.anchorClicked.connect(self._on_link)
        application = QApplication.instance()
        if isinstance(application, QApplication):
            application.focusChanged.connect(self._on_focus)
        theme().themeChanged.connect(self._on_theme)

    def show_topic(self, topic: str) -> None:
        """Show a page; a topic without one changes nothing."""
        text = page(topic)
        if text is None or topic == self.topic:
            return
        self.topic = topic
        self.browser.setMarkdown(text)
        row = self.contents.findData(topic)
        # Words have pages that the list leaves to the glossary.
        self.contents.setCurrentIndex(
            row if row >= 0 else self.contents.findData(GLOSSARY)
        )

    def explain(self, widget: QWidget | None) -> None:
        """Show the page of a widget."""
        self._fill()
        self.show_topic(topic_of(widget) or self.topic or FIRST)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt naming
        """Read the pages when they are first wanted."""
        super().showEvent(event)
        # Tab bars come and go with the arrangement of the panels.
        if self._focused is not None and not isValid(self._focused):
            self._focused = None
        self.explain(self._focused if self.follow.isChecked() else None)

    def _fill(self) -> None:
        """List the pages; reading the methods from their source takes a while."""
        if not self.contents.count():
            for topic, title in topics():
                self.contents.addItem(title, topic)

    @Slot(QWidget, QWidget)
    def _on_focus(self, _: QWidget | None, new: QWidget | None) -> None:
        if new is None or new is self or self.isAncestorOf(new):
            return
        self._focused = new
        if self.isVisible() and self.follow.isChecked():
            if (topic := topic_of(new)) is not None:
                self.show_topic(topic)

    @Slot(int)
    def _on_contents(self, row: int) -> None:
        self.show_topic(str(self.contents.itemData(row)))

    @Slot(QUrl)
    def _on_link(self, link: QUrl) -> None:
        self.show_topic(link.toString())

    @Slot()
    def _on_theme(self) -> None:
        """Lay the page out again: links keep the colour they were made with."""
        topic, self.topic = self.topic, ""
        self.show_topic(topic)
