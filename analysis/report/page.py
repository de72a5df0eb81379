"""The page of the report: text, tables and plots around an assignment."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import numpy as np

from analysis.diagnosis import ChannelFacts, Finding
from analysis.diagnosis.case import Case
from analysis.diagnosis.finding import named, significant
from analysis.report import plots, sensitivity
from analysis.report.cells import cell as _cell
from analysis.report.cells import number as _number
from analysis.report.cells import table as _table
from analysis.report.frame import document
from analysis.report.svg import text_of
from analysis.version import tool_version

if TYPE_CHECKING:
    from analysis.diagnosis import Diagnosis
    from analysis.project import Project
    from quant_core.assignment import Assignment
    from quant_core.scheme import Scheme

LAYER_ROWS = 5000
"""Rows of the layer table; of more, those with the largest predicted errors."""

_SCRIPT = """
document.querySelectorAll("table.sortable").forEach(table => {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    button.title = "Sort by this column";
    button.tabIndex = 0;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const falls = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("thead th").forEach(h => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const key = ({cells: {[column]: cell}}) => cell.dataset.value ?? cell.textContent;
      const body = table.tBodies[0];
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const numeric = head.classList.contains("n");
        const order = numeric ? x - y : x.localeCompare(y);
        return falls ? -order : order;
      });
      body.append(...rows);
    });
  });
});
"""


def page(
    project: Project, plan: Assignment, diagnosis: Diagnosis, name: str = ""
) -> str:
    """Return the whole report as HTML.

    Args:
        project: Where everything is read.
        plan: The assignment reported.
        diagnosis: Its findings.
        name: What to call the assignment.
    """
    case = Case(project, plan, ChannelFacts(project))
    worst = np.argsort(-case.own, kind="stable")[: plots.WORST]
    worst_layers = [int(i) for i in worst if case.own[i] > 0]
    sections = (
        ("Summary", _summary(project, plan, name)),
        ("Findings", _findings(diagnosis, case.names)),
        ("Predicted error of every layer", plots.errors(project)),
        ("Sensitivity", sensitivity.section(project)),
        ("Size against error", plots.trade_off(project, plan, name)),
        ("Distributions of the worst layers", _worst(project, case, worst_layers)),
        ("Layers", _layers(project, plan, case)),
        ("Runs", _runs(project)),
    )
    body = "".join(
        f"<section><h2>{title}</h2>{content}</section>"
        for title, content in sections
        if content
    )
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    note = f"Made {made} by Quantscope {text_of(tool_version())}."
    return document(f"Quantscope report: {project.info.name}", note, body, _SCRIPT)


def _summary(project: Project, plan: Assignment, name: str) -> str:
    info, totals = project.info, plan.totals()
    run = project.latest_run(plots.MEASURE)
    facts: list[tuple[str, object]] = [
        ("Model", f"{info.name} ({info.architecture or 'architecture not known'})"),
        ("Opened from", info.source),
        ("Digest", info.digest[:16]),
        ("Layers", f"{len(info.layers):,} with {info.parameters:,} weights"),
        ("Assignment", name or "the current one"),
        ("Target", project.target),
        (
            "Size",
            f"{totals.bytes / 1e6:,.2f} MB, {totals.average_bits:.2f} bits per weight, "
            f"{totals.compression:.2f} times smaller than stored",
        ),
        ("Formats", _schemes(plan)),
    ]
    if totals.bops:
        facts.append(("Bit operations", f"{totals.bops:,.3g} per sample"))
    predicted = project.predict(plan)
    if predicted is not None and run is not None:
        bound = " (a lower bound: not all was analysed)" if predicted.missing else ""
        facts.append(
            (
                "Predicted error",
                f"{significant(predicted.value)} ± {significant(predicted.stderr, 2)} "
                f"{run.unit}, {run.samples:,} samples of {run.data_source}{bound}",
            )
        )
    measured = project.measured_of(plan)
    if measured is not None:
        facts.append(
            (
                "Measured error",
                f"{significant(measured['value'])} ± "
                f"{significant(measured['stderr'], 2)} {measured['unit']}, "
                f"{measured['samples']:,} samples",
            )
        )
    rows = [[f"<th>{text_of(title)}</th>", _cell(value)] for title, value in facts]
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    notes = "".join(f"<p class=muted>{text_of(note)}</p>" for note in info.notes)
    return f"<table><tbody>{body}</tbody></table>{notes}"


def _key(scheme: Scheme | None) -> str:
    return "float" if scheme is None else scheme.key


def _schemes(plan: Assignment) -> str:
    counts = np.bincount(plan.weight, minlength=len(plan.palette))
    return ", ".join(
        f"{count:,} {_key(scheme)}"
        for scheme, count in zip(plan.palette, counts.tolist(), strict=True)
        if count
    )


def _findings(diagnosis: Diagnosis, names: tuple[str, ...]) -> str:
    parts = [_finding(finding, names) for finding in diagnosis.findings]
    if not parts:
        parts.append("<p>Nothing was found.</p>")
    if diagnosis.unjudged:
        rows = [[_cell(gap.title), _cell(gap.needs)] for gap in diagnosis.unjudged]
        parts.append("<h3>Not judged</h3>")
        parts.append(_table([("Question", False), ("What it needs", False)], rows))
    if diagnosis.clear:
        listed = "; ".join(text_of(title) for title in diagnosis.clear)
        parts.append(f"<h3>Looked at, nothing found</h3><p>{listed}.</p>")
    return "".join(parts)


def _finding(finding: Finding, names: tuple[str, ...]) -> str:
    numbers = "".join(
        f"<li>{text_of(number.name)}: <b>{text_of(number.text)}</b></li>"
        for number in finding.numbers
    )
    about = ""
    if finding.layers:
        about = f"<p>Layers: {text_of(named(names, finding.layers))}.</p>"
    runs = ", ".join(map(str, finding.runs))
    origin = f'<p class="muted">From run {runs}.</p>' if runs else ""
    return (
        f'<article class="{finding.severity}"><h3>{finding.severity.capitalize()}: '
        f"{text_of(finding.title)}</h3><ul>{numbers}</ul>{about}"
        f"<p>{text_of(finding.reason)}</p><p><b>Try:</b> {text_of(finding.advice)}</p>"
        f"{origin}</article>"
    )


def _worst(project: Project, case: Case, layers: list[int]) -> str:
    shown = plots.distributions(project, layers)
    if not shown:
        return ""
    note = f"Largest predicted errors in {case.judged_as}; counts on a log scale."
    return f'<p class="muted">{text_of(note)}</p>{shown}'


def _layers(project: Project, plan: Assignment, case: Case) -> str:
    weight, bar = case.errors(plan, "weight")
    total = float(np.nansum(weight))
    bits = plan.weight_bits()
    kurtosis = project.values("weights", None, "kurtosis")
    ratio = project.values("weights", None, "outlier_ratio")
    shown = np.arange(len(plan))
    note = ""
    if len(shown) > LAYER_ROWS:
        shown = np.sort(np.argsort(-np.nan_to_num(weight), kind="stable")[:LAYER_ROWS])
        note = f"<p>The {LAYER_ROWS:,} layers with the largest predicted errors.</p>"
    rows = []
    for i in shown.tolist():
        layer = plan.layers[i]
        quantized = plan.weight[i] > 0 and total > 0
        rows.append(
            [
                _cell(layer.name),
                _cell(layer.kind),
                _cell(" x ".join(map(str, layer.shape))),
                _number(layer.parameters),
                _cell(_key(plan.scheme_of(i))),
                _cell(_key(plan.input_of(i))),
                _cell("locked" if plan.locked[i] else ""),
                _number(bits[i] / 8e3),
                _number(weight[i] if plan.weight[i] else np.nan, bar[i]),
                _number(100 * weight[i] / total if quantized else np.nan),
                _number(kurtosis[i]),
                _number(ratio[i]),
            ]
        )
    unit = f" [{case.unit}]" if case.unit else ""
    head = [
        ("Layer", False),
        ("Kind", False),
        ("Shape", False),
        ("Weights", True),
        ("Weight format", False),
        ("Input format", False),
        ("Lock", False),
        ("Size [kB]", True),
        (f"Predicted error{unit}", True),
        ("Share of error [%]", True),
        ("Kurtosis", True),
        ("Largest over 99.9 %", True),
    ]
    return note + _table(head, rows, "sortable")


def _runs(project: Project) -> str:
    rows = [
        [
            _number(run.id),
            _cell(run.measure),
            _cell(run.status),
            _number(run.samples),
            _cell(run.data_source or "none needed"),
            _number(run.seed),
            _cell(run.created.replace("T", " ")[:16]),
            _cell(" ".join(run.warnings)),
        ]
        for run in project.runs
    ]
    head = [
        ("Run", True),
        ("Measure", False),
        ("Status", False),
        ("Samples", True),
        ("Data", False),
        ("Seed", True),
        ("Begun", False),
        ("Warnings", False),
    ]
    return _table(head, rows) if rows else ""
