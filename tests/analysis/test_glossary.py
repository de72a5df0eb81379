"""The glossary: readable, sorted, and without a gap for what methods show."""

from __future__ import annotations

import pytest

from analysis.errors import AnalysisError
from analysis.export import EXPORTERS
from analysis.glossary import (
    explain_axis,
    explain_column,
    explain_parameter,
    explain_quantity,
    explain_unit,
    glossary,
    parse,
)
from analysis.measures import measures
from analysis.measures.distribution import QUANTITIES
from analysis.method import describe_params
from analysis.search import SEARCHES

METHODS = [*measures().values(), *SEARCHES, *EXPORTERS]


def test_entries_are_sorted_and_whole_sentences() -> None:
    keys = list(glossary())
    assert keys == sorted(keys)
    for entry in glossary().values():
        assert entry.definition[-1] in ".…", entry.key
        assert entry.term[0] == entry.term[0].upper(), entry.key
        assert not entry.source.endswith("."), entry.key


def test_every_unit_that_is_named_is_explained() -> None:
    units = {entry.unit for entry in glossary().values()} - {""}
    units |= {method.unit for method in measures().values()} - {""}
    assert [unit for unit in sorted(units) if explain_unit(unit) is None] == []
    assert explain_unit("nats per sample") is glossary()["unit.nats"]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.key)
def test_every_parameter_has_an_entry(method: type) -> None:
    missing = [
        info.name
        for info in describe_params(method)
        if explain_parameter(info.name, method.key) is None
    ]
    assert missing == [], "add parameter.NAME to resources/glossary.toml"


def test_every_statistic_has_an_entry() -> None:
    assert [name for name in QUANTITIES if explain_quantity(name) is None] == []


def test_a_method_may_mean_something_of_its_own(monkeypatch) -> None:
    own = parse(
        '["parameter.a.top"]\nterm = "Own"\ndefinition = "Of a."\n'
        '["parameter.top"]\nterm = "Shared"\ndefinition = "Of all."\n'
    )
    monkeypatch.setattr("analysis.glossary.glossary", lambda: own)
    shown = [explain_parameter("top", method) for method in ("a", "b")]
    assert [entry and entry.term for entry in shown] == ["Own", "Shared"]
    assert explain_parameter("unknown", "a") is None


def test_what_is_looked_up_is_found() -> None:
    assert explain_axis("channel, widest first") is glossary()["axis.channel"]
    assert explain_axis("no such axis") is None
    sqnr = explain_column("sqnr")
    assert sqnr is not None
    assert sqnr.kind == "column"
    text = sqnr.text()
    assert text.startswith(sqnr.definition)
    for fact in ("Unit: decibel.", "Higher is better.", "Source: Widrow"):
        assert fact in text


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[", "cannot be read"),
        ('["unit.x"]\nterm = "X"\n', "wrong fields"),
        ('["unit.x"]\nterm = "X"\ndefinition = "Y."\nsize = "Z"\n', "wrong fields"),
        ('["thing.x"]\nterm = "X"\ndefinition = "Y."\n', "unknown kind"),
        (
            '["unit.x"]\nterm = "X"\ndefinition = "Y."\nbetter = "more"\n',
            "unknown direction",
        ),
    ],
)
def test_a_damaged_file_is_refused(text: str, what: str) -> None:
    with pytest.raises(AnalysisError, match=what):
        parse(text)
