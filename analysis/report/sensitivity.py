"""Sensitivity in the report: measures side by side, and which of them to trust."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.comparison import (
    Criterion,
    Reading,
    criteria,
    formats_of,
    headlines,
    most_sensitive,
    read,
    usual_format,
)
from analysis.diagnosis.finding import significant
from analysis.quality import JUDGE, Quality, measure_quality, rank_correlation
from analysis.report import cells
from analysis.report.svg import ACCENT, INK, MUTED, Axes, label, picture, text_of

if TYPE_CHECKING:
    from analysis.project import Project

LAYERS = 40
"""Layers in the picture of bars; of more, those that any measure places highest."""
POINTS = 2000
"""Points in the scatter; of more, evenly chosen ones."""
_BAR, _ROW, _TOP, _GAP = 130.0, 16.0, 34.0, 14.0
_DECADES = 6.0


def section(project: Project) -> str:
    """Return the section as HTML, "" before any measure told of the layers."""
    chosen = headlines(criteria(project))
    key = usual_format(formats_of(project, chosen))
    found = (read(project, criterion, key) for criterion in chosen)
    readings = [reading for reading in found if reading is not None]
    if not readings:
        return ""
    parts = [_bars(project, readings)]
    judged = [q for q in measure_quality(project) if not math.isnan(q.rank)]
    if judged:
        judged.sort(key=lambda one: -one.rank)
        parts += [_quality(project, judged), _scatter(project, judged[0], key)]
    return "".join(parts)


def _bars(project: Project, readings: Sequence[Reading]) -> str:
    """Return a column of bars for each measure, all on the same rows."""
    layers = most_sensitive(readings, LAYERS)
    names = [project.info.layers[i].name for i in layers]
    left = 12 + 6.6 * max((len(name) for name in names), default=0)
    body = [
        label(left - 6, _TOP + _ROW * i + 12, name, "end")
        for i, name in enumerate(names)
    ]
    for column, reading in enumerate(readings):
        start = left + column * (_BAR + _GAP)
        body += _column(reading, layers, names, start)
    width = left + len(readings) * (_BAR + _GAP) + 8
    shown = picture(width, _TOP + _ROW * len(names) + 8, "Sensitivity", body)
    every = len(project.info.layers)
    note = f"The {len(layers):,} of {every:,} layers that any measure places highest. "
    samples = ", ".join(
        f"{reading.title} {reading.samples:,}"
        for reading in readings
        if reading.samples
    )
    caption = (
        f"{note if len(layers) < every else ''}Each measure in its own unit, most "
        f"sensitive by {readings[0].title} on top; whiskers are standard errors. Axes "
        "are logarithmic where all numbers are positive, six decades at most. Samples: "
        f"{samples or 'none needed'}."
    )
    return f'<div class="wide">{shown}</div><p class="muted">{text_of(caption)}</p>'


def _column(
    reading: Reading, layers: NDArray[np.int64], names: Sequence[str], start: float
) -> list[str]:
    """Return title and bars of one measure."""
    known = reading.values[layers][np.isfinite(reading.values[layers])]
    largest = f"to {significant(float(known.max()))}" if len(known) else ""
    unit = f"[{reading.unit}] {largest}" if reading.unit else largest
    body = [
        label(start, _TOP - 18, reading.criterion.short, "start", INK),
        label(start, _TOP - 5, unit, "start", MUTED),
    ]
    place = _scale(reading.values[layers], reading.is_ratio)
    for row, layer in enumerate(layers.tolist()):
        value, stderr = float(reading.values[layer]), float(reading.stderrs[layer])
        if not math.isfinite(value):
            continue
        y = _TOP + _ROW * row
        told = f"{names[row]}: {significant(value)} {reading.unit}"
        if math.isfinite(stderr):
            told += f" ± {significant(stderr, 2)}"
        end, base = place(value), place(0.0)
        low, high = sorted((base, end))
        body.append(
            f'<rect x="{start + low * _BAR:.1f}" y="{y:.1f}" '
            f'width="{(high - low) * _BAR:.1f}" height="{_ROW - 3:.1f}" '
            f'fill="{ACCENT}" fill-opacity="0.75"><title>{text_of(told)}</title></rect>'
        )
        if math.isfinite(stderr) and stderr > 0:
            ends = (start + place(value + s * stderr) * _BAR for s in (-1, 1))
            middle = y + (_ROW - 3) / 2
            x1, x2 = ends
            body.append(
                f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{middle:.1f}" '
                f'y2="{middle:.1f}" stroke="{INK}"/>'
            )
    return body


def _scale(values: NDArray[np.float64], is_log: bool) -> Callable[[float], float]:
    """Return what turns a value into a share of the width, 0 to 1."""
    known = values[np.isfinite(values)]
    if is_log and (known > 0).any():
        top = math.log10(float(known.max()))
        least = math.log10(float(known[known > 0].min()))
        bottom = max(least - 0.3, top - _DECADES)
        span = max(top - bottom, 1e-9) * 1.1

        def place(value: float) -> float:
            power = math.log10(value) if value > 0 else bottom
            return min(max((power - bottom) / span, 0.0), 1.0)

        return place
    low, high = float(known.min(initial=0.0)), float(known.max(initial=0.0))
    width = 1.1 * max(high - low, 1e-300)
    return lambda value: min(max((value - low) / width, 0.0), 1.0)


def _quality(project: Project, judged: Sequence[Quality]) -> str:
    """Return a table of how far each measure can be trusted."""
    run = project.latest_run(JUDGE)
    rows = []
    for one in judged:
        spread = ""
        if math.isfinite(one.ratio_low):
            low, high = significant(one.ratio_low), significant(one.ratio_high)
            spread = f"{low} to {high}"
        title = Criterion(one.measure, one.quantity, one.part).title
        numbers = [cells.number(v) for v in (one.rank, one.spearman, one.ratio)]
        row = [cells.cell(title), *numbers, cells.cell(spread)]
        rows.append([*row, cells.number(one.forwards)])
    head = [
        ("Measure", False),
        ("Spearman, same format", True),
        ("Spearman, all formats", True),
        ("Predicted over measured", True),
        ("Quartiles", False),
        ("Forward passes", True),
    ]
    samples = run.samples if run is not None else 0
    note = (
        f"Judged by the measured error of one layer at a time, {samples:,} samples, on "
        "this model. Spearman 1 is the same order of layers; predicted over measured 1 "
        "is calibrated; passes are the time of the run over that of a forward pass."
    )
    return (
        "<h3>Which measure to trust</h3>"
        f'{cells.table(head, rows, "sortable")}<p class="muted">{text_of(note)}</p>'
    )


def _scatter(project: Project, best: Quality, key: str | None) -> str:
    """Return the points of the best measure against the measured error."""
    criterion = Criterion(best.measure, best.quantity, best.part)
    against = Criterion(JUDGE, "error", best.part)
    up, across = read(project, criterion, key), read(project, against, key)
    if up is None or across is None:
        return ""
    known = np.flatnonzero((up.values > 0) & (across.values > 0))
    if len(known) < 2:
        return ""
    drawn = known[:: max(1, -(-len(known) // POINTS))]
    x, y = across.values[drawn], up.values[drawn]
    axes = Axes(
        (float(x.min()), float(x.max())),
        (float(y.min()), float(y.max())),
        _titled(across),
        _titled(up),
        is_log_x=True,
    )
    for layer, a, b in zip(drawn.tolist(), x.tolist(), y.tolist(), strict=True):
        name = project.info.layers[layer].name
        axes.dot(a, b, f"{name}: {significant(b)} against {significant(a)}")
    spearman = rank_correlation(up.need, across.need)
    caption = f"Spearman {spearman:.3f} over {len(known):,} layers; each dot is one."
    shown = axes.svg(f"{up.title} against {across.title}")
    return f'{shown}<p class="muted">{text_of(caption)}</p>'


def _titled(reading: Reading) -> str:
    return f"{reading.title} [{reading.unit}]" if reading.unit else reading.title
