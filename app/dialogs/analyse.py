"""Asks what to analyse: data, samples, measures with their parameters, and formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import Slot
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from analysis.described import measures_described
from analysis.expense import Workload
from analysis.script import Script
from app.dialogs.analysis_request import (
    EXAMPLE,
    GRANULARITIES,
    INPUT_GRANULARITIES,
    INPUTS_OFFERED,
    NONE,
    OFFERED,
    RANDOM,
    RANGES,
    SETTINGS_KEY,
    AnalysisRequest,
)
from app.help_topics import explain_control, set_topic
from app.settings import Settings
from app.theme import theme
from app.widgets.measure_list import MeasureList
from app.widgets.script_button import ScriptButton
from app.widgets.scroll_column import ScrollColumn
from app.widgets.tick_box import TickBox
from app.widgets.typed_choice import TypedChoice

PARAMS_KEY = "analyse/params"
_PER_LINE = 4


class AnalyseDialog(QDialog):
    """The form of an `AnalysisRequest`.

    Args:
        settings: Where the last request and the parameters of measures are kept.
        runs_model: Whether the network itself can be run; if not, only measures
            that need no data are offered.
        has_example: Whether the model comes with data of its own.
        layers: Layers of the model, for what measures cost.
        first: What the form says at first; None for the last request.
        script: Returns the script of a request, for *Copy as script*; None to offer
            none.
        parent: Owner.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        runs_model: bool = True,
        has_example: bool = True,
        layers: int = 1,
        first: AnalysisRequest | None = None,
        script: Callable[[AnalysisRequest], Script | None] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        """Fill the form with the last request."""
        super().__init__(parent)
        self.setWindowTitle("Run analysis")
        self._settings = settings
        self._runs_model = runs_model
        self._has_example = has_example
        self._layers = layers
        last = first or AnalysisRequest.from_saved(settings.get(SETTINGS_KEY, {}))
        self._build_data(last)
        self._build_formats(last)
        repeated: dict[str, dict[str, Any]] = {}
        if first is not None:
            repeated = {key: {} for key in first.measures}
        params = self._kept() | repeated | dict(last.params)
        self._measures = MeasureList(last.measures, params, runs_model)
        self._note = QLabel()
        self._note.setWordWrap(True)
        self._buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self._run = self._buttons.addButton(
            "&Run", QDialogButtonBox.ButtonRole.AcceptRole
        )
        self._script = ScriptButton(
            lambda: script(self.request()) if script is not None else None
        )
        self._buttons.addButton(self._script, QDialogButtonBox.ButtonRole.ActionRole)
        # Not before: a button box shows what it is given.
        self._script.setVisible(script is not None)
        self._buttons.accepted.connect(self.accept)
        self._buttons.rejected.connect(self.reject)
        self._arrange()
        self._explain()
        self._measures.changed.connect(self._check)
        for box in (*self._formats, *self._inputs):
            box.toggled.connect(self._check)
        self._samples.valueChanged.connect(self._check)
        self._check()

    def _kept(self) -> dict[str, dict[str, Any]]:
        """Return the parameters of every measure, by its key."""
        none: dict[str, dict[str, Any]] = {}
        return self._settings.get(PARAMS_KEY, none)

    def _build_data(self, last: AnalysisRequest) -> None:
        self._data = TypedChoice([EXAMPLE, RANDOM] if self._has_example else [RANDOM])
        self._data.setAccessibleName("Calibration data")
        if last.data not in (EXAMPLE, RANDOM, NONE):
            self._data.addItem(last.data)
        own = "example, " if self._has_example else ""
        self._data.setToolTip(
            f"{own}random, the path of a .npz, .npy, .h5, .safetensors, .txt or "
            ".jsonl file or of an image folder, or package.module:callable"
        )
        usable = self._has_example or last.data != EXAMPLE
        self._data.setCurrentText(last.data if usable else NONE)
        line = self._data.lineEdit()
        assert line is not None
        line.setPlaceholderText("A file of texts, tokens or arrays, or random")
        self._data.currentTextChanged.connect(self._check)
        self._browse = QPushButton("&Browse…")
        self._browse.clicked.connect(self._on_browse)
        self._samples = _spin(1, 1_000_000, last.samples)
        self._length = _spin(1, 1_000_000, last.max_length)
        self._length.setToolTip(
            "Tokens per sample, for models of text; longer texts are cut"
        )
        self._seed = _spin(0, 2**31 - 1, last.seed)

    def _build_formats(self, last: AnalysisRequest) -> None:
        self._formats = _tick_boxes(OFFERED, last.formats, "Weights in")
        self._granularity = _combo(GRANULARITIES, last.granularity)
        self._range = QComboBox()
        for key, text in RANGES:
            self._range.addItem(text, key)
        self._range.setCurrentIndex(max(0, self._range.findData(last.range)))
        self._inputs = _tick_boxes(INPUTS_OFFERED, last.input_formats, "Inputs in")
        self._input_granularity = _combo(INPUT_GRANULARITIES, last.input_granularity)
        for box in (*self._inputs, self._input_granularity):
            box.setEnabled(self._runs_model)

    def _arrange(self) -> None:
        left = QVBoxLayout()
        left.addWidget(self._data_group())
        shape: list[tuple[str, QWidget]] = [
            ("One scale per", self._granularity),
            ("Range of the scale", self._range),
        ]
        left.addWidget(_formats_group("Weight formats", self._formats, shape))
        shape = [("One range per", self._input_granularity)]
        left.addWidget(_formats_group("Input formats", self._inputs, shape))
        left.addStretch(1)
        measures = QGroupBox("Measures")
        column = QVBoxLayout(measures)
        column.addWidget(self._measures)
        column.addStretch(1)
        settings = QWidget()
        settings.setLayout(left)
        left.setContentsMargins(0, 0, 0, 0)
        columns = QHBoxLayout()
        columns.addWidget(ScrollColumn(settings), 2)
        columns.addWidget(ScrollColumn(measures), 3)
        layout = QVBoxLayout(self)
        layout.setSpacing(theme().line(0.6))
        layout.addLayout(columns, 1)
        layout.addWidget(self._note)
        layout.addWidget(self._buttons)
        # What a screen cannot show scrolls.
        screen = self.screen().availableSize()
        self.resize(
            min(theme().em(100), screen.width() * 19 // 20),
            min(theme().line(38), screen.height() * 9 // 10),
        )

    def _data_group(self) -> QGroupBox:
        row = QHBoxLayout()
        row.addWidget(self._data, 1)
        row.addWidget(self._browse)
        data = QGroupBox("Data")
        form = QFormLayout(data)
        label = QLabel("Calibration &data")
        label.setBuddy(self._data)
        form.addRow(label, row)
        form.addRow("&Samples", self._samples)
        form.addRow("&Tokens each", self._length)
        form.addRow("S&eed", self._seed)
        return data

    def _explain(self) -> None:
        """Give every control its name, its tooltip and its page of help."""
        for box in (*self._formats, *self._inputs):
            set_topic(box, f"format:{box.text()}")
        explained: tuple[tuple[str, str, QWidget], ...] = (
            ("data", "Calibration data", self._data),
            ("samples", "Samples", self._samples),
            ("max_length", "Tokens per sample", self._length),
            ("seed", "Seed", self._seed),
            ("granularity", "One scale per", self._granularity),
            ("range", "Range of the scale", self._range),
            ("inputs", "One range of inputs per", self._input_granularity),
        )
        for parameter, name, control in explained:
            control.setAccessibleName(name)
            explain_control(control, parameter)

    def request(self) -> AnalysisRequest:
        """Return what the form says."""
        chosen, params = self._measures.chosen(), self._measures.params()
        return AnalysisRequest(
            data=self._data.currentText().strip(),
            samples=self._samples.value(),
            max_length=self._length.value(),
            seed=self._seed.value(),
            measures=chosen,
            formats=_ticked(self._formats),
            granularity=self._granularity.currentText(),
            range=str(self._range.currentData()),
            input_formats=_ticked(self._inputs),
            input_granularity=self._input_granularity.currentText(),
            params={key: params[key] for key in chosen if key in params},
        )

    def mistake(self) -> str:
        """Return what keeps the form from being run; "" when nothing does."""
        request = self.request()
        if not request.measures:
            return "Choose at least one measure."
        if not request.formats:
            return "Choose at least one format."
        wrong = self._measures.mistake()
        known = measures_described()
        if wrong or not any(known[key].needs_data for key in request.measures):
            return wrong
        if request.data == NONE:
            return "Choose calibration data; only weight statistics need none."
        if request.data == EXAMPLE and not self._has_example:
            return "Only the bundled examples come with data of their own."
        is_named = request.data in (EXAMPLE, RANDOM) or ":" in request.data
        if not is_named and not Path(request.data).expanduser().exists():
            return "There is no such file or folder."
        return ""

    @Slot()
    def _check(self, *_: object) -> None:
        work = Workload(
            self._layers,
            len(_ticked(self._formats)),
            len(_ticked(self._inputs)),
            self._samples.value(),
        )
        self._measures.show_cost(work)
        mistake = self.mistake()
        note, role = mistake, "danger"
        if not mistake and self.request().data == RANDOM:
            note = "Random inputs are a guess: errors on real data may differ a lot."
            role = "warning"
        elif not mistake and not self._runs_model:
            note = "Only the tensors were opened, so the network cannot be run."
            role = "muted"
        self._note.setText(note)
        self._note.setStyleSheet(f"color: {getattr(theme().colours, role)}")
        self._run.setEnabled(not mistake)
        self._script.renew(not mistake)

    @Slot()
    def _on_browse(self) -> None:
        folder = self._settings.get("folder/data", "")
        path, _ = QFileDialog.getOpenFileName(
            self,
            "Calibration data",
            folder,
            "Data (*.npz *.npy *.h5 *.safetensors *.txt *.jsonl);;All files (*)",
        )
        if path:
            self._settings.set("folder/data", str(Path(path).parent))
            self._data.setCurrentText(path)

    def accept(self) -> None:
        """Remember the request and the parameters of all measures."""
        if self.mistake():
            return
        self._settings.set(SETTINGS_KEY, self.request().to_save())
        self._settings.set(PARAMS_KEY, self._measures.params())
        super().accept()


def _formats_group(
    title: str, boxes: Sequence[TickBox], shape: Sequence[tuple[str, QWidget]]
) -> QGroupBox:
    group = QGroupBox(title)
    grid = QGridLayout()
    for number, box in enumerate(boxes):
        grid.addWidget(box, number // _PER_LINE, number % _PER_LINE)
    form = QFormLayout()
    for label, control in shape:
        form.addRow(label, control)
    column = QVBoxLayout(group)
    column.addLayout(grid)
    column.addLayout(form)
    return group


def _tick_boxes(names: Sequence[str], checked: Sequence[str], of: str) -> list[TickBox]:
    boxes = []
    for name in names:
        box = TickBox(name)
        box.setChecked(name in checked)
        box.setAccessibleName(f"{of} {name}")
        boxes.append(box)
    return boxes


def _ticked(boxes: Sequence[TickBox]) -> tuple[str, ...]:
    return tuple(box.text() for box in boxes if box.isChecked())


def _combo(texts: Sequence[str], text: str) -> QComboBox:
    box = QComboBox()
    box.addItems(list(texts))
    box.setCurrentText(text)
    return box


def _spin(low: int, high: int, value: int) -> QSpinBox:
    box = QSpinBox()
    box.setRange(low, high)
    box.setGroupSeparatorShown(True)
    box.setValue(value)
    return box
