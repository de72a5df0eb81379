"""The pictures of the sensitivity panel that show the arrays of a single measure."""

from __future__ import annotations

import html

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, Qt, Slot
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSpinBox, QTextBrowser, QWidget

from app.models.sensitivity import Scene
from app.theme import theme
from app.views.sensitivity_pages import Caption, Missing, Page
from app.widgets.color_bar import ColorBar
from app.widgets.data_table import Table
from app.widgets.format import significant
from app.widgets.plot import Plot
from app.widgets.plot_axis import LogScale

SPECTRUM, RELEVANCE = "hessian_spectrum", "relevance"
SIGNS = "CET-CBD1"
"""Diverging and safe for the colour-blind: relevance against, and for, the answer."""
MANY_TOKENS = 2000
"""Tokens written out at most; the table has all."""
DECADES = 8.0
"""Decades of density shown below the highest one."""


class SpectrumPage(Page):
    """Density of the eigenvalues of the Hessian."""

    uses = frozenset({"log"})

    def __init__(self, parent: QWidget | None = None) -> None:
        """Make an empty picture."""
        super().__init__(parent)
        self._grid = self._density = np.zeros(0)
        self.plot = Plot("Density of the eigenvalues of the Hessian", self)
        self._curve = pg.PlotCurveItem()
        self._zero = pg.InfiniteLine(pos=0.0, angle=90, movable=False)
        for depth, item in enumerate((self._zero, self._curve)):
            item.setZValue(1 + depth)
            self.plot.addItem(item, ignoreBounds=True)
        self.column.addWidget(self.plot)
        self.plot.hovered.connect(self._on_hover)
        self.plot.fitRequested.connect(self.fitRequested)

    def draw(self, scene: Scene) -> Caption | Missing:
        """Draw the density, on a log axis unless a person wants a linear one."""
        self.scene, project = scene, scene.project
        run = project.latest_run(SPECTRUM)
        grid = project.array(f"{SPECTRUM}/grid")
        density = project.array(f"{SPECTRUM}/density")
        if run is None or grid is None or density is None or not len(grid):
            return Missing(
                "No spectrum yet",
                "Analyse the model with Hessian spectrum among the measures to see how "
                "the curvatures of its loss are spread.",
                "Analyse",
                "analyse",
            )
        self._grid, self._density = np.asarray(grid), np.asarray(density)
        scale = None
        if scene.is_log:
            floor = float(np.log10(self._density.max())) - DECADES
            scale = LogScale(floor, "≈ 0")
        self.plot.set_axis("bottom", "eigenvalue")
        self.plot.set_axis("left", "density of eigenvalues", "", scale)
        heights = self._density if scale is None else scale.to_view(self._density)
        self._curve.setPen(theme().pen("float_data", width=2))
        self._curve.setBrush(theme().brush("float_data", alpha=0.25))
        self._curve.setFillLevel(0.0 if scale is None else scale.floor)
        self._zero.setPen(theme().pen("border", style=Qt.PenStyle.DashLine))
        self._curve.setData(self._grid, heights)
        self.fit()
        layer = str(run.params.get("layer", "")) or "all layers together"
        low, high = map(significant, self._ends())
        return Caption(
            f"Spectrum of the Hessian of {layer}",
            f"Eigenvalues between {low} and {high}, by stochastic Lanczos quadrature "
            f"on {run.samples:,} samples; the area is 1.",
        )

    def _ends(self) -> tuple[float, float]:
        ritz = self.scene.project.array(f"{SPECTRUM}/ritz") if self.scene else None
        nodes = self._grid if ritz is None else np.asarray(ritz)[0]
        return float(nodes.min()), float(nodes.max())

    @Slot(object)
    def _on_hover(self, point: QPointF | None) -> None:
        text = ""
        if point is not None and len(self._grid):
            value = float(np.interp(point.x(), self._grid, self._density))
            text = f"eigenvalue {significant(point.x())}  ·  density "
            text += significant(value)
        self.said.emit(text)

    def table(self) -> Table | None:
        """Return the density on its grid."""
        titles = ("eigenvalue", "density of eigenvalues")
        return Table(titles, (self._grid.tolist(), self._density.tolist()))

    @Slot()
    def fit(self) -> None:
        """Show the whole density."""
        x, y = self._curve.getData()
        if x is None or not len(x):
            return
        low, high = float(y.min()), float(y.max())
        room = 0.04 * (high - low)
        self.plot.show_range([float(x[0]), float(x[-1])], [low, high + room])


