"""The help pages: the same words as the classes, and readable as Markdown."""

from __future__ import annotations

import subprocess
import sys

import pytest

from analysis.described import describe, measures_described
from analysis.glossary import glossary
from analysis.handbook import as_markdown, page, topics
from analysis.measures import NAMES, measures
from analysis.search import SEARCHES


def test_what_the_source_says_is_what_the_classes_say() -> None:
    described = measures_described()
    assert tuple(described) == NAMES
    for key, method in measures().items():
        assert described[key] == describe(method)


def test_pages_of_measures_are_made_without_torch() -> None:
    code = (
        "import sys\n"
        "from analysis.handbook import page, topics\n"
        "assert all(page(key) for key, _ in topics())\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("False", "")


def test_every_topic_has_a_page_with_a_title() -> None:
    listed = dict(topics())
    assert {"panel:layers", "measure:weights", "search:exact", "glossary"} <= set(
        listed
    )
    assert len(set(listed.values())) == len(listed)
    for key in listed:
        text = page(key)
        assert text is not None
        assert text.startswith("# "), key
        assert text.count("\n# ") == 0, key


def test_pages_of_methods_explain_every_parameter() -> None:
    text = page("measure:activations") or ""
    for info in describe(measures()["activations"]).parameters:
        assert f"`--activations.{info.name}`" in text
        assert as_markdown(info.doc) in text
    assert "Unit:" in (page("measure:weights") or "")


def test_what_was_rebuilt_is_said() -> None:
    rebuilt = [search for search in SEARCHES if getattr(search, "reconstruction", "")]
    assert rebuilt
    for search in rebuilt:
        assert "**Reconstruction:**" in (page(f"search:{search.key}") or "")
    assert "Reconstruction" not in (page("search:exact") or "")


def test_every_word_has_a_page_and_is_in_the_glossary() -> None:
    text = page("glossary") or ""
    for key, entry in glossary().items():
        assert as_markdown(entry.definition) in text
        assert as_markdown(entry.definition) in (page(key) or "")


def test_formats_say_their_range() -> None:
    assert "-7 to 7, times the scale" in (page("format:int4") or "")
    assert "Zero point" in (page("format:int4_asym") or "")
    assert "without a scale" in (page("format:float16") or page("format:fp16") or "")


@pytest.mark.parametrize(
    "topic", ["", "panel:", "panel:../glossary", "measure:x", "search:x", "format:x"]
)
def test_what_is_not_there_has_no_page(topic: str) -> None:
    assert page(topic) is None


def test_links_between_pages_lead_somewhere() -> None:
    import re

    for key, _ in topics():
        for target in re.findall(r"\]\(([^)]*)\)", page(key) or ""):
            assert page(target) is not None, f"{key} -> {target}"
