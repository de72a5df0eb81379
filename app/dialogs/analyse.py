"""Asks what to analyse: data, samples, measures and formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
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

from analysis.measures import DEFAULT
from analysis.messages import FORMATS, DataRequest
from analysis.runs import RunInfo
from analysis.script import Script
from app.help_topics import explain_control, set_topic
from app.settings import Settings
from app.theme import theme
from app.widgets.script_button import ScriptButton
from app.widgets.tick_box import TickBox
from quant_core.errors import QuantError
from quant_core.scheme import Scheme, parse_scheme

SETTINGS_KEY = "analyse"
EXAMPLE, RANDOM, NONE = "example", "random", ""
_DATA = DataRequest(EXAMPLE)
MEASURES: tuple[tuple[str, str, str], ...] = (
    (
        "weights",
        "Weight statistics",
        "Histogram, channel ranges, outliers and SQNR of every layer. Needs no data.",
    ),
    (
        "activations",
        "Activation statistics",
        "Histogram, channel ranges and outliers of every layer input.",
    ),
    (
        "predicted_error",
        "Predicted error",
        "How far the output moves, for every layer and format at once.",
    ),
    (
        "relevance",
        "Relevance",
        "How much of the answer passes each layer, by AttnLRP; one forward and one "
        "backward pass.",
    ),
    (
        "measured_error",
        "Measured error, layer by layer",
        "Runs the model once per layer and format: slow, for verification.",
    ),
)
OFFERED = (
    "int2",
    "int3",
    "int4",
    "int5",
    "int6",
    "int7",
    "int8",
    "fp4_e2m1",
    "fp6_e3m2",
    "fp8_e4m3",
    "fp8_e5m2",
    "nf4",
)
GRANULARITIES = ("channel", "tensor", "group(32)", "group(64)", "group(128)")
RANGES = (
    ("minmax", "Smallest to largest value"),
    ("mse", "Least squared rounding error"),
    ("percentile(99.9)", "99.9th percentile"),
)


@dataclass(frozen=True)
class AnalysisRequest:
    """What the user asks for.

    Attributes:
        data: "example", "random", a path, `package.module:callable`, or "" for none.
        samples: Calibration samples to use at most.
        max_length: Tokens per sample at most, for text.
        seed: Seed of every random draw.
        measures: Keys of the measures.
        formats: Number formats of the weights.
        granularity: What shares a scale.
        range: How a scale is chosen.
        inputs: Whether int8 input activations are judged as well.
    """

    data: str = EXAMPLE
    samples: int = _DATA.samples
    max_length: int = _DATA.max_length
    seed: int = _DATA.seed
    measures: tuple[str, ...] = DEFAULT
    formats: tuple[str, ...] = FORMATS
    granularity: str = "channel"
    range: str = "minmax"
    inputs: bool = True

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """Weight schemes, in the order of the table of formats."""
        return tuple(
            parse_scheme(f"{name}/{self.granularity}/{self.range}")
            for name in OFFERED
            if name in self.formats
        )

    @property
    def input_schemes(self) -> tuple[Scheme, ...]:
        """Schemes of the input activations."""
        return (Scheme("int8", "tensor"),) if self.inputs else ()

    @classmethod
    def of_run(cls, run: RunInfo) -> AnalysisRequest:
        """Return the request that would repeat a run, as far as the form can say."""
        default = cls()
        schemes = [parse_scheme(key) for key in run.params.get("schemes", [])]
        first = schemes[0] if schemes else Scheme("int8")
        ranges = [key for key, _ in RANGES]
        return cls(
            data=run.data_source or default.data,
            samples=int(run.params.get("samples", default.samples)),
            max_length=int(run.params.get("max_length", default.max_length)),
            seed=run.seed,
            measures=(run.measure,),
            formats=tuple(s.format for s in schemes if s.format in OFFERED),
            granularity=first.granularity,
            range=first.range if first.range in ranges else default.range,
            inputs=bool(run.params.get("input_schemes", default.inputs)),
        )

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any]) -> AnalysisRequest:
        """Return a request kept in the settings; odd entries give the default."""
        default = cls()
        chosen: dict[str, Any] = {}
        for name, value in asdict(default).items():
            kept = saved.get(name)
            if isinstance(value, tuple) and isinstance(kept, list):
                chosen[name] = tuple(map(str, kept))
            elif type(kept) is type(value):
                chosen[name] = kept
        request = cls(**chosen)
        try:
            usable = bool(request.schemes)
        except QuantError:
            usable = False
        return request if usable else default


class AnalyseDialog(QDialog):
    """The form of an `AnalysisRequest`.

    Args:
        settings: Where the last request is kept.
        runs_model: Whether the network itself can be run; if not, only weight
            statistics are offered.
        has_example: Whether the model comes with data of its own.
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
        last = first or AnalysisRequest.from_saved(settings.get(SETTINGS_KEY, {}))
        self._build_data(last)
        self._measures = [
            _tick_box(title, tip, key in last.measures) for key, title, tip in MEASURES
        ]
        for (key, _, _), box in zip(MEASURES, self._measures, strict=True):
            set_topic(box, f"measure:{key}")
        self._formats = [_tick_box(name, "", name in last.formats) for name in OFFERED]
        for name, box in zip(OFFERED, self._formats, strict=True):
            set_topic(box, f"format:{name}")
        self._granularity = QComboBox()
        self._granularity.addItems(GRANULARITIES)
        self._granularity.setCurrentText(last.granularity)
        self._range = QComboBox()
        for key, text in RANGES:
            self._range.addItem(text, key)
        self._range.setCurrentIndex(max(0, self._range.findData(last.range)))
        self._inputs = _tick_box(
            "Input activations in int8 as well",
            "Judge what rounding the inputs of every layer to int8 does.",
            last.inputs,
        )
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
        for box in (*self._measures, *self._formats):
            box.toggled.connect(self._check)
        self._check()

    def _build_data(self, last: AnalysisRequest) -> None:
        self._data = QComboBox()
        self._data.setEditable(True)
        self._data.setAccessibleName("Calibration data")
        self._data.addItems([EXAMPLE, RANDOM] if self._has_example else [RANDOM])
        if last.data not in (EXAMPLE, RANDOM, NONE):
            self._data.addItem(last.data)
        self._data.setMinimumContentsLength(30)
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

    def _arrange(self) -> None:
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
        measures = QGroupBox("Measures")
        column = QVBoxLayout(measures)
        for box in self._measures:
            column.addWidget(box)
        formats = QGroupBox("Weight formats")
        grid = QGridLayout()
        for number, box in enumerate(self._formats):
            grid.addWidget(box, number // 4, number % 4)
        shape = QFormLayout()
        shape.addRow("One scale per", self._granularity)
        shape.addRow("Range of the scale", self._range)
        column = QVBoxLayout(formats)
        column.addLayout(grid)
        column.addLayout(shape)
        column.addWidget(self._inputs)
        layout = QVBoxLayout(self)
        layout.setSpacing(theme().line(0.6))
        for widget in (data, measures, formats, self._note, self._buttons):
            layout.addWidget(widget)
        named: tuple[tuple[str, QWidget], ...] = (
            ("Samples", self._samples),
            ("Tokens per sample", self._length),
            ("Seed", self._seed),
            ("One scale per", self._granularity),
            ("Range of the scale", self._range),
        )
        for name, control in named:
            control.setAccessibleName(name)
        explained: tuple[tuple[str, QWidget], ...] = (
            ("data", self._data),
            ("samples", self._samples),
            ("max_length", self._length),
            ("seed", self._seed),
            ("granularity", self._granularity),
            ("range", self._range),
            ("inputs", self._inputs),
        )
        for parameter, control in explained:
            explain_control(control, parameter)

    def request(self) -> AnalysisRequest:
        """Return what the form says."""
        return AnalysisRequest(
            data=self._data.currentText().strip(),
            samples=self._samples.value(),
            max_length=self._length.value(),
            seed=self._seed.value(),
            measures=tuple(
                key
                for (key, _, _), box in zip(MEASURES, self._measures, strict=True)
                if box.isChecked() and box.isEnabled()
            ),
            formats=tuple(box.text() for box in self._formats if box.isChecked()),
            granularity=self._granularity.currentText(),
            range=str(self._range.currentData()),
            inputs=self._inputs.isChecked(),
        )

    def mistake(self) -> str:
        """Return what keeps the form from being run; "" when nothing does."""
        request = self.request()
        if not request.measures:
            return "Choose at least one measure."
        if not request.formats:
            return "Choose at least one format."
        if request.measures == ("weights",):
            return ""
        if request.data == NONE:
            return "Choose calibration data; only weight statistics need none."
        if request.data == EXAMPLE and not self._has_example:
            return "Only the bundled examples come with data of their own."
        known = request.data in (EXAMPLE, RANDOM) or ":" in request.data
        if not known and not Path(request.data).expanduser().exists():
            return "There is no such file or folder."
        return ""

    @Slot()
    def _check(self, *_: object) -> None:
        for measure, box in zip(MEASURES, self._measures, strict=True):
            box.setEnabled(self._runs_model or measure[0] == "weights")
        self._inputs.setEnabled(self._runs_model)
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
        """Remember the request."""
        if self.mistake():
            return
        saved = asdict(self.request())
        self._settings.set(
            SETTINGS_KEY,
            {k: list(v) if isinstance(v, tuple) else v for k, v in saved.items()},
        )
        super().accept()


def _tick_box(text: str, tip: str, checked: bool) -> TickBox:
    box = TickBox(text)
    box.setToolTip(tip)
    box.setChecked(checked)
    return box


def _spin(low: int, high: int, value: int) -> QSpinBox:
    box = QSpinBox()
    box.setRange(low, high)
    box.setGroupSeparatorShown(True)
    box.setValue(value)
    return box


def summary(measures: Sequence[str]) -> str:
    """Return what a run of these measures is called in lists."""
    titles = {key: title for key, title, _ in MEASURES}
    return ", ".join(titles.get(key, key) for key in measures)
