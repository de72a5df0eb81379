"""Finds places for names beside points, so that they cover nothing that matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRectF, QSizeF

Points = NDArray[np.float64]

# Anchor of a name and its distance from the point [pixels], best place first.
_NEAR = (
    (0.0, 0.5, 10.0, 0.0),
    (1.0, 0.5, -10.0, 0.0),
    (0.5, 1.0, 0.0, -8.0),
    (0.5, 0.0, 0.0, 8.0),
)
_FAR = tuple(
    (0.0 if side > 0 else 1.0, 0.5, side * 9.0, step)
    for step in (-18.0, 18.0, -34.0, 34.0)
    for side in (1, -1)
)
_STEP = 3.0
"""Distance of the samples of a line that names should not cross [pixels]."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name goes.

    Attributes:
        anchor: Which part of the name lies there, as shares of its width and height.
        offset: From the point to there [pixels].
        is_far: Whether a leader has to say which point is meant.
    """

    anchor: tuple[float, float]
    offset: tuple[float, float]
    is_far: bool


def find_places(
    points: Points,
    sizes: Sequence[QSizeF],
    taken: Sequence[QRectF],
    area: QSizeF,
    line: Points,
) -> list[Place | None]:
    """Return a place for the name of every point, None where there is none.

    No name leaves the area or covers a taken place or another name; where it can be
    helped, none crosses the line.

    Args:
        points: `[names, 2]` positions [pixels].
        sizes: Size of every name.
        taken: What must stay visible.
        area: Size of the view.
        line: `[n, 2]` corners of a line [pixels]; may be empty.
    """
    whole = QRectF(0, 0, area.width(), area.height())
    occupied, samples = list(taken), _samples(line, area)
    places: list[Place | None] = []
    for (px, py), size in zip(points.tolist(), sizes, strict=True):
        crossing: tuple[Place, QRectF] | None = None
        chosen: tuple[Place, QRectF] | None = None
        for ax, ay, dx, dy in (*_NEAR, *_FAR):
            left = px + dx - ax * size.width()
            top = py + dy - ay * size.height()
            # A text item has a margin all round.
            rect = QRectF(left, top, size.width(), size.height()).adjusted(3, 4, -3, -4)
            if not whole.contains(rect) or any(map(rect.intersects, occupied)):
                continue
            found = Place((ax, ay), (dx, dy), abs(dy) > size.height()), rect
            if not _crosses(rect, samples):
                chosen = found
                break
            crossing = crossing or found
        chosen = chosen or crossing
        if chosen is not None:
            occupied.append(chosen[1])
        places.append(None if chosen is None else chosen[0])
    return places


def _samples(line: Points, area: QSizeF) -> Points:
    """Return points along a line, close together, as far as they are in view."""
    if len(line) < 2:
        return line
    # What lies outside needs no samples, however long it is.
    line = np.clip(line, -_STEP, np.array([area.width(), area.height()]) + _STEP)
    long = np.hypot(*np.diff(line, axis=0).T)
    at = np.concatenate([[0.0], np.cumsum(long)])
    along = np.arange(0.0, at[-1] + _STEP, _STEP)
    return np.stack([np.interp(along, at, line[:, i]) for i in (0, 1)], axis=1)


def _crosses(rect: QRectF, samples: Points) -> bool:
    x, y = samples[:, 0], samples[:, 1]
    inside = (rect.left() <= x) & (x <= rect.right())
    return bool((inside & (rect.top() <= y) & (y <= rect.bottom())).any())
