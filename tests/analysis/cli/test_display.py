from __future__ import annotations

import pytest

from analysis.cli.display import display_missing


@pytest.mark.parametrize(
    ("environment", "platform", "shown"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "linux", False),
        ({"DISPLAY": ""}, "linux", False),
        ({}, "darwin", True),
        ({}, "win32", True),
        ({"DISPLAY": ":0", "QT_QPA_PLATFORM": "offscreen"}, "linux", False),
        ({"QT_QPA_PLATFORM": "minimal:enable_fonts"}, "darwin", False),
    ],
)
def test_display(environment: dict[str, str], platform: str, shown: bool) -> None:
    assert (display_missing(environment, platform) is None) == shown
