"""Whether a window can be shown here."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

HEADLESS_PLATFORMS = ("offscreen", "minimal", "vnc")


def display_missing(
    environment: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> str | None:
    """Return why no window can be shown, or None when one can."""
    chosen = environment.get("QT_QPA_PLATFORM", "").split(":")[0]
    if chosen in HEADLESS_PLATFORMS:
        return f"QT_QPA_PLATFORM is {chosen}."
    if platform in ("darwin", "win32"):
        return None
    if environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"):
        return None
    return "Neither DISPLAY nor WAYLAND_DISPLAY is set."
