"""Say what this installation has: versions, devices, memory, display, extras.

Its output belongs into every bug report. Exits with 1 when something that
Quantscope needs is missing.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from importlib import metadata

from analysis.cli.codes import DONE, FAILED
from analysis.cli.display import display_missing
from analysis.cli.terminal import Terminal, size, table
from analysis.version import tool_version

REQUIRED = ("torch", "numpy", "scipy", "h5py", "safetensors", "psygnal")
WINDOW = ("PySide6-Essentials", "pyqtgraph", "superqt")
OPTIONAL = {
    "transformers": "Hugging Face folders (pip install 'quantscope[hf]')",
    "tokenizers": "text files as data (pip install 'quantscope[hf]')",
    "Pillow": "image folders as data (pip install pillow)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command: none of its own."""


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print the findings."""
    found = {name: version(name) for name in (*REQUIRED, *WINDOW, *OPTIONAL)}
    missing = [name for name in REQUIRED if found[name] is None]
    devices, threads = compute(found["torch"] is not None)
    total, free = memory()
    no_display = display_missing()
    terminal.result(
        {
            "quantscope": tool_version(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": found,
            "missing": missing,
            "threads": threads,
            "cores": os.cpu_count(),
            "devices": devices,
            "memory": {"total": total, "available": free},
            "disk_free": shutil.disk_usage(os.getcwd()).free,
            "display": no_display is None,
        }
    )
    rows = [
        ("quantscope", tool_version()),
        ("python", f"{platform.python_version()} ({sys.executable})"),
        ("platform", platform.platform()),
        *((name, found[name] or _lack(name)) for name in found),
        ("threads", f"{threads} for torch, {os.cpu_count()} cores"),
        ("devices", ", ".join(devices)),
        ("memory", f"{_known(free)} available of {_known(total)}"),
        ("disk", f"{size(shutil.disk_usage(os.getcwd()).free)} free here"),
        ("display", "yes" if no_display is None else f"no: {no_display}"),
    ]
    terminal.say(table(("what", "found"), rows))
    for name in missing:
        terminal.warn(f"{name} is missing; Quantscope cannot work without it.")
    return FAILED if missing else DONE


def version(package: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def compute(has_torch: bool) -> tuple[list[str], int]:
    """Return the devices that `--device` accepts, and torch's thread count."""
    if not has_torch:
        return [], 0
    import torch

    devices = ["cpu"]
    for index in range(torch.cuda.device_count()):
        devices.append(f"cuda:{index} ({torch.cuda.get_device_name(index)})")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices, torch.get_num_threads()


def memory() -> tuple[int | None, int | None]:
    """Return total and available memory in bytes, None where the system is silent."""
    # `sysconf` is missing on Windows; macOS does not know the available pages.
    names = getattr(os, "sysconf_names", {})
    if "SC_PAGE_SIZE" not in names or "SC_PHYS_PAGES" not in names:
        return None, None
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            facts = dict(line.split(":", 1) for line in lines)
        return total, int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return total, None


def _known(count: int | None) -> str:
    return "unknown" if count is None else size(count)


def _lack(name: str) -> str:
    if name in OPTIONAL:
        return f"not installed; needed for {OPTIONAL[name]}"
    if name in WINDOW:
        return "not installed; needed for the window"
    return "not installed"
