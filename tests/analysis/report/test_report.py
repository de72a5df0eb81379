"""The report: one whole HTML file, safe with any layer name."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.method import Row, Update
from analysis.project import Project
from analysis.report import write_report
from analysis.report.style import DARK
from analysis.report.svg import ACCENT, INK, MARK, MUTED, PAPER, colour, heatmap, ticks
from quant_core.scheme import Scheme
from tests.analysis.diagnosis.projects import add_errors, add_statistics, info
from tests.compared import add_run, compared, layers_info

EVIL = '"><script>alert(1)</script>&\x1b'
VOID = {"meta", "br", "img", "input", "link", "hr"}


class Outline(HTMLParser):
    """Checks nesting and keeps what a test asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.tags)

    def under(self, tag: str) -> list[str]:
        return [text for owner, text in self.texts if owner == tag]


def outline(path: Path) -> Outline:
    found = Outline()
    found.feed(path.read_text(encoding="utf-8"))
    found.close()
    assert not found.open, "every element is closed"
    return found


@pytest.fixture
def project() -> Project:
    """Six layers, one with a hostile name, everything measured."""
    model = info(6)
    layers = list(model.layers)
    layers[2] = dataclasses.replace(layers[2], name=EVIL)
    made = Project.create(
        dataclasses.replace(model, layers=tuple(layers), name=f"made {EVIL}")
    )
    errors = {
        ("weight", "int4"): [0.1, 0.1, 9.0, 0.1, 0.1, 0.1],
        ("weight", "int8"): [0.001] * 6,
    }
    add_errors(made, errors, data_source=EVIL)
    add_statistics(made, "weights", {"kurtosis": [3.0] * 6, "absmax": [1.0] * 6})
    run = made.begin_run("weights")
    counts = np.array([0, 1, 30, 5, 0, 1], np.int64)
    arrays = {
        f"weights/{EVIL}/hist_counts": counts,
        f"weights/{EVIL}/hist_edges": np.linspace(-1, 1, 7),
    }
    rows = tuple(Row(x.name, None, 3.0, quantity="kurtosis") for x in layers)
    made.apply(run, Update(1, 1, rows=rows, arrays=arrays))
    made.end_run(run)
    made.set_weight(range(6), Scheme("int4"))
    made.keep_assignment(EVIL)
    made.set_weight([0], Scheme("int8"))
    return made


