from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from analysis import perform as performing
from analysis.errors import AnalysisError
from analysis.jobs import (
    EVALUATION,
    Analyze,
    DataRequest,
    Ended,
    Evaluate,
    Found,
    Progress,
    Recorder,
    Search,
    Started,
    Traced,
    analyze,
    earlier_runs,
    evaluate,
    perform,
    prediction_of_assigned,
    recorded,
)
from analysis.measures import NAMES, measures
from analysis.measures.context import MeasureContext
from analysis.method import Row, Update, param
from analysis.project import Project
from analysis.search.problem import CostTable
from quant_core.assignment import Assignment
from quant_core.scheme import Scheme, parse_scheme
from tests.cases import assert_same_state, loaded, state_of

INT4, INT8 = Scheme("int4"), Scheme("int8")


@dataclass(frozen=True)
class Fake:
    """Counts layers."""

    key: ClassVar[str] = "weights"
    title: ClassVar[str] = "Fake"
    unit: ClassVar[str] = "dB"
    better: ClassVar[str] = "lower"
    version: ClassVar[int] = 1
    needs_data: ClassVar[bool] = False
    closed: ClassVar[list[int]] = []

    fail_at: int = param(99, "Layer at which it fails.")

    def run(self, context: MeasureContext) -> Iterator[Update]:
        layers = context.model.info.layers
        try:
            for i, layer in enumerate(layers):
                if i == self.fail_at:
                    raise RuntimeError("broken")
                if (layer.name, None, "error", "weight") in context.done:
                    continue
                rows = (Row(layer.name, None, float(i)),)
                arrays = {f"weights/{layer.name}/x": np.full(3, i)}
                yield Update(i + 1, len(layers), layer.name, rows, arrays)
        finally:
            self.closed.append(1)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    classes = {**measures(), "weights": Fake}
    monkeypatch.setattr(performing, "measures", lambda: classes)
    monkeypatch.setattr(Fake, "closed", [])
    return Fake


def test_measures_run_in_the_order_asked(tmp_path: Path) -> None:
    model, data = loaded("called_twice")
    project = Project.create(model.info, tmp_path / "p.qscope")
    wanted = ("predicted_error", "weights")
    job = Analyze(wanted, (INT4, INT8), data=DataRequest("example"))
    events = list(recorded(project, job, model, data))
    assert isinstance(events[0], Traced)
    assert [e.measure for e in events if isinstance(e, Started)] == list(wanted)
    assert [e.measure for e in events if isinstance(e, Ended)] == list(wanted)
    assert [run.status for run in project.runs] == ["complete"] * 2
    first, second = project.runs
    assert first.unit == model.task.unit  # type: ignore[union-attr]
    assert first.params["schemes"] == ["int4", "int8"]
    assert first.params["max_length"] == 64
    assert (first.done, first.samples) == (first.total, len(data))
    assert (second.unit, second.task, second.data_source) == ("dB", "", "")
    assert project.formats("predicted_error") == ("int4", "int8")
    assert np.isfinite(project.values("predicted_error", "int4")).all()
    # What the forward pass told is in the project: operations and sites.
    assert project.totals.bops > 0
    assert project.info.sites
    project.close()


def test_job_leaves_the_model_as_it_was() -> None:
    model, data = loaded("called_twice")
    assert model.module is not None
    before = state_of(model.module)
    for key in NAMES:
        job = perform(Analyze((key,), (INT4,)), model, data)
        while not isinstance(event := next(job), Progress):
            pass
        assert event.measure == key
        job.close()
        assert_same_state(before, state_of(model.module))


def test_script_gets_updates(fake: type[Fake]) -> None:
    model, _ = loaded("called_twice")
    updates = list(analyze(model))
    assert [key for key, _ in updates] == ["weights"] * len(model.info.layers)
    assert updates[-1][1].done == updates[-1][1].total
    assert fake.closed == [1]


def test_closing_cancels_and_keeps_what_is_done(
    fake: type[Fake], tmp_path: Path
) -> None:
    model, _ = loaded("encoder")
    project = Project.create(model.info, tmp_path / "p.qscope")
    job = analyze(model, project=project)
    for _ in range(3):
        next(job)
    job.close()
    assert fake.closed == [1]
    assert [run.status for run in project.runs] == ["cancelled"]
    assert len(project.rows("weights")) == 3
    # Continued: the same run, with only the rest done.
    rest = list(analyze(model, project=project, resume=True))
    assert len(rest) == len(model.info.layers) - 3
    assert [run.status for run in project.runs] == ["complete"]
    assert len(project.rows("weights")) == len(model.info.layers)
    # Complete and asked for with equal settings: nothing to do.
    assert list(analyze(model, project=project, resume=True)) == []
    # Other settings: a run of its own.
    assert list(analyze(model, project=project, resume=True, seed=1))
    assert len(project.runs) == 2
    project.close()


def test_ctrl_c_cancels(fake: type[Fake]) -> None:
    model, _ = loaded("encoder")
    project = Project.create(model.info)
    job = analyze(model, project=project)
    next(job)
    with pytest.raises(KeyboardInterrupt, match="^$"):
        job.throw(KeyboardInterrupt())
    assert project.runs[0].status == "cancelled"


def test_failure_keeps_what_is_done(fake: type[Fake]) -> None:
    model, _ = loaded("encoder")
    project = Project.create(model.info)
    job = analyze(model, project=project, params={"weights": {"fail_at": 2}})
    with pytest.raises(RuntimeError, match="broken"):
        list(job)
    assert project.runs[0].status == "failed"
    assert len(project.rows("weights")) == 2
    assert earlier_runs(project)["weights"].done
    assert len(earlier_runs(project)["weights"].arrays) == 2


