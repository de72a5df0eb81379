"""The handbook as a web page: the texts of the help pane, linked, in one file."""

from __future__ import annotations

import doctest
import re
from html.parser import HTMLParser

import pytest

import analysis.report.markup as markup
from analysis.errors import AnalysisError
from analysis.handbook import page, topics
from analysis.report import write_handbook
from analysis.report.handbook_page import handbook_page
from analysis.report.markup import html_of

VOID = {"meta", "br"}


class Reader(HTMLParser):
    """Collects what a reader sees, and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        if tag not in VOID:
            self.open.append(tag)
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given else []

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if not {"style", "script", "code", "pre"} & set(self.open):
            self.words.append(data)


@pytest.fixture(scope="module")
def read() -> Reader:
    reader = Reader()
    reader.feed(handbook_page())
    reader.close()
    return reader


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(markup).failed == 0


def test_every_topic_is_there_and_every_link_leads_somewhere(read):
    assert read.open == []
    assert len(read.ids) == len(set(read.ids)) == len(list(topics()))
    assert {link.removeprefix("#") for link in read.links} <= set(read.ids)
    assert all(link.startswith("#") for link in read.links), "it needs no network"


def test_the_words_are_those_of_the_help_pane(read):
    def plain(text: str) -> str:
        return "".join(re.findall(r"\w+", text))

    seen = plain(" ".join(read.words))
    for topic, _ in topics():
        lines = (page(topic) or "").splitlines()
        for line in lines:
            is_prose = line.strip() and not line.startswith("    ")
            if is_prose and not set("`[") & set(line):
                assert plain(line) in seen, (topic, line)


def test_no_sign_of_markdown_is_left(read):
    text = " ".join(read.words)
    for sign in (r"\*\*", r"\]\(", r"\\[*_<]", "`", r"(?m)^#"):
        assert not re.search(sign, text), sign


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\n\nc", "<p>a b</p><p>c</p>"),
        ("- one\n  more\n- two", "<ul><li>one more</li><li>two</li></ul>"),
        ("x:\n\n    a < b\n    c\n\ny", "<p>x:</p><pre>a &lt; b\nc</pre><p>y</p>"),
        ("**a `b_*c`** \\* d", "<p><strong>a <code>b_*c</code></strong> * d</p>"),
        ("*soft* 2 \\* 3", "<p><em>soft</em> 2 * 3</p>"),
        ("## B\ntext", "<h2>B</h2><p>text</p>"),
        ("[a](gone) <b>&", "<p>a &lt;b&gt;&amp;</p>"),
        ("", ""),
    ],
)
def test_what_the_pages_use_becomes_html(text, expected):
    assert html_of(text, lambda to: None) == expected


def test_an_existing_file_is_kept_unless_asked(tmp_path):
    path = tmp_path / "handbook.html"
    write_handbook(path)
    assert path.read_text(encoding="utf-8") == handbook_page()
    with pytest.raises(AnalysisError, match=r"exists"):
        write_handbook(path)
    write_handbook(path, overwrite=True)
