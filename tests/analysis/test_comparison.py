"""Numbers of several measures side by side."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.comparison import (
    HEADLINES,
    Criterion,
    agreement,
    criteria,
    formats_of,
    headlines,
    most_sensitive,
    parse_criteria,
    read,
    side_by_side,
)
from analysis.errors import AnalysisError
from analysis.measures import NAMES
from analysis.project import Project
from tests.compared import KEYS, add_run, compared, layers_info

ERROR = Criterion("predicted_error", "error")
SQNR = Criterion("weights", "sqnr")
TRACE = Criterion("hessian", "trace")
SCORE = Criterion("hessian", "hawq_v2")


@pytest.fixture
def project() -> Project:
    return compared(6)


def reading(project: Project, criterion: Criterion, key: str | None = "int4"):
    found = read(project, criterion, key)
    assert found is not None
    return found


def test_criteria_are_what_layers_have_numbers_for(project):
    known = criteria(project)
    assert known == (SQNR, ERROR, TRACE, SCORE, Criterion("measured_error", "error"))
    assert formats_of(project, known) == KEYS
    assert criteria(Project.create(layers_info(3))) == ()


def test_numbers_of_the_whole_model_rank_nothing():
    project = Project.create(layers_info(2))
    nothing = np.full(2, np.nan)
    add_run(project, "hessian_spectrum", {("largest", None): nothing})
    assert criteria(project) == ()


def test_headlines_are_the_best_number_of_each_measure(project):
    assert set(HEADLINES) <= set(NAMES)
    assert [c.measure for c in headlines(criteria(project))] == [
        "predicted_error",
        "measured_error",
        "hessian",
        "weights",
    ]
    assert SCORE in headlines(criteria(project))


def test_a_number_without_format_is_the_same_in_all_of_them(project):
    assert reading(project, TRACE, "int2").format is None
    assert reading(project, ERROR, "int2").format == "int2"
    assert read(project, ERROR, "int8") is None
    assert read(project, Criterion("fisher", "fit"), "int4") is None
    ratio = reading(project, ERROR, "int2").values / reading(project, ERROR).values
    np.testing.assert_allclose(ratio, 16)


def test_units_are_those_of_the_numbers(project):
    units = {c: reading(project, c).unit for c in (ERROR, SQNR, TRACE, SCORE)}
    assert units == {ERROR: "nats", SQNR: "dB", TRACE: "", SCORE: "nats"}


def test_rank_one_is_the_most_sensitive_whatever_better_means(project):
    np.testing.assert_array_equal(reading(project, ERROR).ranks(), [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(reading(project, SQNR).ranks(), [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(reading(project, TRACE).ranks(), [2, 1, 4, 3, 6, 5])


def test_a_layer_without_which_less_error_is_left_is_more_sensitive():
    project = Project.create(layers_info(3))
    left = np.array([0.3, 0.1, 0.2])
    add_run(project, "measured_error", {("all_but_one", "int4"): left})
    found = reading(project, Criterion("measured_error", "all_but_one"))
    np.testing.assert_array_equal(found.ranks(), [3, 1, 2])
    assert found.unit == "nats"


def test_unknown_numbers_have_no_rank_and_equal_ones_keep_their_order():
    project = Project.create(layers_info(4))
    values = np.array([1.0, np.nan, 2.0, 1.0])
    add_run(project, "fisher", {("trace", None): values})
    ranks = reading(project, Criterion("fisher", "trace")).ranks()
    np.testing.assert_array_equal(ranks, [2, np.nan, 1, 3])


def test_agreement_is_spearman(project):
    found = agreement([reading(project, c) for c in (ERROR, SQNR, TRACE)])
    assert found.shape == (3, 3)
    # 1 - 6 sum(d^2) / (n (n^2 - 1)), with six ranks wrong by one.
    pair = 1 - 6 * 6 / (6 * 35)
    np.testing.assert_allclose(found, [[1, 1, pair], [1, 1, pair], [pair, pair, 1]])


def test_the_most_sensitive_by_any_are_shown_in_the_order_of_the_first():
    project = Project.create(layers_info(5))
    add_run(project, "fisher", {("trace", None): np.array([5.0, 4, 3, 2, 1])})
    add_run(project, "hessian", {("trace", None): np.array([1.0, 2, 3, 4, np.nan])})
    both = [reading(project, Criterion(m, "trace")) for m in ("fisher", "hessian")]
    assert most_sensitive(both).tolist() == [0, 1, 2, 3, 4]
    assert most_sensitive(both, 2).tolist() == [0, 3]
    assert most_sensitive(both[1:]).tolist() == [3, 2, 1, 0]
    assert most_sensitive([]).tolist() == []


def test_the_table_has_value_error_and_rank_by_each(project):
    readings = [reading(project, ERROR), reading(project, TRACE)]
    titles, columns = side_by_side(["a", "b", "c", "d", "e", "f"], readings, [2, 0])
    assert titles == (
        "layer",
        "Predicted error, int4 [nats]",
        "standard error of Predicted error, int4",
        "rank by Predicted error, int4",
        "Hessian trace",
        "standard error of Hessian trace",
        "rank by Hessian trace",
    )
    assert columns[0] == ["c", "a"]
    assert columns[3] == [3, 1]
    assert columns[6] == [4, 2]
    np.testing.assert_allclose(columns[2], 0.1 * np.array(columns[1]))


def test_criteria_are_named_by_measure_or_in_full(project):
    known = criteria(project)
    assert parse_criteria("hessian, weights", known) == (SCORE, SQNR)
    assert parse_criteria("hessian.trace", known) == (TRACE,)
    with pytest.raises(AnalysisError, match=r"no such number(?s:.)*fisher"):
        parse_criteria("fisher", known)


def test_a_measure_without_its_headline_is_named_by_its_first_number():
    project = Project.create(layers_info(3))
    add_run(project, "fisher", {("trace", None): np.ones(3)})
    assert parse_criteria("fisher", criteria(project)) == (
        Criterion("fisher", "trace"),
    )


def test_titles_say_measure_quantity_and_part():
    assert ERROR.title == "Predicted error"
    assert SCORE.title == "Hessian trace: HAWQ-V2 score"
    assert SCORE.short == "HAWQ-V2 score"
    assert TRACE.title == TRACE.short == "Hessian trace"
    inputs = Criterion("fisher", "fit", "input")
    assert inputs.key == "fisher.fit.input"
    assert inputs.title.endswith("FIT of inputs")
