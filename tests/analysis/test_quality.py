"""Measure quality against SciPy, and what it says when nothing can be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy.stats import spearmanr

from analysis import measure_quality
from analysis.method import Row, Update
from analysis.project import Project
from analysis.quality import FORWARD_SECONDS, Quality, rank_correlation
from tests.analysis.diagnosis.projects import made

TRUTH = {"int4": [4.0, 1.0, 3.0, 2.0], "int8": [0.4, 0.1, 0.2, 0.3]}


def put(
    project: Project,
    measure: str,
    columns: Mapping[str | None, Sequence[float]],
    quantity: str = "error",
    **meta: object,
) -> int:
    rows = tuple(
        Row(layer.name, key, value, quantity=quantity)
        for key, values in columns.items()
        for layer, value in zip(project.info.layers, values, strict=True)
    )
    run = project.begin_run(measure, **{"unit": "nats", "task": "kl", **meta})
    seconds = {FORWARD_SECONDS: np.array([0.5])} if measure == "measured_error" else {}
    project.apply(run, Update(1, 1, rows=rows, arrays=seconds, samples=8))
    project.end_run(run)
    return run


def judged(project: Project, measure: str, **options: bool) -> Quality:
    found = [q for q in measure_quality(project, **options) if q.measure == measure]
    assert len(found) == 1
    return found[0]


def test_rank_correlation_is_scipys_with_ties_and_gaps() -> None:
    random = np.random.default_rng(0)
    first = random.integers(0, 6, 40).astype(float)
    second = first + random.integers(0, 4, 40)
    assert rank_correlation(first, second) == pytest.approx(
        spearmanr(first, second).statistic
    )
    with_gap = np.append(first, np.nan)
    assert rank_correlation(with_gap, np.append(second, 3.0)) == pytest.approx(
        spearmanr(first, second).statistic
    )
    assert rank_correlation(np.array([1, 2, np.inf]), np.array([3.0, 4, 5])) == 1
    assert math.isnan(rank_correlation(np.ones(5), np.arange(5.0)))
    assert math.isnan(rank_correlation(np.array([1.0, 2]), np.array([1.0, 2])))


def test_a_predicted_error_is_ranked_and_calibrated() -> None:
    project = made(4)
    put(project, "measured_error", TRUTH)
    predicted = {"int4": [8.0, 2.0, 3.0, 4.0], "int8": [0.2, 0.1, 0.3, 0.6]}
    put(project, "predicted_error", {**predicted, "int2": [1.0] * 4})
    found = judged(project, "predicted_error")
    flat = [TRUTH["int4"] + TRUTH["int8"], predicted["int4"] + predicted["int8"]]
    assert found.spearman == pytest.approx(spearmanr(*flat).statistic)
    assert found.pairs == 8
    for key, value in found.per_format.items():
        assert value == pytest.approx(spearmanr(TRUTH[key], predicted[key]).statistic)
    assert found.rank == pytest.approx(np.mean(list(found.per_format.values())))
    ratios = np.array(flat[1]) / np.array(flat[0])
    quartiles = np.quantile(ratios, [0.25, 0.5, 0.75])
    assert [found.ratio_low, found.ratio, found.ratio_high] == pytest.approx(quartiles)
    assert found.note == ""
    assert found.forwards == pytest.approx(found.seconds / 0.5)


def test_numbers_that_fall_with_the_error_are_turned_round() -> None:
    project = made(4)
    put(project, "measured_error", TRUTH)
    decibel = {key: [-10 * math.log10(v) for v in col] for key, col in TRUTH.items()}
    put(project, "weights", decibel, "sqnr", unit="dB", task="")
    found = judged(project, "weights")
    assert found.spearman == pytest.approx(1)
    assert math.isnan(found.ratio)
    assert "it ranks only" in found.note


def test_one_number_per_layer_is_ranked_within_each_format() -> None:
    project = made(4)
    put(project, "measured_error", TRUTH)
    put(project, "hessian", {None: [4.0, 1.0, 3.0, 2.0]}, "trace")
    found = judged(project, "hessian")
    assert math.isnan(found.spearman)
    assert math.isnan(found.ratio)
    assert found.per_format == pytest.approx({"int4": 1.0, "int8": 0.8})
    assert found.rank == pytest.approx(0.9)
    assert "One number per layer" in found.note


def test_descriptions_are_judged_only_when_asked_for() -> None:
    project = made(4)
    put(project, "measured_error", TRUTH)
    put(project, "weights", {None: [1.0, 2.0, 3.0, 4.0]}, "kurtosis")
    assert measure_quality(project) == ()
    assert judged(project, "weights", descriptions=True).pairs == 8


def test_what_cannot_be_compared_is_nan_with_a_reason() -> None:
    project = made(4)
    put(project, "predicted_error", TRUTH)
    assert "run measured_error" in judged(project, "predicted_error").note
    put(project, "measured_error", {"int3": [1.0, 2.0, 3.0, 4.0]})
    found = judged(project, "predicted_error")
    assert "None of its formats was measured (int4, int8)" in found.note
    assert math.isnan(found.spearman)
    assert math.isnan(found.rank)
    put(project, "measured_error", TRUTH)
    put(project, "predicted_error", TRUTH, state="int4")
    found = judged(project, "predicted_error")
    assert "another state (int4, measured: float)" in found.note
    assert math.isnan(found.spearman)


def test_too_few_layers_are_told() -> None:
    project = made(2)
    put(project, "measured_error", {"int4": [1.0, 2.0]})
    put(project, "predicted_error", {"int4": [1.0, 2.0]})
    found = judged(project, "predicted_error")
    assert "Only 2 layers and formats" in found.note
    assert math.isnan(found.spearman)


def test_an_infinite_error_ranks_but_does_not_calibrate() -> None:
    project = made(4)
    put(project, "measured_error", {"int4": [1.0, 2.0, 4.0, math.inf]})
    put(project, "predicted_error", {"int4": [2.0, 4.0, 8.0, 9.0]})
    found = judged(project, "predicted_error")
    assert found.spearman == pytest.approx(1)
    assert found.ratio == pytest.approx(2)


def test_the_cost_of_fewer_samples_is_in_passes_over_those() -> None:
    project = made(4)
    put(project, "measured_error", TRUTH)
    run = project.begin_run("predicted_error", unit="nats", task="kl")
    rows = tuple(Row(f"l{i}", "int4", float(i)) for i in range(4))
    project.apply(run, Update(1, 1, rows=rows, samples=2))
    assert math.isnan(judged(project, "predicted_error").forwards)
    project.end_run(run)
    found = judged(project, "predicted_error")
    assert found.forwards == pytest.approx(found.seconds / (0.5 * 2 / 8))


def test_numbers_of_sites_between_layers_are_not_judged() -> None:
    project = made(4)
    put(project, "measured_error", TRUTH)
    run = project.begin_run("relevance", unit="of the output", task="kl")
    layers = [
        Row(layer.name, None, float(i), quantity="positive")
        for i, layer in enumerate(project.info.layers)
    ]
    sites = [Row("l0:matmul.0", None, 1.0, quantity="positive", part="output")]
    project.apply(run, Update(1, 1, rows=(*layers, *sites), samples=8))
    project.end_run(run)
    assert judged(project, "relevance").pairs == 8
