"""The plot every panel uses: themed, with units and a read-out."""

from __future__ import annotations

from typing import Any

import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QWidget

from app.theme import theme
from app.widgets.plot_axis import LogScale, PlotAxis, Side
from app.widgets.plot_keys import move_by_key

# Without it pyqtgraph shows every array transposed; it is read when items are made.
pg.setConfigOption("imageAxisOrder", "row-major")

FRAME_MS = 16
HISTORY = 50


class PlotBox(pg.ViewBox):
    """A view that pans by dragging and zooms into a box drawn with Shift.

    Attributes:
        chooses: Whether a box drawn with Ctrl chooses what lies in it.

    Signals:
        boxed: `QRectF` in view coordinates that was drawn with Ctrl, and whether
            Shift was held as well.
    """

    boxed = Signal(object, object)

    def __init__(self) -> None:
        """Make a view in which nothing is chosen by a box."""
        super().__init__()
        self.chooses = False

    def mouseDragEvent(self, ev: Any, axis: int | None = None) -> None:
        """Pan, zoom into a box while Shift is held, or choose by one with Ctrl."""
        shift = bool(ev.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        control = bool(ev.modifiers() & Qt.KeyboardModifier.ControlModifier)
        if control and self.chooses and ev.button() == Qt.MouseButton.LeftButton:
            self._draw_box(ev, shift)
            return
        self.state["mouseMode"] = self.RectMode if shift else self.PanMode
        super().mouseDragEvent(ev, axis)

    def updateScaleBox(self, p1: QPointF, p2: QPointF) -> None:  # noqa: N802
        """Draw the box between two places, in the colours of the theme."""
        self.rbScaleBox.setPen(theme().pen("accent"))
        self.rbScaleBox.setBrush(theme().brush("accent", alpha=0.15))
        super().updateScaleBox(p1, p2)

    def _draw_box(self, ev: Any, adds: bool) -> None:
        ev.accept()
        first, last = ev.buttonDownPos(), ev.pos()
        if not ev.isFinish():
            self.updateScaleBox(first, last)
            return
        self.rbScaleBox.hide()
        ends = (self.mapToView(end) for end in (first, last))
        self.boxed.emit(QRectF(*ends).normalized(), adds)


class Plot(pg.PlotWidget):
    """A themed plot with a cross-hair, clicks in view coordinates and zoom history.

    Keys: `F` fits, `Backspace` goes to the previous zoom, `Shift+Backspace` forward,
    `+` and `-` zoom as the wheel does, `Ctrl` with an arrow moves as dragging does.

    Signals:
        hovered: `QPointF` in view coordinates under the mouse, None when it left.
        clicked: `QPointF` in view coordinates and the keyboard modifiers.
        fitRequested: The person asked for the fitting view.
    """

    hovered = Signal(object)
    clicked = Signal(object, object)
    fitRequested = Signal()

    def __init__(
        self,
        name: str,
        parent: QWidget | None = None,
        axes: dict[str, PlotAxis] | None = None,
    ) -> None:
        """Make an empty plot; `name` is what a screen reader says."""
        # PlotWidget takes over attributes of its item, so ours are set after it.
        items = {"left": PlotAxis("left"), "bottom": PlotAxis("bottom")} | (axes or {})
        super().__init__(parent, axisItems=items, viewBox=PlotBox())
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setFrameShape(self.Shape.NoFrame)
        self.setMenuEnabled(False)
        self.hideButtons()
        self.box: PlotBox = self.getViewBox()
        self.cross_hair = tuple(
            pg.InfiniteLine(angle=angle, movable=False) for angle in (90, 0)
        )
        for line in self.cross_hair:
            line.setZValue(50)
            line.setVisible(False)
            self.addItem(line, ignoreBounds=True)
        self._position: QPointF | None = None
        self._frame = _timer(self, FRAME_MS, self._emit_hover)
        self._settle = _timer(self, 350, self._keep_range)
        self._past: list[list[list[float]]] = []
        self._future: list[list[list[float]]] = []
        self._range = self.box.viewRange()
        self.box.sigRangeChangedManually.connect(self._settle_later)
        self.scene().sigMouseClicked.connect(self._on_click)
        theme().themeChanged.connect(self._on_theme)
        # Not the override of a subclass: its items do not exist yet.
        Plot.apply_theme(self)

    def close(self) -> None:
        """Let go of the theme too: pyqtgraph takes its closed plots apart."""
        if self.plotItem is not None:
            theme().themeChanged.disconnect(self._on_theme)
            for timer in (self._frame, self._settle):
                timer.stop()
            super().close()

    # -- axes ----------------------------------------------------------------------

    def axis(self, side: Side) -> PlotAxis:
        """Return an axis of the plot."""
        return self.getAxis(side)

    def set_axis(
        self, side: Side, title: str, unit: str = "", scale: LogScale | None = None
    ) -> None:
        """Set title, unit and scale of an axis."""
        axis = self.axis(side)
        axis.set_title(title, unit)
        axis.set_scale(scale)

    def to_value(self, side: Side, position: float) -> float:
        """Return the value an axis shows at a view coordinate."""
        scale = self.axis(side).scale_log
        return float(position) if scale is None else scale.to_value(position)

    # -- look ----------------------------------------------------------------------

    @Slot()
    def _on_theme(self) -> None:
        # Qt lets go of a slot with its object only if no subclass overrides it, so
        # what is connected is this one and not `apply_theme`.
        self.apply_theme()

    def apply_theme(self) -> None:
        """Take the colours of the theme; pyqtgraph ignores the palette."""
        self.setBackground(theme().colour("base"))
        for side in ("left", "right", "top", "bottom"):
            axis = self.getAxis(side)
            if isinstance(axis, PlotAxis):
                axis.apply_theme()
        pen = theme().pen("muted", style=Qt.PenStyle.DashLine)
        for line in self.cross_hair:
            line.setPen(pen)

    # -- mouse ---------------------------------------------------------------------

    def mousePressEvent(self, ev: QMouseEvent) -> None:
        """Keep the press: it is meant for no widget behind the plot."""
        super().mousePressEvent(ev)
        ev.accept()

    def mouseReleaseEvent(self, ev: QMouseEvent) -> None:
        """Keep the release, like the press."""
        super().mouseReleaseEvent(ev)
        ev.accept()

    def mouseMoveEvent(self, ev: QMouseEvent) -> None:
        """Pass the move on, and tell the read-out at most once a frame."""
        super().mouseMoveEvent(ev)
        self._position = ev.position()
        if not self._frame.isActive():
            self._frame.start()

    def leaveEvent(self, ev: Any) -> None:
        """Hide the cross-hair and clear the read-out."""
        super().leaveEvent(ev)
        self._position = None
        self._frame.stop()
        self._emit_hover()

    @Slot()
    def _emit_hover(self) -> None:
        point = None
        if self._position is not None:
            scene = self.mapToScene(self._position.toPoint())
            if self.box.sceneBoundingRect().contains(scene):
                point = self.box.mapSceneToView(scene)
        for line, position in zip(
            self.cross_hair,
            (None, None) if point is None else (point.x(), point.y()),
            strict=True,
        ):
            line.setVisible(position is not None)
            if position is not None:
                line.setValue(position)
        self.hovered.emit(point)

    @Slot(object)
    def _on_click(self, event: Any) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            return
        inside = self.box.sceneBoundingRect().contains(event.scenePos())
        if inside and not event.double():
            point = self.box.mapSceneToView(event.scenePos())
            self.clicked.emit(point, event.modifiers())

    # -- zoom ----------------------------------------------------------------------

    @Slot()
    def _settle_later(self, *_: object) -> None:
        self._settle.start()

    @Slot()
    def _keep_range(self) -> None:
        """Remember where the view was before a pan or zoom that has come to rest."""
        self._past.append(self._range)
        del self._past[:-HISTORY]
        self._future.clear()
        self._range = self.box.viewRange()

    def zoom_back(self) -> None:
        """Return to the view before the last pan or zoom."""
        self._step(self._past, self._future)

    def zoom_forward(self) -> None:
        """Undo `zoom_back`."""
        self._step(self._future, self._past)

    def _step(self, source: list[Any], target: list[Any]) -> None:
        if self._settle.isActive():
            self._settle.stop()
            self._keep_range()
        if source:
            target.append(self.box.viewRange())
            self.show_range(*source.pop())

    def show_range(self, x: list[float], y: list[float]) -> None:
        """Show a range of view coordinates, exactly."""
        self.box.setRange(xRange=x, yRange=y, padding=0, disableAutoRange=True)
        self._range = self.box.viewRange()

    def keyPressEvent(self, ev: QKeyEvent) -> None:
        """Handle the zoom keys, leave the others to the panel."""
        key, shift = ev.key(), ev.modifiers() & Qt.KeyboardModifier.ShiftModifier
        if key == Qt.Key.Key_F and not ev.modifiers():
            self.fitRequested.emit()
        elif key == Qt.Key.Key_Backspace:
            (self.zoom_forward if shift else self.zoom_back)()
        elif not move_by_key(self.box, ev):
            ev.ignore()


def _timer(parent: Plot, interval: int, slot: Any) -> QTimer:
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(interval)
    timer.timeout.connect(slot)
    return timer
