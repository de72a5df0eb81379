"""What every rule offers."""

from __future__ import annotations

from typing import ClassVar, Protocol

from analysis.diagnosis.case import Case
from analysis.diagnosis.finding import Verdict


class Rule(Protocol):
    """A frozen dataclass without fields: its docstring is its help.

    Attributes:
        key: Name in JSON.
        title: The question it answers, for lists of what was judged.
    """

    key: ClassVar[str]
    title: ClassVar[str]

    def judge(self, case: Case) -> Verdict:
        """Return what was found, or what is missing for a judgement."""
        ...
