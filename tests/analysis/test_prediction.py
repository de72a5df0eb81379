"""Predictions of whole assignments from kept projections."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.measures.probe_rows import ProbeRows
from analysis.prediction import Predictor, clustered_ratio, probe_noise
from quant_core.assignment import Assignment
from quant_core.scheme import Scheme
from quant_core.sites import Layer

INT4, INT8 = Scheme("int4"), Scheme("int8")
COLUMNS = [("weight", f"l{i}", s.key) for i in range(3) for s in (INT4, INT8)]
LAYERS = tuple(
    Layer(f"l{i}", f"l{i}.weight", "linear", (4, 4), "float32") for i in range(3)
)


def _rows(seed: int = 0, rows: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "v": rng.normal(size=(rows, len(COLUMNS))).astype(np.float32),
        "weight": rng.uniform(0.5, 2, rows),
        "sample": np.repeat(np.arange(rows // 2), 2),
    }


def _predictor(**changed: object) -> Predictor:
    given = {**_rows(), "columns": np.array(COLUMNS), **changed}
    return Predictor(**given)  # type: ignore[arg-type]


def _assignment(*schemes: Scheme | None) -> Assignment:
    made = Assignment.float(LAYERS, "m", "d")
    for i, scheme in enumerate(schemes):
        made = made.with_weight(np.array([i]), scheme)
    return made


def test_value_is_the_mean_square_of_summed_columns() -> None:
    rows = _rows()
    prediction = _predictor().predict(_assignment(INT4, None, INT8))
    v = rows["v"].astype(float)[:, [0, 5]]
    raw = (v.sum(1) ** 2).sum() / rows["weight"].sum()
    additive = (v**2).sum() / rows["weight"].sum()
    assert prediction.additive == pytest.approx(additive)
    assert prediction.additive + prediction.interaction == pytest.approx(raw)
    expected = additive + prediction.shrinkage * (raw - additive)
    assert prediction.value == pytest.approx(expected)
    assert 0 <= prediction.shrinkage <= 1
    assert prediction.missing == 0


def _noise(count: int, outputs: float) -> tuple[float, float]:
    """Return the noise of orthogonal and of independent probes of 3 samples."""
    rng = np.random.default_rng(count)
    numerator, weight = rng.normal(size=3 * count), np.ones(3 * count)
    sample = np.repeat(np.arange(3), count)
    return (
        probe_noise(numerator, weight, sample, outputs),
        probe_noise(numerator, weight, sample),
    )


@pytest.mark.parametrize(
    ("count", "outputs", "left"),
    [(16, 10, 0.0), (32, 10, 0.0), (8, 10, 0.5), (24, 16, 1 / 3), (64, 64, 0.0)],
)
def test_probes_drawn_from_a_basis_leave_less_noise(
    count: int, outputs: float, left: float
) -> None:
    orthogonal, independent = _noise(count, outputs)
    assert orthogonal == pytest.approx(independent * np.sqrt(left), abs=1e-15)


def test_probes_of_large_outputs_are_as_noisy_as_independent_ones() -> None:
    orthogonal, independent = _noise(64, 65)
    assert orthogonal == independent


def test_all_of_the_interaction_counts_once_a_basis_was_drawn() -> None:
    rows = {**_rows(), "sample": np.repeat(np.arange(10), 4)}
    plan = _assignment(INT4, INT4, INT8)
    whole = _predictor(**rows, outputs=4).predict(plan)
    assert whole.interaction_stderr == 0
    assert whole.shrinkage == 1
    assert _predictor(**rows).predict(plan).shrinkage < 1


def test_float_is_exactly_zero_also_after_many_edits() -> None:
    predictor = _predictor()
    rng = np.random.default_rng(3)
    for _ in range(200):
        choice = [(None, INT4, INT8)[k] for k in rng.integers(0, 3, 3)]
        edited = predictor.predict(_assignment(*choice))
        fresh = _predictor().predict(_assignment(*choice))
        assert edited.value == pytest.approx(fresh.value, abs=1e-9)
    nothing = predictor.predict(_assignment())
    assert nothing.value == 0.0
    assert nothing.additive == 0.0


def test_strong_interactions_are_kept_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    common = rng.normal(size=(4000, 1))
    sample = np.arange(4000)
    weight = np.ones(4000)
    noise = rng.normal(size=(4000, 6))
    together = np.repeat(common, 6, 1) + 0.1 * noise
    kept = _predictor(v=together.astype(np.float32), weight=weight, sample=sample)
    prediction = kept.predict(_assignment(INT4, INT4, INT4))
    # Three equal changes add up to nine times one of them.
    assert prediction.value == pytest.approx(9.03, rel=0.1)
    assert prediction.shrinkage > 0.95
    apart = _predictor(v=noise.astype(np.float32), weight=weight, sample=sample)
    prediction = apart.predict(_assignment(INT4, INT4, INT4))
    assert prediction.value == pytest.approx(3, rel=0.1)
    assert prediction.shrinkage < 0.5


def test_missing_columns_are_counted() -> None:
    columns = np.array([c for c in COLUMNS if c[1] != "l1"])
    v = _rows()["v"][:, : len(columns)]
    prediction = _predictor(v=v, columns=columns).predict(_assignment(INT4, INT4, INT4))
    assert prediction.missing == 1


def test_sums_alone_predict_the_additive_part() -> None:
    own = np.stack([np.arange(1.0, 7.0), np.full(6, 0.1)])
    predictor = _predictor(v=None, own=own)
    prediction = predictor.predict(_assignment(INT4, None, INT8))
    assert prediction.value == pytest.approx(1 + 6)
    assert prediction.stderr == pytest.approx(0.1 * 2**0.5)
    assert prediction.interaction == 0


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(AnalysisError, match="do not fit their column table"):
        _predictor(v=_rows()["v"][:, :2])
    with pytest.raises(AnalysisError, match="needs projections or their sums"):
        _predictor(v=None)


def test_standard_error_is_right_over_many_repetitions() -> None:
    rng = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(1000):
        level = rng.gamma(2.0, size=30)  # samples differ
        v = rng.normal(size=(120, 1)) * np.sqrt(np.repeat(level, 4))[:, None]
        value, stderr = clustered_ratio(v**2, np.ones(120), np.repeat(np.arange(30), 4))
        values.append(value[0])
        errors.append(stderr[0])
    assert np.mean(values) == pytest.approx(2.0, abs=3 * np.std(values) / 1000**0.5)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)


def test_noise_of_the_probes_leaves_out_the_spread_of_the_samples() -> None:
    rng = np.random.default_rng(0)
    level = rng.gamma(0.5, size=30)  # a few samples dominate
    cluster = np.repeat(np.arange(30), 4)
    values, noises = [], []
    for _ in range(1000):
        v = rng.normal(size=120) * np.sqrt(level[cluster])
        values.append((v**2).mean())
        noises.append(probe_noise(v**2, np.ones(120), cluster))
    squared = np.mean(np.square(noises))
    assert np.sqrt(squared) == pytest.approx(np.std(values), rel=0.1)
    single = probe_noise(level, np.ones(30), np.arange(30))
    assert single == clustered_ratio(level, np.ones(30), np.arange(30))[1]


@pytest.mark.parametrize("limit", [1 << 30, 0])
def test_shards_merge_to_the_single_run(limit: int) -> None:
    rows = _rows()
    whole = ProbeRows(6, limit)
    whole.update(rows["v"], rows["weight"], rows["sample"])
    whole.close()
    parts = []
    for part in (slice(0, 16), slice(16, 40)):
        shard = ProbeRows(6, limit)
        sample = rows["sample"][part]
        shard.update(rows["v"][part], rows["weight"][part], sample - sample[0])
        shard.close()
        parts.append(shard)
    parts[0].merge(parts[1])
    assert parts[0].samples == whole.samples == 20
    np.testing.assert_allclose(parts[0].own(), whole.own())
    assert parts[0].keeps_rows == (limit > 0)


def test_sums_give_the_same_values_and_errors_as_rows() -> None:
    rows = _rows()
    results = []
    for limit in (1 << 30, 0, rows["v"].nbytes - 1):
        kept = ProbeRows(6, limit)
        for part in (slice(0, 20), slice(20, 40)):
            kept.update(rows["v"][part], rows["weight"][part], rows["sample"][part])
            kept.close()
        results.append(kept.own())
    np.testing.assert_allclose(results[0], results[1])
    np.testing.assert_allclose(results[0], results[2])
