"""What a search is asked for besides its limits, as it is kept with the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.errors import AnalysisError
from analysis.search.cost_file import CostFile, read_costs
from analysis.search.objective import Objective
from analysis.search.problem import MEASURE
from analysis.search.rules import Rule


@dataclass(frozen=True)
class Setup:
    """Objective, rules and cost tables of a search.

    Attributes:
        objective: What is minimised, summed over layers.
        inputs: Whether the formats of input activations are chosen as well.
        rules: Floors, ceilings and fixed formats.
        costs: Cost tables by the name that budgets use.
        runs: Run of each measure; the latest where none is named.
    """

    objective: Objective = field(default_factory=lambda: Objective.parse(MEASURE))
    inputs: bool = False
    rules: tuple[Rule, ...] = ()
    costs: Mapping[str, CostFile] = field(default_factory=dict)
    runs: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads; only what is not the default."""
        told: dict[str, Any] = {"measure": str(self.objective)}
        if self.inputs:
            told["inputs"] = True
        if self.rules:
            told["rules"] = [str(rule) for rule in self.rules]
        if self.costs:
            told["costs"] = {
                name: {"path": file.path, "sha256": file.digest}
                for name, file in self.costs.items()
            }
        if self.runs:
            told["runs"] = dict(self.runs)
        return told

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Setup:
        """Return the setup that a provenance tells of.

        Raises:
            AnalysisError: a cost table is gone or has changed.
        """
        costs = {}
        for name, kept in told.get("costs", {}).items():
            costs[name] = read_costs(kept["path"])
            if costs[name].digest != kept["sha256"]:
                raise AnalysisError(
                    "A cost table has changed since the search.",
                    value=kept["path"],
                    allowed=f"a file with SHA-256 {kept['sha256']}",
                )
        return cls(
            Objective.parse(told.get("measure", MEASURE)),
            bool(told.get("inputs", False)),
            tuple(Rule.read(text) for text in told.get("rules", ())),
            costs,
            {str(name): int(run) for name, run in told.get("runs", {}).items()},
        )
