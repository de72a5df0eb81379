"""The guided diagnosis: what looks wrong with an assignment, why, and what to try.

Problems stand before warnings and notes. Within a severity the order is that of the
debugging flow of Nagel et al., "A White Paper on Neural Network Quantization"
(arXiv 2106.08295, section 3.7): first whether the numbers can be believed, then which
side is guilty, then which layers, then what was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from analysis.diagnosis.agreement import Additivity, Agreement, Coverage
from analysis.diagnosis.calibration import DataMatch, SampleSize
from analysis.diagnosis.case import Case
from analysis.diagnosis.channels import ChannelFacts
from analysis.diagnosis.concentration import Concentration
from analysis.diagnosis.constraints import RefusedFormats, UnequalTies
from analysis.diagnosis.culprit import Culprit
from analysis.diagnosis.edges import Edges
from analysis.diagnosis.finding import (
    SEVERITIES,
    Diagnosis,
    Finding,
    Missing,
    Number,
    Unjudged,
    Verdict,
)
from analysis.diagnosis.granularity import FinerScales
from analysis.diagnosis.onset import Onset
from analysis.diagnosis.outliers import InputOutliers, WeightOutliers
from analysis.diagnosis.rule import Rule
from analysis.diagnosis.sanity import FloatIdentity, NonFinite
from analysis.diagnosis.symmetry import OneSided
from analysis.diagnosis.uniform import WorseThanUniform
from analysis.diagnosis.unused_channels import UnusedChannels

if TYPE_CHECKING:
    from analysis.project import Project
    from quant_core.assignment import Assignment

__all__ = [
    "RULES",
    "SEVERITIES",
    "ChannelFacts",
    "Diagnosis",
    "Finding",
    "Missing",
    "Number",
    "Rule",
    "Unjudged",
    "Verdict",
    "collect",
    "diagnose",
    "verdicts",
]

RULES: tuple[Rule, ...] = (
    NonFinite(),
    FloatIdentity(),
    SampleSize(),
    DataMatch(),
    Culprit(),
    WeightOutliers(),
    InputOutliers(),
    FinerScales(),
    Concentration(),
    Onset(),
    Edges(),
    OneSided(),
    UnusedChannels(),
    UnequalTies(),
    RefusedFormats(),
    Coverage(),
    WorseThanUniform(),
    Additivity(),
    Agreement(),
)
"""Every rule, in the order in which findings of one severity are read."""


def verdicts(
    project: Project,
    assignment: Assignment | None = None,
    channels: ChannelFacts | None = None,
) -> Iterator[tuple[Rule, Verdict]]:
    """Yield what each rule says, so that a window can do other things in between.

    Args:
        project: Where the evidence is.
        assignment: What is judged; None for the one being edited.
        channels: Channel ranges read before.

    Raises:
        AnalysisError: the project file is gone or damaged.
    """
    plan = project.assignment if assignment is None else assignment
    case = Case(project, plan, channels or ChannelFacts(project))
    for rule in RULES:
        yield rule, rule.judge(case)


def diagnose(
    project: Project,
    assignment: Assignment | None = None,
    subject: str = "the current assignment",
) -> Diagnosis:
    """Return all findings on an assignment of a project.

    Only what the project already holds is looked at; rules that lack something say
    what. Nothing is run, and torch is not needed.

    Args:
        project: Where the evidence is.
        assignment: What is judged; None for the one being edited.
        subject: What to call it.

    Raises:
        AnalysisError: the project file is gone or damaged.
        QuantError: the assignment belongs to another model.
    """
    return collect(dict(verdicts(project, assignment)), subject)


def collect(found: dict[Rule, Verdict], subject: str) -> Diagnosis:
    """Return what the rules said, sorted into findings, gaps and all-clears."""
    findings: list[Finding] = []
    unjudged: list[Unjudged] = []
    clear: list[str] = []
    for rule, verdict in found.items():
        if isinstance(verdict, Missing):
            unjudged.append(Unjudged(rule.key, rule.title, verdict.needs))
        elif verdict:
            findings += verdict
        else:
            clear.append(rule.title)
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Diagnosis(subject, tuple(findings), tuple(unjudged), tuple(clear))
