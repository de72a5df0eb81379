"""A form made from the parameters of a method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QLocale, Signal, Slot
from PySide6.QtGui import QDoubleValidator
from PySide6.QtWidgets import QComboBox, QFormLayout, QLineEdit, QSpinBox, QWidget

from analysis.glossary import explain_parameter
from analysis.method import ParamInfo, describe_params
from app.help_topics import explain_control
from app.widgets.explain import wrapped
from app.widgets.tick_box import TickBox

LARGEST = 2**31 - 1


class ParamsForm(QWidget):
    """One row for each parameter of a method class, with its help as the tooltip.

    Signals:
        changed: A row shows something else.

    Args:
        method: A frozen dataclass whose fields were made with `param`.
        values: What the rows show; the defaults where nothing is given.
        parent: Owner.
    """

    changed = Signal()

    def __init__(
        self, method: type, values: Mapping[str, Any], parent: QWidget | None = None
    ) -> None:
        """Make the rows."""
        super().__init__(parent)
        self._infos = describe_params(method)
        self._fields: dict[str, QWidget] = {}
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for info in self._infos:
            value = values.get(info.name, info.default)
            field = _field(info, value if _fits(info, value) else info.default)
            entry = explain_parameter(info.name, method.key)  # type: ignore[attr-defined]
            title = info.name if entry is None else entry.term
            field.setAccessibleName(title)
            field.setToolTip(wrapped(info.doc))
            explain_control(field, info.name, method.key)  # type: ignore[attr-defined]
            layout.addRow(title, field)
            self._listen(field)
            self._fields[info.name] = field

    def _listen(self, field: QWidget) -> None:
        if isinstance(field, QComboBox):
            field.currentTextChanged.connect(self._on_edit)
        elif isinstance(field, TickBox):
            field.toggled.connect(self._on_edit)
        elif isinstance(field, QSpinBox):
            field.valueChanged.connect(self._on_edit)
        elif isinstance(field, QLineEdit):
            field.textChanged.connect(self._on_edit)

    @Slot()
    def _on_edit(self) -> None:
        self.changed.emit()

    def values(self) -> dict[str, Any]:
        """Return the parameters that differ from their defaults."""
        given = {
            info.name: _value(info, self._fields[info.name]) for info in self._infos
        }
        return {
            info.name: given[info.name]
            for info in self._infos
            if given[info.name] != info.default
        }


def _fits(info: ParamInfo, value: object) -> bool:
    """Return whether a value, perhaps from old settings, is one of the parameter."""
    if info.choices is not None:
        return value in info.choices
    return type(value) is type(info.default)


def _field(info: ParamInfo, value: Any) -> QWidget:
    if info.choices is not None:
        box = QComboBox()
        box.addItems([str(choice) for choice in info.choices])
        box.setCurrentText(str(value))
        return box
    if isinstance(info.default, bool):
        tick = TickBox("")
        tick.setChecked(value)
        return tick
    if isinstance(info.default, int):
        low = 0 if info.minimum is None else int(info.minimum)
        high = LARGEST if info.maximum is None else int(info.maximum)
        spin = QSpinBox()
        spin.setRange(low, high)
        spin.setGroupSeparatorShown(True)
        spin.setSuffix(f" {info.unit}" if info.unit else "")
        spin.setValue(value)
        return spin
    line = QLineEdit(f"{value:g}")
    validator = QDoubleValidator(line)
    validator.setBottom(-math.inf if info.minimum is None else info.minimum)
    validator.setTop(math.inf if info.maximum is None else info.maximum)
    validator.setLocale(QLocale.c())
    line.setValidator(validator)
    line.setPlaceholderText(f"{info.default:g}")
    return line


def _value(info: ParamInfo, field: QWidget) -> Any:
    if isinstance(field, QComboBox):
        return field.currentText()
    if isinstance(field, TickBox):
        return field.isChecked()
    if isinstance(field, QSpinBox):
        return field.value()
    assert isinstance(field, QLineEdit)
    try:
        return float(field.text())
    except ValueError:
        return info.default
