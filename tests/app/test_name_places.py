"""Places for names beside points."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QRectF, QSizeF

from app.widgets.name_places import find_places

AREA, NAME = QSizeF(400, 300), QSizeF(60, 22)
NOTHING = np.zeros((0, 2))


def test_the_best_place_is_right_of_the_point():
    (place,) = find_places(np.array([[100.0, 100.0]]), [NAME], [], AREA, NOTHING)
    assert place.anchor == (0.0, 0.5)
    assert place.offset == (10.0, 0.0)
    assert not place.is_far


def test_a_name_leaves_the_line_and_other_points_uncovered():
    point = np.array([[100.0, 100.0]])
    right = np.array([[100.0, 100.0], [5000.0, 100.0]])
    (place,) = find_places(point, [NAME], [], AREA, right)
    assert place.anchor == (1.0, 0.5)
    taken = [QRectF(40, 90, 50, 20)]
    (place,) = find_places(point, [NAME], taken, AREA, right)
    assert place.anchor == (0.5, 1.0)


def test_a_name_crosses_the_line_only_where_nothing_else_is_free():
    point = np.array([[100.0, 100.0]])
    x = np.arange(0.0, 400.0, 10.0)
    zigzag = np.stack([x, np.where(np.arange(len(x)) % 2, 0.0, 300.0)], axis=1)
    (place,) = find_places(point, [NAME], [], AREA, zigzag)
    assert place.anchor == (0.0, 0.5)


def test_no_place_means_no_name():
    points = np.array([[100.0, 100.0]])
    assert find_places(points, [NAME], [QRectF(0, 0, 400, 300)], AREA, NOTHING) == [
        None
    ]
