"""What every command of the window does: one method `do_<key>` per command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QObject, QUrl, Slot
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QApplication, QMessageBox

from analysis.errors import AnalysisError
from analysis.script import Script
from analysis.search.objective import objectives_of
from app.ask import Asker
from app.dialogs.analysis_request import SETTINGS_KEY, AnalysisRequest, summary
from app.models.compare import BASELINE
from app.models.layer_data import scheme_of_bits
from app.palettes import Palettes
from app.theme import Mode, theme
from app.widgets.row_table import RowTable

if TYPE_CHECKING:
    from app.main_window import MainWindow

NO_PANEL = "Go to a panel first, with Alt and its number."


class Commander(QObject):
    """Carries commands out, asking the user where something is missing.

    Attributes:
        ask: The dialogs.
        palettes: The boxes that find commands and layers.
    """

    def __init__(self, window: MainWindow) -> None:
        """Work for a window."""
        super().__init__(window)
        self._window = window
        self._settings = window.settings
        self._session = window.session
        self._context = window.context
        self.ask = Asker(window, window.settings, window.session.scripts, self.do_help)
        self.palettes = Palettes(window)

    @Slot(object)
    def run(self, key: object) -> None:
        """Carry out the command called `key`, if it is enabled."""
        name = str(key)
        action = self._window.actions_[name]
        if not action.isEnabled():
            return
        group, _, value = name.partition("_")
        if group == "bits":
            self._set_bits(int(value))
        elif group == "theme":
            self._set_theme(value)
        elif group == "size":
            self._resize_panel(value)
        else:
            getattr(self, f"do_{name}")()

    def _set_bits(self, bits: int) -> None:
        layers = self._context.selection.layers
        scheme = scheme_of_bits(bits, self._window.layers.model.layers.formats)
        self._context.set_weight(layers, scheme)

    def _set_theme(self, mode: str) -> None:
        chosen: Mode = "dark" if mode == "dark" else "system"
        chosen = "light" if mode == "light" else chosen
        theme().set_mode(chosen)
        self._settings.mode = chosen

    def _resize_panel(self, way: str) -> None:
        if not self._window.desk.resize(QApplication.focusWidget(), way):
            self._context.message.emit(NO_PANEL)

    def open(self, source: object) -> None:
        """Open a model or project, after asking about unsaved work."""
        if self.may_discard():
            self._session.open(str(source))

    def do_open(self) -> None:
        """Ask for a file and open it."""
        if path := self.ask.model_file():
            self.open(path)

    def do_open_folder(self) -> None:
        """Ask for a folder and open it."""
        if path := self.ask.model_folder():
            self.open(path)

    def do_open_example(self) -> None:
        """Ask which example to open."""
        if source := self.ask.example():
            self.open(source)

    @Slot()
    def do_save(self) -> None:
        """Save in place, or ask for a name."""
        project = self._context.project
        if project is not None and project.path is not None and not project.read_only:
            self._session.save(None)
        else:
            self.do_save_as()

    @Slot()
    def do_save_as(self) -> None:
        """Ask for a name and save."""
        project = self._context.project
        if project is None:
            return
        path = self.ask.project_path(project.info.name)
        if path is not None:
            self._session.save(path)

    def do_export(self) -> None:
        """Ask for a file and write the assignment."""
        project = self._context.project
        if project is None:
            return
        chosen = self.ask.export_path(project.info.name)
        if chosen is not None:
            self._session.export(*chosen)

    def do_report(self) -> None:
        """Ask for a file and write the report."""
        project = self._context.project
        if project is None:
            return
        path = self.ask.report_path(project.info.name)
        if path is not None:
            self._session.report(path)

    def do_close(self) -> None:
        """Return to the start page."""
        if self.may_discard():
            self._session.close_project()

    def do_recover(self) -> None:
        """Ask about every session that died, also those put off."""
        if not self._window.notices.offer_lost(again=True):
            self._context.message.emit("No session ended unexpectedly.")

    def do_quit(self) -> None:
        """Leave."""
        self._window.close()

    def do_copy(self) -> None:
        """Copy the selected rows."""
        self._window.layers.copy()

    def do_copy_header(self) -> None:
        """Copy the selected rows with titles."""
        self._window.layers.copy(header=True)

    def do_copy_csv(self) -> None:
        """Copy the selected rows as CSV."""
        self._window.layers.copy("csv")

    def do_copy_markdown(self) -> None:
        """Copy the selected rows as Markdown."""
        self._window.layers.copy("markdown")

    def do_select_all(self) -> None:
        """Select what the filter shows."""
        self._window.layers.select_all()

    def do_select_tied(self) -> None:
        """Add the partners of the selected layers."""
        data, chosen = self._window.layers.model.layers, self._context.selection.layers
        groups = np.unique(data.tie[chosen])
        tied = np.flatnonzero(np.isin(data.tie, groups[groups >= 0]))
        self._context.selection.set(np.union1d(chosen, tied))

    def do_select_block(self) -> None:
        """Add the other layers of the selected layers' blocks."""
        blocks = self._window.layers.model.layers.blocks
        chosen = {blocks[layer] for layer in self._context.selection.layers.tolist()}
        self._context.selection.set(
            [layer for layer, block in enumerate(blocks) if block in chosen]
        )

    def do_clear_selection(self) -> None:
        """Select nothing."""
        self._context.selection.clear()

    def do_filter(self) -> None:
        """Type a filter."""
        self._window.desk.show("layers")
        self._window.layers.focus_filter()

    def do_go_to_layer(self) -> None:
        """Find a layer by letters of its name."""
        self.palettes.layers()

    def do_palette(self) -> None:
        """Find a command by letters of its name."""
        self.palettes.commands()

    def do_find(self) -> None:
        """Type what to look for."""
        self._window.desk.show("layers")
        self._window.layers.finder.open()

    def do_find_next(self) -> None:
        """Look at the next match."""
        self._window.layers.finder.step(1)

    def do_find_previous(self) -> None:
        """Look at the match before."""
        self._window.layers.finder.step(-1)

    def do_star(self) -> None:
        """Bookmark the selected layers, or forget their bookmarks."""
        self._window.layers.finder.star()

    def do_star_next(self) -> None:
        """Look at the next bookmarked layer."""
        self._window.layers.finder.step_star(1)

    def do_star_previous(self) -> None:
        """Look at the bookmarked layer before."""
        self._window.layers.finder.step_star(-1)

    def do_next(self) -> None:
        """Look at the next layer."""
        self._window.layers.step(1)

    def do_previous(self) -> None:
        """Look at the previous layer."""
        self._window.layers.step(-1)

    def do_lock(self) -> None:
        """Lock the selected layers; unlock them when all are locked."""
        project, chosen = self._context.project, self._context.selection.layers
        if project is not None:
            all_locked = bool(project.assignment.locked[chosen].all())
            self._context.set_locked(chosen, not all_locked)

    def do_baseline(self) -> None:
        """Pin the present assignment, and compare with it from now on."""
        project = self._context.project
        if project is not None:
            project.keep_assignment(BASELINE, overwrite=True)
            self._window.compare.compare(BASELINE)
            self._context.message.emit(
                f"The baseline has {project.totals.average_bits:.2f} bits per weight; "
                "Compare shows what changes from now on."
            )

    def do_keep(self) -> None:
        """Ask for a name and keep the present assignment under it."""
        project = self._context.project
        if project is None:
            return
        name = self.ask.assignment_name(list(project.assignments))
        if name:
            self._session.keep(name)

    def do_analyse(self) -> None:
        """Ask what to analyse and start."""
        session, project = self._session, self._context.project
        last = None if project is None else project.latest_run("predicted_error")
        first = None
        if last is not None and last.data_source:
            saved = AnalysisRequest.from_saved(self._settings.get(SETTINGS_KEY, {}))
            first = saved.on_data_of(last)
        request = self._ask_analysis(first)
        if request is not None:
            session.work.analyse(request)

    def _ask_analysis(
        self, first: AnalysisRequest | None = None
    ) -> AnalysisRequest | None:
        session, project = self._session, self._context.project
        layers = 0 if project is None else len(project.info.layers)
        return self.ask.analysis(
            session.runs_model, session.work.has_example, layers, first
        )

    @Slot(object, object)
    def on_run(self, act: object, run: object) -> None:
        """Go on with a run, repeat it with changes, or delete it."""
        session, project = self._session, self._context.project
        runs = () if project is None else project.runs
        info = next((known for known in runs if known.id == run), None)
        if info is None:
            return
        if act == "resume":
            session.work.resume(info.id)
        elif act == "again":
            request = self._ask_analysis(AnalysisRequest.of_run(info))
            if request is not None:
                session.work.analyse(request)
        elif act == "script":
            self._copy_script(session.scripts.of_run(info.id))
        elif act == "delete" and self.ask.delete_run(summary([info.measure])):
            session.work.delete_run(info.id)

    def do_copy_script(self) -> None:
        """Copy the last job as a script."""
        self._copy_script(self._session.scripts.last)

    def _copy_script(self, script: Script | None) -> None:
        if script is None:
            self._context.message.emit("No job to copy yet: run an analysis first.")
            return
        QGuiApplication.clipboard().setText(script.text)
        self._context.message.emit("Copied as Python lines and as a command line.")

    def do_search(self) -> None:
        """Ask for a budget and search."""
        project = self._context.project
        if project is None:
            return
        locked = int(project.assignment.locked.sum())
        formats = self._window.layers.model.layers.formats
        request = self.ask.search(
            project.target, locked, objectives_of(project), formats
        )
        if request is not None:
            self._session.work.search(request)

    def do_evaluate(self) -> None:
        """Measure the present assignment."""
        self._session.work.evaluate()

    def do_predict_assigned(self) -> None:
        """Predict what the assignment holds and no prediction covers."""
        project = self._context.project
        if project is None:
            return
        if project.latest_run("predicted_error") is None:
            self.do_analyse()
        elif not self._session.work.predict_assigned():
            self._context.message.emit("Every scheme assigned is predicted already.")

    def do_error_map(self) -> None:
        """Picture the rounding error of the layer looked at."""
        view = self._window.error_map
        self._window.desk.show("error_map")
        layer, schemes = view.layer, tuple(view.schemes())
        if layer is not None and schemes:
            self._session.work.picture(layer.name, schemes, view.matrix)
        elif layer is not None:
            self._context.message.emit("Choose a scheme to picture its errors.")

    def do_cancel(self) -> None:
        """Stop the running job."""
        self._session.runner.cancel()

    def do_sort(self) -> None:
        """Sort the table that has the keyboard, else the layers, by its cursor."""
        focused, layers = QApplication.focusWidget(), self._window.layers.table
        table = focused if isinstance(focused, RowTable) else layers
        table.sort_by_cursor()

    def do_fold(self) -> None:
        """Fold the blocks of the selected layers, or unfold them."""
        self._window.layers.folds.toggle()

    def do_fold_all(self) -> None:
        """Fold all blocks, or unfold them."""
        self._window.layers.folds.toggle_all()

    def do_columns(self) -> None:
        """Ask for the columns of the layer table."""
        self._window.desk.show("layers")
        self._window.layers.menus.ask_columns()

    def do_detach(self) -> None:
        """Detach the panel that has the keyboard, or put it back."""
        if not self._window.desk.detach(QApplication.focusWidget()):
            self._context.message.emit(NO_PANEL)

    def do_layout_explore(self) -> None:
        """Arrange the panels for looking."""
        self._window.desk.arrange("explore")

    def do_layout_assign(self) -> None:
        """Arrange the panels for setting bits."""
        self._window.desk.arrange("assign")

    def do_layout_reset(self) -> None:
        """Put all panels back."""
        if self._context.project is not None:
            self._window.desk.arrange()

    def do_settings(self) -> None:
        """Ask for other preferences, and follow them at once."""
        fixed = self._window.fixed_keys()
        chosen = self.ask.preferences(fixed, self.do_layout_reset)
        if chosen is not None:
            self._settings.preferences = chosen
            self._session.apply_preferences()
            self._context.retell()
            theme().set_mode(chosen.mode)
            self._window.actions_[f"theme_{chosen.mode}"].setChecked(True)
            self._window.actions_.set_shortcuts(chosen.shortcuts)

    def do_help(self) -> None:
        """Explain what has the focus, in the help pane."""
        focused = QApplication.focusWidget()
        self._window.desk.show("help")
        self._window.help.explain(focused)

    def do_handbook(self) -> None:
        """Write the handbook beside the settings and open it in the browser."""
        from analysis.report import write_handbook

        path = self._settings.data_folder / "handbook.html"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_handbook(path, overwrite=True)
        except (OSError, AnalysisError) as error:
            self._context.message.emit(f"The handbook cannot be written: {error}")
            return
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
        self._context.message.emit(f"The handbook is open in the browser: {path}")

    def do_shortcuts(self) -> None:
        """List every command."""
        self.ask.shortcuts(self._window.actions_.shortcuts)

    def do_about(self) -> None:
        """Say which version this is."""
        self.ask.about()

    def may_discard(self) -> bool:
        """Ask about unsaved work; only then."""
        project = self._context.project
        if project is None or not project.dirty:
            return True
        button = self.ask.unsaved(project.path.name if project.path else "")
        if button == QMessageBox.StandardButton.Save:
            self.do_save()
            return not project.dirty
        return button == QMessageBox.StandardButton.Discard
