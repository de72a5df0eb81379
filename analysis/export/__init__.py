"""Exporters: an assignment in the shape that another tool accepts, one file each."""

from __future__ import annotations

from analysis.export.base import Exporter
from analysis.export.csv_table import CsvTable
from analysis.export.json_assignment import JsonAssignment

EXPORTERS: tuple[type[Exporter], ...] = (JsonAssignment, CsvTable)
"""Every exporter, in the order the window and the command line list them."""
