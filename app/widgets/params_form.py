"""A form made from the parameters of a method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from PySide6.QtCore import QLocale, Signal, Slot
from PySide6.QtGui import QDoubleValidator
from PySide6.QtWidgets import QComboBox, QFormLayout, QLineEdit, QSpinBox, QWidget

from analysis.described import Described
from analysis.errors import AnalysisError
from analysis.glossary import explain_parameter
from analysis.method import ParamInfo, check_value
from app.help_topics import explain_control
from app.widgets.explain import wrapped
from app.widgets.tick_box import TickBox
from app.widgets.tick_list import TickList

LARGEST = 2**31 - 1


class ParamsForm(QWidget):
    """One row for each parameter of a method, with its help as the tooltip.

    Signals:
        changed: A row shows something else.

    Args:
        method: What is known of the method.
        values: What the rows show; the defaults where nothing is given.
        parent: Owner.
    """

    changed = Signal()

    def __init__(
        self,
        method: Described,
        values: Mapping[str, Any],
        parent: QWidget | None = None,
    ) -> None:
        """Make the rows."""
        super().__init__(parent)
        self._method = method
        self._fields: dict[str, QWidget] = {}
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for info in method.parameters:
            value = values.get(info.name, info.default)
            field = _field(info, value if _fits(info, value) else info.default)
            entry = explain_parameter(info.name, method.key)
            title = info.name if entry is None else entry.term
            field.setAccessibleName(title)
            if isinstance(field, TickList):
                field.set_title(title)
            field.setToolTip(wrapped(info.doc))
            explain_control(field, info.name, method.key)
            # Whole numbers carry their unit behind them.
            in_label = info.unit and isinstance(field, QLineEdit)
            layout.addRow(f"{title} [{info.unit}]" if in_label else title, field)
            self._listen(field)
            self._fields[info.name] = field

    def _listen(self, field: QWidget) -> None:
        if isinstance(field, QComboBox):
            field.currentTextChanged.connect(self._on_edit)
        elif isinstance(field, TickList):
            field.changed.connect(self._on_edit)
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
        return {
            info.name: value
            for info in self._method.parameters
            if (value := _value(info, self._fields[info.name])) != info.default
        }

    def mistake(self) -> str:
        """Return what is out of range; "" when nothing is."""
        for info in self._method.parameters:
            value = _value(info, self._fields[info.name])
            try:
                check_value(info, value, self._method.key)
            except AnalysisError as error:
                return str(error)
        return ""

    def restore(self) -> None:
        """Show the defaults again."""
        for info in self._method.parameters:
            _show(self._fields[info.name], info.default)


def _fits(info: ParamInfo, value: object) -> bool:
    """Return whether a value, perhaps from old settings, is one of the parameter."""
    if info.choices is not None and not isinstance(info.default, list):
        return value in info.choices
    return type(value) is type(info.default)


def _field(info: ParamInfo, value: Any) -> QWidget:
    field: QWidget
    if info.choices is not None and isinstance(info.default, list):
        field = TickList(info.choices)
    elif info.choices is not None:
        field = QComboBox()
        field.addItems([str(choice) for choice in info.choices])
    elif isinstance(info.default, bool):
        field = TickBox("")
    elif isinstance(info.default, int):
        low = 0 if info.minimum is None else int(info.minimum)
        high = LARGEST if info.maximum is None else int(info.maximum)
        field = QSpinBox()
        field.setRange(low, high)
        field.setGroupSeparatorShown(True)
        field.setSuffix(f" {info.unit}" if info.unit else "")
    else:
        field = QLineEdit()
        field.setPlaceholderText(_text(info.default))
        if isinstance(info.default, float):
            validator = QDoubleValidator(field)
            validator.setBottom(-math.inf if info.minimum is None else info.minimum)
            validator.setTop(math.inf if info.maximum is None else info.maximum)
            validator.setLocale(QLocale.c())
            field.setValidator(validator)
    _show(field, value)
    return field


def _show(field: QWidget, value: Any) -> None:
    if isinstance(field, QComboBox):
        field.setCurrentText(str(value))
    elif isinstance(field, TickList):
        field.choose(value)
    elif isinstance(field, TickBox):
        field.setChecked(value)
    elif isinstance(field, QSpinBox):
        field.setValue(value)
    elif isinstance(field, QLineEdit):
        field.setText(_text(value))


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _value(info: ParamInfo, field: QWidget) -> Any:
    if isinstance(field, QComboBox):
        return field.currentText()
    if isinstance(field, TickList):
        return field.chosen()
    if isinstance(field, TickBox):
        return field.isChecked()
    if isinstance(field, QSpinBox):
        return field.value()
    assert isinstance(field, QLineEdit)
    text = field.text()
    if isinstance(info.default, list):
        return [part.strip() for part in text.split(",") if part.strip()]
    if isinstance(info.default, float):
        with suppress(ValueError):
            return float(text)
        return info.default
    return text
