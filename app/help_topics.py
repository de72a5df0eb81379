"""Which page of the handbook explains a widget."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from analysis.glossary import explain_parameter
from analysis.handbook import page
from app.widgets.explain import wrapped

_PROPERTY = "helpTopic"


def set_topic(widget: QWidget, topic: str) -> None:
    """Say which page explains a widget and everything in it."""
    widget.setProperty(_PROPERTY, topic)


def explain_control(control: QWidget, parameter: str, method: str = "") -> None:
    """Give a control the tooltip and the page of the parameter it sets.

    A tooltip it has already says more about this place, and stays.
    """
    entry = explain_parameter(parameter, method)
    if entry is not None:
        set_topic(control, entry.key)
        if not control.toolTip():
            control.setToolTip(wrapped(entry.text()))


def topic_of(widget: QWidget | None) -> str | None:
    """Return the topic of a widget or of the nearest one around it with a page."""
    while widget is not None:
        topic = widget.property(_PROPERTY)
        if isinstance(topic, str) and page(topic) is not None:
            return topic
        widget = widget.parentWidget()
    return None
