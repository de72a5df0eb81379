"""Predicted and measured errors of whole assignments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.journal import Record
from analysis.prediction import Prediction, Predictor
from analysis.readings import Readings
from analysis.runs import Runs
from quant_core.assignment import Assignment

_ARRAYS = tuple(
    f"predicted_error/{name}"
    for name in ("v", "weight", "sample", "columns", "own", "outputs")
)


class Scores(Readings):
    """The half of `Project` that judges assignments without running the model.

    Args:
        runs: The runs, of which predicted_error is used.
    """

    def __init__(self, runs: Runs) -> None:
        super().__init__(runs)
        self._measured: dict[str, dict[str, Any]] = {}
        self._predictor: tuple[object, Predictor | None] = ((), None)
        self._prediction: tuple[object, Prediction | None] = ((), None)

    def _prediction_key(self) -> tuple[int, int] | None:
        """Return what a prediction depends on besides the assignment."""
        run = self.latest_run("predicted_error")
        return None if run is None else (run.id, self._runs.version(run.id))

    def predict(self, assignment: Assignment) -> Prediction | None:
        """Return the predicted error of an assignment.

        Interactions between layers are included; nothing is run, so this takes
        milliseconds. The last result is kept.

        Returns:
            None before predicted_error ran.

        Raises:
            AnalysisError: the kept arrays are gone or damaged.
        """
        state = self._prediction_key()
        key = (assignment.digest, state)
        if self._prediction[0] != key:
            predictor = self._current_predictor(state)
            result = None if predictor is None else predictor.predict(assignment)
            self._prediction = (key, result)
        return self._prediction[1]

    def _current_predictor(self, state: tuple[int, int] | None) -> Predictor | None:
        if self._predictor[0] != state:
            kept = {name: self.array(name) for name in _ARRAYS}
            arrays = {name: array for name, array in kept.items() if array is not None}
            # A run may end, by Ctrl-C or for want of one finite sample, with the table
            # of its columns but no projections yet.
            ready = {"predicted_error/weight", "predicted_error/sample"} <= set(arrays)
            predictor = Predictor.from_arrays(arrays) if ready else None
            self._predictor = (state, predictor)
        return self._predictor[1]

    def measured_of(self, assignment: Assignment) -> dict[str, Any] | None:
        """Return the last measured score of an assignment.

        Returns:
            `value`, `stderr`, `unit`, `samples`, `metrics`, `state`, `created`; or
            None when it was never measured.
        """
        found = self._measured.get(assignment.digest)
        return None if found is None else dict(found)

    @property
    def measured_scores(self) -> tuple[dict[str, Any], ...]:
        """All measured scores, of whichever assignment, the newest last.

        Besides what `measured_of` tells, `bytes` where it was kept.
        """
        return tuple(dict(score) for score in self._measured.values())

    @property
    def last_measured(self) -> dict[str, Any] | None:
        """The newest measured score, of whichever assignment (its `digest`)."""
        if not self._measured:
            return None
        digest, score = next(reversed(self._measured.items()))
        return {**score, "digest": digest}

    def _put_measured(self, record: Record) -> None:
        digest = str(record.data["digest"])
        self._measured.pop(digest, None)  # the newest comes last
        self._measured[digest] = dict(record.data["score"])


def score(
    value: float,
    stderr: float,
    unit: str,
    samples: int,
    metrics: Mapping[str, float] | None,
    created: str,
    size: float,
) -> dict[str, Any]:
    """Return the measured error of a whole assignment as JSON values."""
    return {
        "value": float(value),
        "stderr": float(stderr),
        "unit": unit,
        "samples": int(samples),
        "metrics": {name: float(v) for name, v in (metrics or {}).items()},
        "bytes": float(size),
        "state": "assignment",
        "created": created,
    }
