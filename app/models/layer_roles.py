"""What a cell of the layer table can be asked for, as plain numbers.

A cell is asked for fifteen roles at every paint, and looking a member up in an
enumeration costs more than answering.
"""

from __future__ import annotations

from PySide6.QtCore import Qt

_Role = Qt.ItemDataRole
DISPLAY, ALIGN = int(_Role.DisplayRole), int(_Role.TextAlignmentRole)
INK, PAPER = int(_Role.ForegroundRole), int(_Role.BackgroundRole)
TIP, SPOKEN = int(_Role.ToolTipRole), int(_Role.AccessibleTextRole)
BITS_ROLE = int(_Role.UserRole)
BAR_ROLE = BITS_ROLE + 1
LAYER_ROLE = BITS_ROLE + 2
TIED_ROLE = BITS_ROLE + 3
ASKED = frozenset(
    (
        DISPLAY,
        ALIGN,
        INK,
        PAPER,
        TIP,
        SPOKEN,
        BITS_ROLE,
        BAR_ROLE,
        LAYER_ROLE,
        TIED_ROLE,
    )
)
"""All that are answered."""
