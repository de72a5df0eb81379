"""Which columns of a table are shown, in which order and how wide; remembered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from app.settings import Settings
from app.theme import theme
from app.widgets.row_table import RowTable


class ColumnLike(Protocol):
    """What the layout needs to know of a column."""

    @property
    def key(self) -> str:
        """What it is remembered under."""
        ...

    @property
    def width(self) -> float:
        """Width at first, in digits."""
        ...

    @property
    def shown(self) -> bool:
        """Whether it is visible at first."""
        ...


class ColumnLayout:
    """Keeps order, widths and choice of columns by key.

    Columns come and go with the results of a project; Qt's own header state goes by
    number and would put the width of one column on another.

    Args:
        table: Whose header.
        settings: Where to remember; None for nowhere.
        key: Entry of the settings.
    """

    def __init__(self, table: RowTable, settings: Settings | None, key: str) -> None:
        """Read what was remembered."""
        self._table = table
        self._settings = settings
        self._key = key
        self._columns: tuple[ColumnLike, ...] = ()
        self._widths: dict[str, int] = {}
        self._shown: dict[str, bool] = {}
        self._order: list[str] = []
        self._given: dict[str, int] = {}  # widths that no person chose
        saved: dict[str, Any] = {} if settings is None else settings.get(key, {})
        self._read(saved)

    def _read(self, saved: dict[str, Any]) -> None:
        """Take over what the settings hold; a damaged part counts as absent."""
        widths, shown = saved.get("widths"), saved.get("shown")
        if isinstance(widths, dict):
            self._widths = {k: w for k, w in widths.items() if type(w) is int and w > 0}
        if isinstance(shown, dict):
            self._shown = {k: s for k, s in shown.items() if type(s) is bool}
        order = saved.get("order")
        if isinstance(order, list):
            self._order = [key for key in order if isinstance(key, str)]

    def knows(self, key: str) -> bool:
        """Return whether a person chose the width of a column, now or earlier."""
        return key in self._widths

    def fit(self, key: str, width: int) -> None:
        """Give a column the width its contents need, unless a person chose one."""
        header = self._table.horizontalHeader()
        number = [column.key for column in self._columns].index(key)
        if not self.knows(key) and header.sectionSize(number) == self._given.get(key):
            header.resizeSection(number, width)
            self._given[key] = header.sectionSize(number)

    def apply(self, columns: Sequence[ColumnLike]) -> None:
        """Give the columns, which the table has now, their places and widths."""
        self._columns = tuple(columns)
        header = self._table.horizontalHeader()
        for number, column in enumerate(columns):
            header.setSectionHidden(number, False)
            width = self._widths.get(column.key) or self._given.get(column.key)
            header.resizeSection(number, width or theme().em(column.width))
            if not self.knows(column.key):
                self._given[column.key] = header.sectionSize(number)
            shown = self._shown.get(column.key, column.shown)
            header.setSectionHidden(number, not shown)
        places = {column.key: i for i, column in enumerate(columns)}
        for place, key in enumerate(self._in_order()):
            header.moveSection(header.visualIndex(places[key]), place)

    def _in_order(self) -> list[str]:
        """Return the keys from left to right; new ones follow their neighbour."""
        keys = [column.key for column in self._columns]
        order = [key for key in self._order if key in keys]
        for number, key in enumerate(keys):
            if key not in order:
                before = keys[number - 1] if number else ""
                order.insert(order.index(before) + 1 if before else 0, key)
        return order

    def capture(self) -> None:
        """Take over what was done to the header since `apply`."""
        header = self._table.horizontalHeader()
        for number, column in enumerate(self._columns):
            self._shown[column.key] = not header.isSectionHidden(number)
            size = header.sectionSize(number)
            if self._shown[column.key] and size != self._given.get(column.key):
                self._widths[column.key] = size
        here = {column.key for column in self._columns}
        known = [
            self._columns[header.logicalIndex(place)].key
            for place in range(len(self._columns))
        ]
        # Columns of other projects keep their place at the end.
        self._order = known + [key for key in self._order if key not in here]

    def arrange(self, order: Sequence[str], shown: Sequence[str]) -> None:
        """Show exactly some columns, in an order given for all."""
        self.capture()
        here = {column.key for column in self._columns}
        self._order = [*order, *(key for key in self._order if key not in here)]
        for key in here:
            self._shown[key] = key in shown
        self.apply(self._columns)

    def reset(self) -> None:
        """Return to the order, widths and choice of the first start."""
        self._widths, self._shown, self._order = {}, {}, []
        self.apply(self._columns)

    def save(self) -> None:
        """Remember for the next session."""
        if self._settings is not None:
            self.capture()
            saved = {"order": self._order, "widths": self._widths, "shown": self._shown}
            self._settings.set(self._key, saved)
