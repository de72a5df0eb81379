"""A widget with plots as a picture file: crisp at any scale, the same in any viewer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyqtgraph as pg
from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QPoint, QRect, QSize, Qt
from PySide6.QtGui import QImage, QPainter
from PySide6.QtSvg import QSvgGenerator
from PySide6.QtWidgets import QGraphicsView, QWidget

MARGIN = 8
"""White around a picture, so that no letter touches its edge [pixels of the screen]."""
_FIXES = (
    # A family that the viewer lacks must not become one with serifs.
    (b'" font-size="', b', sans-serif" font-size="'),
    # Browsers smooth what Qt calls fast: a cell of a heatmap would bleed into others.
    (
        b'image-rendering="optimizeSpeed"',
        b'image-rendering="optimizeSpeed" style="image-rendering:pixelated"',
    ),
)


def picture_size(widget: QWidget) -> QSize:
    """Return the size of the picture of a widget at scale 1."""
    return widget.size() + QSize(2 * MARGIN, 2 * MARGIN)


def to_image(widget: QWidget, scale: int) -> QImage:
    """Return a widget on white, `scale` pixels for one on the screen."""
    image = QImage(picture_size(widget) * scale, QImage.Format.Format_RGB32)
    image.fill(Qt.GlobalColor.white)
    painter = QPainter(image)
    painter.scale(scale, scale)
    _paint(widget, painter)
    painter.end()
    return image


def write_svg(widget: QWidget, path: Path, title: str) -> None:
    """Write a widget as SVG on white.

    Raises:
        OSError: the file cannot be written.
    """
    size, data = picture_size(widget), QByteArray()
    buffer = QBuffer(data)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    generator = QSvgGenerator()
    generator.setOutputDevice(buffer)
    generator.setSize(size)
    generator.setViewBox(QRect(QPoint(0, 0), size))
    generator.setTitle(title)
    painter = QPainter(generator)
    # Some SVG readers take a missing background for black.
    painter.fillRect(QRect(QPoint(0, 0), size), Qt.GlobalColor.white)
    _paint(widget, painter)
    painter.end()
    text = bytes(data.data())
    for found, better in _FIXES:
        text = text.replace(found, better)
    path.write_bytes(text)


def _paint(widget: QWidget, painter: QPainter) -> None:
    flags = QWidget.RenderFlag.DrawChildren
    with _symbols_as_shapes(widget):
        widget.render(painter, QPoint(MARGIN, MARGIN), renderFlags=flags)


@contextmanager
def _symbols_as_shapes(widget: QWidget) -> Iterator[None]:
    """Let scatter plots draw each symbol, not copy it from a sheet of small pixmaps.

    Of such a copy an SVG holds the whole sheet, and a finer picture coarse pixels.
    """
    scatters = [
        item
        for view in widget.findChildren(QGraphicsView)
        for item in view.scene().items()
        if isinstance(item, pg.ScatterPlotItem)
    ]
    for item in scatters:
        item.setExportMode(True, {})
    try:
        yield
    finally:
        for item in scatters:
            item.setExportMode(False)