def test_without_data_only_weights_run() -> None:
    model, _ = loaded("called_twice")
    assert {key for key, _ in analyze(model, schemes=[INT4])} == {"weights"}


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (Analyze(("nonsense",)), "no such measure"),
        (Analyze(()), "no such measure"),
        (Analyze(("weights",), params={"weights": {"colour": 1}}), "no such parameter"),
        (Analyze(("weights",), params={"x": {}}), "no such measure"),
        (Analyze(("weights", "activations")), "needs calibration data"),
    ],
    ids=["unknown", "none", "parameter", "parameters of", "data"],
)
def test_wrong_jobs_are_refused_before_anything_runs(
    job: Analyze, message: str
) -> None:
    model, _ = loaded("called_twice")
    project = Project.create(model.info)
    with pytest.raises(AnalysisError, match=message):
        list(recorded(project, job, model, None))
    assert project.runs == ()


def test_project_of_another_model_is_refused() -> None:
    model, _ = loaded("called_twice")
    project = Project.create(dataclasses.replace(model.info, digest="1" * 64))
    with pytest.raises(AnalysisError, match="made for another model"):
        list(analyze(model, project=project))


def test_warnings_of_the_data_are_kept_with_the_run() -> None:
    model, data = loaded("called_twice")
    data = dataclasses.replace(data, warnings=("random data",))
    project = Project.create(model.info)
    list(analyze(model, data, project=project, schemes=[INT4]))
    kept = {run.measure: run.warnings for run in project.runs}
    assert "random data" in kept["activations"]
    assert "random data" in kept["predicted_error"]
    assert "random data" not in kept["weights"]


def test_evaluation_is_recorded_for_its_assignment() -> None:
    model, data = loaded("called_twice")
    project = Project.create(model.info)
    everything = np.arange(len(model.info.layers))
    project.set_weight(everything, INT4)
    updates = list(evaluate(model, data, project.assignment, project=project))
    rows = [row for row in updates[-1].rows if row.quantity == "error"]
    assert project.measured is not None
    assert project.measured["value"] == rows[0].value > 0
    assert project.measured["samples"] == len(data)
    assert project.measured["unit"] == model.task.unit  # type: ignore[union-attr]
    float_plan = Assignment.float(model.info.layers, "", model.info.digest)
    (*_, last) = evaluate(model, data, float_plan, project=project)
    assert last.rows[0].value == 0
    assert project.measured_of(float_plan)["value"] == 0  # type: ignore[index]


def test_evaluation_of_another_model_is_refused() -> None:
    model, data = loaded("called_twice")
    foreign = Assignment.float(model.info.layers, "x", "1" * 64)
    with pytest.raises(AnalysisError, match="made for another model"):
        list(evaluate(model, data, foreign))


def test_cancelled_evaluation_has_no_score() -> None:
    model, data = loaded("called_twice")
    project = Project.create(model.info)
    plan = project.assignment
    recorder = Recorder(project, Evaluate(plan, DataRequest("example")))
    recorder.take(Started(EVALUATION, {"unit": "nats", "samples": 4}))
    recorder.take(Progress(EVALUATION, Update(1, 2)))
    recorder.end("cancelled")
    assert project.measured is None
    assert recorder.score is None
    assert project.runs == ()


def test_limits_by_hand_are_predicted_and_measured() -> None:
    model, data = loaded("called_twice")
    project = Project.create(model.info)
    params = {"predicted_error": {"probes": 64}}
    predict = partial(analyze, model, data, ["predicted_error"], project=project)
    list(predict(schemes=[INT4, INT8], params=params))
    (run,) = project.runs
    assert prediction_of_assigned(project, run.id) is None
    reach = float(model.read_tensor(model.info.layers[0].parameter).abs().max())
    limits = parse_scheme(f"int8/manual({-0.9 * reach}:{0.9 * reach})")
    project.set_weight([0], limits)
    assert project.prediction is not None
    assert project.prediction.missing == 1
    job = prediction_of_assigned(project, run.id)
    assert job is not None
    assert job.schemes == (INT4, INT8, limits)
    assert job.params["predicted_error"]["probes"] == 64
    assert not job.earlier
    list(recorded(project, dataclasses.replace(job, data=None), model, data))
    assert project.prediction.missing == 0
    own = project.values("predicted_error", limits.key)[0]
    assert own > 2 * project.values("predicted_error", "int8")[0]
    assert project.prediction.value == pytest.approx(own)
    list(evaluate(model, data, project.assignment, project=project))
    assert project.measured is not None
    assert project.measured["value"] == pytest.approx(own, rel=0.5)
    assert prediction_of_assigned(project, project.runs[-1].id) is None


def table(layers: int = 3) -> CostTable:
    model, _ = loaded("called_twice")
    bits = np.array([[32.0, 4.0, 8.0]] * layers)
    cost = np.array([[0.0, 1.0, 0.1]] * layers)
    return CostTable(model.info.layers[:1] * layers, (None, INT4, INT8), cost, bits)


def test_search_needs_no_model() -> None:
    (found,) = perform(Search("exact", table(), "error<=0.5"), None, None)
    assert isinstance(found, Found)
    assert found.result.choice.tolist() == [2, 2, 2]
    with pytest.raises(AnalysisError, match="no such search"):
        list(perform(Search("magic", table(), "bits<=4"), None, None))


def test_everything_else_needs_a_model() -> None:
    with pytest.raises(AnalysisError, match="No model is open"):
        list(perform(Analyze(), None, None))


def test_measures_are_the_ones_listed() -> None:
    classes: dict[str, Any] = measures()
    assert tuple(classes) == NAMES