def test_the_report_is_one_whole_safe_page(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    found = write_report(project, path, name=EVIL)
    text = path.read_text(encoding="utf-8")
    seen = outline(path)
    assert seen.count("script") == 1, "our own, none from a layer name"
    assert "alert(1)</script>" not in text
    assert "\x1b" not in text
    titles = [
        "Summary",
        "Findings",
        "Predicted error of every layer",
        "Sensitivity",
        "Size against error",
        "Distributions of the worst layers",
        "Layers",
        "Runs",
    ]
    assert [t for t in seen.under("h2") if t in titles] == titles
    assert seen.count("article") == len(found.findings) > 0


def test_the_report_asks_nothing_of_the_network(
    project: Project, tmp_path: Path
) -> None:
    path = tmp_path / "r.html"
    write_report(project, path)
    text = path.read_text(encoding="utf-8")
    for tag, attributes in outline(path).tags:
        assert tag not in ("link", "img", "iframe", "object", "base"), tag
        assert not {"src", "href", "onclick", "onload"} & set(attributes), attributes
    text = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?://|@import|url\(", text)


def test_plots_are_well_formed_and_on_white(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    write_report(project, path)
    pictures = re.findall(r"<svg.*?</svg>", path.read_text("utf-8"), re.DOTALL)
    assert len(pictures) == 4, "errors, sensitivity, trade-off, one distribution"
    space = "{http://www.w3.org/2000/svg}"
    for picture in pictures:
        tree = ElementTree.fromstring(picture)
        ground = tree.find(f"{space}rect")
        assert ground is not None
        assert ground.get("fill") == "#ffffff"
        assert ground.get("width") == tree.get("width")
        assert tree.findtext(f"{space}title")
    heat = ElementTree.fromstring(pictures[0])
    cells = [
        r for r in heat.iter(f"{space}rect") if r.find(f"{space}title") is not None
    ]
    assert len(cells) == 6 * 2


def test_nothing_is_light_in_the_dark(project: Project, tmp_path: Path) -> None:
    write_report(project, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    style = text.partition("<style>")[2].partition("</style>")[0]
    light, _, dark = style.partition("prefers-color-scheme: dark")
    own = dict(re.findall(r"--(\w+): (#\w+);", light))
    other = dict(re.findall(r"--(\w+): (#\w+);", dark))
    assert own.keys() == other.keys()
    assert not set(own.values()) & set(other.values())
    # Colours of the page stand in variables alone, those of pictures have a rule.
    rules = re.sub(r":root \{.*?\}", "", style)
    written = re.findall(r"#[0-9a-f]{6}", re.sub(r'="#\w+"', "", rules))
    assert not written
    pictures = re.sub(r"(?s)<style>.*?</style>", "", text)
    used = set(re.findall(r'(fill|stroke)="(#\w+)"', pictures))
    cells = {colour(share) for share in np.linspace(0, 1, 1001)} | {"#000000"}
    for attribute, shown in used:
        if shown not in cells:
            assert f'[{attribute}="{shown}"]' in style, shown


def contrast(a: str, b: str) -> float:
    """Return the contrast ratio of WCAG 2.1."""

    def luminance(shown: str) -> float:
        parts = np.array([int(shown[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(
            parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4
        )
        return float(linear @ [0.2126, 0.7152, 0.0722])

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_enough_in_both() -> None:
    for ink, ground in ((INK, PAPER), (MUTED, PAPER)):
        assert contrast(ink, ground) >= 4.5
        assert contrast(DARK[ink], DARK[ground]) >= 4.5
    for mark in (ACCENT, MARK):
        assert contrast(mark, PAPER) >= 3
        assert contrast(DARK[mark], DARK[PAPER]) >= 3


def test_numbers_in_cells_can_be_read() -> None:
    values = np.logspace(-6, 0, 60).reshape(12, 5)
    rows, columns = [str(i) for i in range(12)], list("abcde")
    text = heatmap(rows, columns, values, "nats", "errors")
    cells = re.findall(r'fill="(#\w+)"><title>.*?</rect><text [^>]*fill="(#\w+)"', text)
    assert len(cells) == 60
    for cell, ink in cells:
        assert contrast(cell, ink) >= 4.4, (cell, ink)


def test_the_layer_table_sorts_by_numbers(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    write_report(project, path)
    text = path.read_text(encoding="utf-8")
    table = text[text.index('<table class="sortable"') :]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    assert body.count("<tr>") == 6
    sizes = [float(v) for v in re.findall(r'<td class=n data-value="([^"]+)"', body)]
    assert 9.0 in sizes, "the predicted error in full"
    assert "<td>l0</td>" in body


def test_another_assignment_is_reported_as_it_is(
    project: Project, tmp_path: Path
) -> None:
    path = tmp_path / "r.html"
    plan = project.find_assignment(EVIL)
    write_report(project, path, assignment=plan, name="kept")
    assert "6 int4" in path.read_text(encoding="utf-8")
    assert project.assignment.digest != plan.digest, "and nothing was changed"


def test_a_file_is_not_replaced_unasked(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    path.write_text("mine")
    with pytest.raises(AnalysisError, match="exists already"):
        write_report(project, path)
    assert path.read_text() == "mine"
    write_report(project, path, overwrite=True)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("layers", [0, 1])
def test_a_bare_project_has_a_report(layers: int, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    write_report(Project.create(info(layers)), path)
    seen = outline(path)
    assert "Not judged" in seen.under("h3")
    assert seen.count("svg") == 0


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (-0.5, 0.5, [-0.4, -0.2, 0, 0.2, 0.4]),
        (3, 3.1, [3, 3.02, 3.04, 3.06, 3.08, 3.1]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_colours_rise_in_lightness() -> None:
    def lightness(text: str) -> int:
        red, green, blue = (int(text[i : i + 2], 16) for i in (1, 3, 5))
        return 299 * red + 587 * green + 114 * blue

    shades = [lightness(colour(share)) for share in np.linspace(0, 1, 33)]
    assert shades == sorted(shades)
    assert colour(-1) == colour(0)
    assert colour(2) == colour(1)


# -- sensitivity -------------------------------------------------------------------


def section_of(project: Project, tmp_path: Path) -> str:
    """Return the section on sensitivity, "" when there is none."""
    path = tmp_path / "r.html"
    write_report(project, path, overwrite=True)
    outline(path)
    text = path.read_text(encoding="utf-8")
    return (text.split("<h2>Sensitivity</h2>") + [""])[1].partition("</section>")[0]


def test_sensitivity_lays_measures_side_by_side(tmp_path: Path) -> None:
    text = section_of(compared(6), tmp_path)
    bars, scatter = re.findall(r"<svg.*?</svg>", text)
    drawn = ElementTree.fromstring(bars)
    texts = [node.text for node in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[:6] == [f"block.{i}" for i in range(6)]
    titles = ["Predicted error", "Measured error", "HAWQ-V2 score", "SQNR"]
    assert [t for t in texts if t in titles] == titles
    told = [n.text for n in drawn.iter("{http://www.w3.org/2000/svg}title")]
    assert "block.0: 0.2 nats ± 0.02" in told
    assert scatter.count("<circle") == 6
    assert "Spearman 1.000 over 6 layers" in text


def test_bars_are_as_long_as_their_logarithms_say(tmp_path: Path) -> None:
    text = section_of(compared(6), tmp_path)
    rects = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', text)
    start = rects[0][0]
    widths = [float(width) for x, width in rects if x == start]
    assert len(widths) == 6
    # Errors fall by equal factors, so bars fall by equal steps.
    steps = np.diff(widths)
    np.testing.assert_allclose(steps, steps.mean(), atol=0.11)
    assert steps.mean() < -5


def test_the_report_says_which_measure_to_trust(tmp_path: Path) -> None:
    text = section_of(compared(6), tmp_path)
    rows = re.findall(r"<tr><td>(.*?)</td>(.*?)</tr>", text)
    found = {title: re.findall(r'data-value="([^"]*)"', cells) for title, cells in rows}
    assert found["Predicted error"][:3] == ["1.0", "1.0", "2.0"]
    assert float(found["Hessian trace"][0]) == pytest.approx(1 - 36 / 210)
    assert found["Hessian trace"][1:3] == ["", ""]


def test_no_section_on_sensitivity_before_a_measure(tmp_path: Path) -> None:
    assert section_of(Project.create(layers_info(3)), tmp_path) == ""


def test_numbers_of_nothing_but_zero_and_of_one_layer_are_drawn(
    tmp_path: Path,
) -> None:
    for values in (np.zeros(3), np.array([np.nan, 2.0, np.nan])):
        project = Project.create(layers_info(3))
        add_run(project, "fisher", {("fit", "int4"): values})
        add_run(project, "measured_error", {("error", "int4"): values})
        text = section_of(project, tmp_path)
        assert text.count("<svg") == 1, "no scatter of a single point"
        assert "nan" not in text