class InputPage(Page):
    """Relevance of the input: an image as a map, text token by token."""

    uses = frozenset()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Make an empty picture."""
        super().__init__(parent)
        self._maps = np.zeros((0, 0))
        self._tokens: np.ndarray | None = None
        self.plot = Plot("Relevance of every pixel", self)
        self.image = pg.ImageItem()
        self.plot.addItem(self.image)
        self.plot.box.setAspectLocked(True)
        self.plot.box.invertY(True)
        self.text = QTextBrowser(self)
        self.text.setAccessibleName("Relevance of every token")
        self.bar = ColorBar(pg.colormap.get(SIGNS), is_log=False)
        self.number = QSpinBox()
        self.number.setAccessibleName("Sample")
        self.number.setPrefix("Sample ")
        self.number.setMinimum(1)
        self.tools = (self.number, QLabel())
        row = QHBoxLayout()
        row.addWidget(self.plot, 1)
        row.addWidget(self.text, 1)
        row.addWidget(self.bar)
        self.column.addLayout(row)
        self.number.valueChanged.connect(self.redraw)
        self.bar.limitsChanged.connect(self._on_limits)
        self.plot.hovered.connect(self._on_hover)
        self.plot.fitRequested.connect(self.fitRequested)

    def draw(self, scene: Scene) -> Caption | Missing:
        """Draw the sample that is looked at."""
        self.scene, project = scene, scene.project
        run = project.latest_run(RELEVANCE)
        maps = project.array(f"{RELEVANCE}/input")
        if run is None or maps is None or not len(maps):
            return Missing(
                "No relevance of the input yet",
                "Analyse the model with Relevance among the measures: it keeps what "
                "each pixel or token of some samples contributed.",
                "Analyse",
                "analyse",
            )
        self._maps = np.asarray(maps, np.float64)
        self._tokens = project.array(f"{RELEVANCE}/tokens")
        self.number.blockSignals(True)
        self.number.setMaximum(len(self._maps))
        self.number.blockSignals(False)
        shown = self._shown()
        worst = max(float(np.abs(shown).max()), 1e-30)
        self.bar.set_range(
            pg.colormap.get(SIGNS),
            (-worst, worst),
            (-worst, worst),
            "relevance for the answer",
            is_mirrored=True,
        )
        self.plot.setVisible(shown.ndim == 2)
        self.text.setVisible(shown.ndim == 1)
        self._colour()
        what = "pixel" if shown.ndim == 2 else "token"
        rules = str(run.params.get("rules", "")) or "default"
        return Caption(
            f"Relevance of every {what} of sample {self.number.value()}",
            f"What each {what} contributed to the answer, by the rules {rules}; it "
            f"adds up to {significant(float(shown.sum()))} of 1. "
            f"{len(self._maps):,} samples kept.",
        )

    def _shown(self) -> np.ndarray:
        """Return the relevance of one sample: `[H, W]`, else one row of numbers."""
        sample: np.ndarray = self._maps[min(self.number.value(), len(self._maps)) - 1]
        while sample.ndim > 2:  # frames of a film, slices of a volume
            sample = sample.sum(0)
        return sample if sample.ndim == 2 else sample.ravel()

    @Slot(object)
    def _on_limits(self, _limits: object) -> None:
        self._colour()

    def _colour(self) -> None:
        shown = self._shown()
        if shown.ndim == 2:
            changed = self.image.image is None or self.image.image.shape != shown.shape
            self.image.setImage(
                shown, levels=self.bar.limits, lut=self.bar.lookup(), autoLevels=False
            )
            self.plot.set_axis("bottom", "column of the image")
            self.plot.set_axis("left", "row of the image")
            if changed:
                self.fit()
        else:
            self.text.setHtml(self._page(shown))

    def token(self, place: int) -> str:
        """Return a token of the sample, its number where the text is not known."""
        if self._tokens is None:
            return f"#{place}"
        row = min(self.number.value(), len(self._tokens)) - 1
        return str(self._tokens[row, place])

    def _page(self, values: np.ndarray) -> str:
        """Return the tokens as coloured text with their numbers below the line."""
        lookup, (low, high) = self.bar.lookup(), self.bar.limits
        share = np.clip((values - low) / max(high - low, 1e-300), 0, 1)
        colours = lookup[np.rint(share * (len(lookup) - 1)).astype(int)]
        words = []
        shown = list(zip(values, colours, strict=True))[:MANY_TOKENS]
        for place, (value, colour) in enumerate(shown):
            token = self.token(place)
            if not token:
                continue
            back = QColor(*(int(c) for c in colour[:3]))
            ink = "#000000" if back.lightness() > 115 else "#ffffff"
            muted = theme().colour("muted").name()
            words.append(
                f'<span style="background-color:{back.name()};color:{ink}">&nbsp;'
                f"{html.escape(token)}&nbsp;</span>"
                f'<sub style="color:{muted}">{significant(float(value), 2)}</sub>'
            )
        if len(values) > len(shown):
            words.append(f"… and {len(values) - len(shown):,} more")
        return f'<p style="line-height:180%">{" ".join(words)}</p>'

    @Slot(object)
    def _on_hover(self, point: QPointF | None) -> None:
        text, shown = "", self._shown()
        if point is not None and shown.ndim == 2:
            row, column = int(np.floor(point.y())), int(np.floor(point.x()))
            if 0 <= row < shown.shape[0] and 0 <= column < shown.shape[1]:
                value = significant(float(shown[row, column]))
                text = f"row {row}, column {column}  ·  relevance {value}"
        self.said.emit(text)

    def table(self) -> Table | None:
        """Return the relevance of the sample, pixel by pixel or token by token."""
        shown = self._shown()
        if shown.ndim == 2:
            rows, columns = np.indices(shown.shape)
            every = (rows, columns, shown)
            titles = ("row", "column", "relevance")
            return Table(titles, tuple(part.ravel().tolist() for part in every))
        tokens = [self.token(place) for place in range(len(shown))]
        numbers = list(range(len(shown)))
        return Table(("place", "token", "relevance"), (numbers, tokens, shown.tolist()))

    @Slot()
    def fit(self) -> None:
        """Show the whole image."""
        shown = self._shown()
        if shown.ndim == 2:
            height, width = shown.shape
            self.plot.box.setRange(xRange=[0, width], yRange=[0, height], padding=0.02)
