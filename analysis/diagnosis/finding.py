"""What a rule of the diagnosis says: a finding with its numbers, or why it cannot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["problem", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("problem", "warning", "note")
"""`problem`: will fail or mislead; `warning`: costs accuracy; `note`: worth knowing.
In the order in which findings are read."""

Panel = Literal["layers", "heatmap", "distribution", "channels", "trade_off"]
"""Where a finding is best looked at; the keys of the panels of the window."""

_NAMED = 5  # layers that a text names


@dataclass(frozen=True, slots=True)
class Number:
    """One number that a finding rests on.

    Attributes:
        name: What it is, as a noun phrase.
        value: The number.
        unit: Its unit; "%" for shares of a hundred, "" for counts and ratios.
        stderr: Standard error in the same unit, NaN when exact or not known.
    """

    name: str
    value: float
    unit: str = ""
    stderr: float = math.nan

    @property
    def text(self) -> str:
        """The number with error bar and unit: "0.0123 ± 0.0004 nats per sample"."""
        text = significant(self.value)
        if math.isfinite(self.stderr) and self.stderr > 0:
            text += f" ± {significant(self.stderr, 2)}"
        return f"{text} {self.unit}".rstrip()

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "stderr": self.stderr,
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that looks wrong, or that is worth knowing.

    Attributes:
        rule: Key of the rule.
        title: One sentence with the main number.
        severity: How bad it is.
        numbers: What it rests on, the main number first.
        reason: Why this matters, and from which threshold.
        advice: What to try, first things first.
        layers: Indices of the layers it is about, worst first.
        panel: Where to look at them.
        runs: Numbers of the runs that the evidence comes from.
    """

    rule: str
    title: str
    severity: Severity
    numbers: tuple[Number, ...]
    reason: str
    advice: str
    layers: tuple[int, ...] = ()
    panel: Panel = "layers"
    runs: tuple[int, ...] = ()

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the fields by name, layers by their names."""
        return {
            "rule": self.rule,
            "title": self.title,
            "severity": self.severity,
            "numbers": [number.to_json() for number in self.numbers],
            "reason": self.reason,
            "advice": self.advice,
            "layers": [names[index] for index in self.layers],
            "panel": self.panel,
            "runs": list(self.runs),
        }


@dataclass(frozen=True, slots=True)
class Missing:
    """What a rule needs before it can judge, as an order ("Run ... ")."""

    needs: str


Verdict = tuple[Finding, ...] | Missing
"""What a rule says: findings, none when all is well, or what it lacks."""


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A rule that could not judge.

    Attributes:
        rule: Its key.
        title: What it asks.
        needs: What it lacks.
    """

    rule: str
    title: str
    needs: str


@dataclass(frozen=True)
class Diagnosis:
    """All findings on one assignment.

    Attributes:
        subject: What was judged ("the current assignment").
        findings: What was found, the worst first, then in the order of the rules.
        unjudged: Rules that lack something.
        clear: Titles of the rules that looked and found nothing.
    """

    subject: str
    findings: tuple[Finding, ...]
    unjudged: tuple[Unjudged, ...] = ()
    clear: tuple[str, ...] = field(default=())

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """Return everything as JSON values.

        Args:
            names: Names of the layers.
        """
        return {
            "subject": self.subject,
            "findings": [finding.to_json(names) for finding in self.findings],
            "not_judged": [
                {"rule": rule.rule, "title": rule.title, "needs": rule.needs}
                for rule in self.unjudged
            ],
            "clear": list(self.clear),
        }

    def to_markdown(self, names: Sequence[str]) -> str:
        """Return everything as a Markdown text.

        Args:
            names: Names of the layers.
        """
        parts = [f"# Findings on {self.subject}"]
        parts += [finding_markdown(finding, names) for finding in self.findings]
        if not self.findings:
            parts.append("Nothing was found.")
        if self.unjudged:
            lines = [f"- {rule.title}: {rule.needs}" for rule in self.unjudged]
            parts.append("\n".join(["## Not judged", "", *lines]))
        if self.clear:
            lines = [f"- {title}" for title in self.clear]
            parts.append("\n".join(["## Looked at, nothing found", "", *lines]))
        return "\n\n".join(parts) + "\n"

    def to_text(self, names: Sequence[str]) -> str:
        """Return everything as plain text.

        Args:
            names: Names of the layers.
        """
        parts = [finding_text(finding, names) for finding in self.findings]
        if not self.findings:
            parts.append("Nothing was found.")
        parts += [f"not judged: {gap.title}. {gap.needs}" for gap in self.unjudged]
        return "\n\n".join(parts) + "\n"


def finding_text(finding: Finding, names: Sequence[str]) -> str:
    """Return one finding as a paragraph for a terminal."""
    lines = [f"{finding.severity}: {finding.title}."]
    lines += [f"  {number.name}: {number.text}" for number in finding.numbers]
    if finding.layers:
        lines.append(f"  layers: {named(names, finding.layers)}")
    return "\n".join([*lines, f"  {finding.reason}", f"  try: {finding.advice}"])


def finding_markdown(finding: Finding, names: Sequence[str]) -> str:
    """Return one finding as a section of Markdown."""
    lines = [f"## {finding.severity.capitalize()}: {finding.title}", ""]
    lines += [f"- {number.name}: {number.text}" for number in finding.numbers]
    if finding.layers:
        # In code quotes a name cannot become mark-up.
        chosen = [f"`{names[i].replace('`', '')}`" for i in finding.layers[:_NAMED]]
        lines.append(f"- layers: {_listed(chosen, len(finding.layers))}")
    if finding.runs:
        lines.append(f"- from run {', '.join(map(str, finding.runs))}")
    return "\n".join([*lines, "", finding.reason, "", f"**Try:** {finding.advice}"])


def named(names: Iterable[str], indices: Sequence[int]) -> str:
    """Return the first few layers by name and how many more there are."""
    known = list(names)
    return _listed([known[i] for i in indices[:_NAMED]], len(indices))


def _listed(chosen: Sequence[str], count: int) -> str:
    more = count - len(chosen)
    return ", ".join(chosen) + (f" and {more:,} more" if more > 0 else "")


def significant(value: float, digits: int = 3) -> str:
    """Return a number to some significant digits, as people read it."""
    if not math.isfinite(value):
        return "infinite" if math.isinf(value) else "not known"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    if 1e3 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def plural(count: int, noun: str) -> str:
    """Return "1 layer" or "30 layers"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
