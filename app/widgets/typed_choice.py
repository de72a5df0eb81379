"""A list of suggestions into which anything may be typed."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtWidgets import QComboBox, QWidget


class TypedChoice(QComboBox):
    """Takes what is typed to the letter; the list only suggests.

    Qt would go on writing by itself: "bits<=6" became "bits<=6,size<=20MB" when that
    was in the list, and the first Enter went to accept what had been added.

    Args:
        suggestions: What the list offers.
        text: What it says at first.
        width: Letters that always fit.
        parent: Owner.
    """

    def __init__(
        self,
        suggestions: Sequence[str] = (),
        text: str = "",
        *,
        width: int = 16,
        parent: QWidget | None = None,
    ) -> None:
        """Fill the list."""
        super().__init__(parent)
        self.setEditable(True)
        # Typing of Qt for Python knows no None here.
        self.setCompleter(None)  # type: ignore[arg-type]
        self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.addItems(list(suggestions))
        self.setMinimumContentsLength(width)
        self.setCurrentText(text)
