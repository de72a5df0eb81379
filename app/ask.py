"""Every question the window asks, in one place (tests replace it)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QInputDialog,
    QMessageBox,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from analysis.export import EXPORTERS
from analysis.version import tool_version
from app.actions import COMMANDS, default_shortcuts, key_text
from app.dialogs.analysis_request import AnalysisRequest
from app.scripts import Scripts
from app.settings import Preferences, Settings
from app.theme import theme
from app.views.start import EXAMPLES
from app.widgets.row_height import RowHeight

# A dialog is imported when it is asked for: the window is usable sooner.
if TYPE_CHECKING:
    from app.dialogs.search import SearchRequest

SUFFIX = ".qscope"
MODELS = (
    "Models and projects (*.qscope *.safetensors *.pt2 *.json);;"
    "Projects (*.qscope);;All files (*)"
)


PLOT_KEYS = (
    ("In a plot: fit", ("F",), "Show everything, or what is selected."),
    ("In a plot: zoom", ("+", "-"), "See less or more, as with the wheel."),
    ("In a plot: move", ("Ctrl+Left", "Ctrl+Up"), "Move what is shown by an arrow."),
    ("In a plot: back", ("Backspace",), "The last zoom; with Shift forward again."),
    ("In a plot: point", ("Left", "Up"), "Move the cursor; Enter is a click there."),
)
"""Keys of the plots: what for, which, and what they do."""


class Asker:
    """Dialogs that return an answer, or None when the user thinks better of it."""

    def __init__(
        self,
        window: QWidget,
        settings: Settings,
        scripts: Scripts,
        explain: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep the window, what writes scripts, and what F1 does in the dialogs."""
        self._scripts = scripts
        self._window = window
        self._settings = settings
        self._explain = explain

    def _folder(self, kind: str) -> str:
        return self._settings.get(f"folder/{kind}", "")

    def _remember(self, kind: str, path: str) -> str:
        if path:
            self._settings.set(f"folder/{kind}", str(Path(path).parent))
        return path

    def model_file(self) -> str:
        """Return a model or project file."""
        folder = self._folder("model")
        path, _ = QFileDialog.getOpenFileName(self._window, "Open", folder, MODELS)
        return self._remember("model", path)

    def model_folder(self) -> str:
        """Return a model folder."""
        path = QFileDialog.getExistingDirectory(
            self._window, "Open model folder", self._folder("model")
        )
        return self._remember("model", path)

    def example(self) -> str:
        """Return an example's source."""
        texts = [f"{name}: {about}" for _, name, about in EXAMPLES]
        text, ok = QInputDialog.getItem(
            self._window, "Open an example", "&Example", texts, 0, editable=False
        )
        return EXAMPLES[texts.index(text)][0] if ok else ""

    def project_path(self, name: str) -> Path | None:
        """Return where to save a project; an existing file was confirmed."""
        start = Path(self._folder("project")) / f"{_file_name(name)}{SUFFIX}"
        path, _ = QFileDialog.getSaveFileName(
            self._window, "Save project", str(start), f"Projects (*{SUFFIX})"
        )
        if not self._remember("project", path):
            return None
        chosen = Path(path)
        return chosen if chosen.suffix else chosen.with_suffix(SUFFIX)

    def export_path(self, name: str) -> tuple[str, Path] | None:
        """Return exporter key and file; an existing file was confirmed."""
        kinds = {f"{e.title} (*{e.suffix})": e for e in EXPORTERS}
        first = EXPORTERS[0]
        start = Path(self._folder("export")) / f"{_file_name(name)}{first.suffix}"
        path, kind = QFileDialog.getSaveFileName(
            self._window, "Export assignment", str(start), ";;".join(kinds)
        )
        if not self._remember("export", path):
            return None
        chosen = Path(path)
        by_suffix = {e.suffix: e for e in EXPORTERS}
        exporter = by_suffix.get(chosen.suffix) or kinds.get(kind, first)
        if not chosen.suffix:
            chosen = chosen.with_suffix(exporter.suffix)
        return exporter.key, chosen

    def report_path(self, name: str) -> Path | None:
        """Return where to write a report; an existing file was confirmed."""
        start = Path(self._folder("export")) / f"{_file_name(name)}.html"
        path, _ = QFileDialog.getSaveFileName(
            self._window, "Write report", str(start), "HTML page (*.html)"
        )
        if not self._remember("export", path):
            return None
        chosen = Path(path)
        return chosen if chosen.suffix else chosen.with_suffix(".html")

    def analysis(
        self,
        runs_model: bool,
        has_example: bool,
        layers: int,
        first: AnalysisRequest | None = None,
    ) -> AnalysisRequest | None:
        """Return what to analyse; the form begins with `first`."""
        from app.dialogs.analyse import AnalyseDialog

        dialog = AnalyseDialog(
            self._settings,
            runs_model=runs_model,
            has_example=has_example,
            layers=layers,
            first=first,
            script=self._scripts.of_analysis,
            parent=self._window,
        )
        return dialog.request() if self._accepted(dialog) else None

    def search(
        self,
        target: str,
        locked: int,
        objectives: Sequence[str],
        formats: Sequence[str],
    ) -> SearchRequest | None:
        """Return what to search for."""
        from app.dialogs.search import SearchDialog

        dialog = SearchDialog(
            self._settings,
            target,
            locked,
            objectives,
            formats,
            self._scripts.of_search,
            self._window,
        )
        return dialog.request() if self._accepted(dialog) else None

    def _accepted(self, dialog: QDialog) -> bool:
        """Run a dialog; F1 in it explains what has the focus."""
        QShortcut(QKeySequence("F1"), dialog, self._explain)
        try:
            return dialog.exec() == QDialog.DialogCode.Accepted
        finally:
            dialog.deleteLater()

    def assignment_name(self, taken: Sequence[str]) -> str:
        """Return a name to keep an assignment under, "" for none.

        Args:
            taken: Names in use; they are offered, and choosing one replaces it.
        """
        name, agreed = QInputDialog.getItem(
            self._window,
            "Keep assignment",
            "Name (one in the list is replaced):",
            list(taken),
            -1,
            True,
        )
        return name.strip() if agreed else ""

    def delete_run(self, title: str) -> bool:
        """Ask whether a run may go; its results cannot be brought back."""
        button = QMessageBox.StandardButton
        answer = QMessageBox.question(
            self._window,
            "Quantscope",
            f"Delete this run of “{title}” with all its results?",
            button.Yes | button.Cancel,
            button.Cancel,
        )
        return answer == button.Yes

    def unsaved(self, name: str) -> QMessageBox.StandardButton:
        """Ask what to do with unsaved work."""
        what = f"{name} has changes" if name else "This project has results"
        button = QMessageBox.StandardButton
        return QMessageBox.question(
            self._window,
            "Quantscope",
            f"{what} that are not saved. Save them?",
            button.Save | button.Discard | button.Cancel,
            button.Save,
        )

    def preferences(
        self, fixed: Mapping[str, str], reset: Callable[[], None]
    ) -> Preferences | None:
        """Return other preferences; `reset` is called for the layout at once.

        Args:
            fixed: Keys that cannot be given away, with what they do.
            reset: Puts the panels back.
        """
        from app.dialogs.settings import SettingsDialog

        dialog = SettingsDialog(self._settings.preferences, fixed, self._window)
        dialog.layoutReset.connect(reset)
        return dialog.preferences() if self._accepted(dialog) else None

    def shortcuts(self, keys: Mapping[str, Sequence[str]]) -> None:
        """List every command with its keys."""
        dialog = shortcuts_dialog(self._window, keys)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.show()

    def about(self) -> None:
        """Say which version this is."""
        QMessageBox.about(
            self._window,
            "About Quantscope",
            f"<b>Quantscope {tool_version()}</b><p>A workbench for the quantization "
            "error of neural networks.</p><p>Apache License 2.0</p>",
        )


def shortcuts_dialog(
    parent: QWidget | None = None, keys: Mapping[str, Sequence[str]] | None = None
) -> QDialog:
    """Return the list of all commands, made from the table of actions.

    Args:
        parent: Owner.
        keys: Keys by command; None for those of the table.
    """
    dialog = QDialog(parent)
    dialog.setWindowTitle("Keyboard shortcuts")
    table = QTreeWidget(dialog)
    table.setAccessibleName("Commands and their keys")
    table.setRootIsDecorated(False)
    table.setAlternatingRowColors(True)
    table.setItemDelegate(RowHeight(table))
    table.setHeaderLabels(["Command", "Key", "What it does"])
    keys = default_shortcuts() if keys is None else keys
    rows = [(c.text, key_text(keys[c.key]), c.tip) for c in COMMANDS]
    rows += [
        ("&Undo", key_text(["Ctrl+Z"]), "Take the last edit back."),
        ("&Redo", key_text(["Ctrl+Shift+Z"]), "Do it again."),
        ("Show a panel", key_text(["Alt+1"]) + " …", "Bring a panel to the front."),
        *((text, key_text(some), tip) for text, some, tip in PLOT_KEYS),
    ]
    for text, shown, tip in rows:
        plain = text.replace("&", "").rstrip("…")
        table.addTopLevelItem(QTreeWidgetItem([plain, shown, tip]))
    for column, width in enumerate((30, 20, 70)):
        table.setColumnWidth(column, theme().em(width))
    buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, dialog)
    buttons.rejected.connect(dialog.reject)
    layout = QVBoxLayout(dialog)
    layout.addWidget(table)
    layout.addWidget(buttons)
    dialog.resize(theme().em(128), theme().line(36))
    return dialog


def _file_name(name: str) -> str:
    """Return a model name as a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name) or "project"
