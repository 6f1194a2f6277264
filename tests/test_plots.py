"""Plots and the page around them: well-formed, labelled, escaped, whatever labels and texts say."""

from __future__ import annotations

import random
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from scored import extraction

from genner_cli.calibration import Judged, reliability
from genner_cli.plots import charts
from genner_cli.plots.page import page
from genner_cli.scoring import evaluate
from genner_cli.scoring.tables import Table, evaluation_tables
from genner_cli.types import Document, Entity, Extraction

HOSTILE = ["<script>alert(1)</script>", "$a_b$", "A&B", '"x" onload="y"', "事件", "👩‍👩‍👧", "x" * 80, "' --> ]]>"]


def found(labels: list[str] | None = None) -> list[Extraction]:
    """Documents with two entities of each label: one found, one taken for the next label."""
    names = labels or ["PER", "ORG"]
    done = []
    for at, label in enumerate(names):
        other = names[(at + 1) % len(names)]
        text = f"Ann {label}"
        gold = (Entity(0, 3, label, "Ann"), Entity(4, len(text), label, label))
        predicted = (Entity(0, 3, label, "Ann", 0.9), Entity(4, len(text), other, label, 0.3))
        done.append(Extraction(Document(text, f"<b>{at}</b>", gold), predicted))
    return done


def svgs(html: str) -> list[ElementTree.Element]:
    """All drawings of a page, which must be well-formed."""
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


def texts(svg: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in svg.iter("{http://www.w3.org/2000/svg}text")]


class Page(HTMLParser):
    """What a browser would see: elements, attributes, text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.ids: list[str] = []
        self.said: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.said.append(data)


@pytest.fixture(scope="module")
def html() -> str:
    """A page of hostile labels, texts and ids."""
    done = found(HOSTILE)
    return page(evaluate(done, resamples=20), done, title="<i>gold</i> & more")


def test_a_page_has_four_plots_each_with_its_label_for_those_who_do_not_see(html: str) -> None:
    drawn = svgs(html)
    assert [svg.get("role") for svg in drawn] == ["img"] * 4
    labels = [svg.get("aria-label") or "" for svg in drawn]
    assert [label.split()[0] for label in labels] == ["F1", "How", "Precision", "Share"]


def test_what_comes_from_data_cannot_be_markup(html: str) -> None:
    seen = Page(html)
    assert not {"script", "i", "b", "iframe", "img", "link"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    said = " ".join(seen.said)
    for label in HOSTILE[:6]:
        assert label in said
    assert "<i>gold</i> & more" in said
    assert "<b>0</b>" in said


def test_a_page_has_the_tables_of_the_terminal() -> None:
    done = found(HOSTILE)
    evaluation = evaluate(done, resamples=20)
    said = "".join(Page(page(evaluation, done, title="x")).said)
    shown = [*evaluation_tables(evaluation)]
    tables = [part for part in shown if isinstance(part, Table) and part.headings[0] != "gold label"]
    assert len(tables) == 3
    for table in tables:
        assert all(cell in said for row in (table.headings[1:], *table.rows) for cell in row)
    assert all(part in said for part in shown if isinstance(part, str))


def test_a_page_loads_nothing_and_repeats_no_id(html: str) -> None:
    seen = Page(html)
    assert len(seen.ids) == len(set(seen.ids))
    links = [value or "" for name, value in seen.attributes if name in ("src", "href", "xlink:href")]
    assert all(value.startswith("#") for value in links)
    assert {value[1:] for value in links} <= set(seen.ids)
    assert "url(http" not in html
    assert "@import" not in html


def test_plots_are_drawn_in_the_colour_of_the_page(html: str) -> None:
    assert charts.INK not in html
    assert "currentColor" in html
    assert "prefers-color-scheme: dark" in html


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours (WCAG 2.2)."""

    def luminance(colour: str) -> float:
        shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_colours_can_be_told_from_light_and_dark_paper(html: str) -> None:
    papers, inks, softs = (re.findall(rf"--{name}: (#\w+)", html) for name in ("paper", "ink", "soft"))
    assert len(papers) == 2
    for paper, ink, soft in zip(papers, inks, softs, strict=True):
        assert contrast(paper, ink) > 7
        assert contrast(paper, soft) > 4.5
        assert contrast(paper, charts.ACCENT) > 3
        assert contrast(paper, charts.SECOND) > 3


def test_labels_stand_in_the_plot_as_they_are() -> None:
    done = found(["$a_b$", "PER"])
    (svg,) = svgs(charts.f1_by_label(evaluate(done, resamples=5).labels))
    assert {"$a_b$", "PER"} <= set(texts(svg))


def test_the_confusion_shows_each_count() -> None:
    spans = [(0, 1, "A"), (2, 3, "A"), (4, 5, "B")]
    done = [extraction(spans, [(0, 1, "A"), (2, 3, "B"), (8, 9, "B"), (10, 11, "B")])]
    (svg,) = svgs(charts.confusion(evaluate(done, resamples=0).confusion))
    assert sorted(text for text in texts(svg) if text.isdigit()) == ["1", "1", "1", "2"]


def test_the_curve_ends_at_the_precision_and_recall_of_all() -> None:
    points = [Judged("A", 0.9, True), Judged("A", 0.5, False), Judged("A", 0.5, True), Judged("A", 0.2, False)]
    assert list(charts._curve(points, 4)) == [(0.9, 25, 100), (0.5, 50, pytest.approx(200 / 3)), (0.2, 50, 50)]


def test_many_labels_are_cut_to_those_with_the_most_gold() -> None:
    done = [extraction([(at, at + 1, f"L{at}") for at in range(90)], []), extraction([(0, 1, "L7"), (2, 3, "L7")], [])]
    evaluation = evaluate(done, resamples=0)
    (svg,) = svgs(charts.f1_by_label(evaluation.labels))
    names = [text for text in texts(svg) if text.startswith("L")]
    assert len(names) == 40
    assert "L7" in names
    svgs(charts.confusion(evaluation.confusion))


def test_predictions_without_scores_have_no_plots_of_scores() -> None:
    done = [extraction([(0, 1, "A")], [(0, 1, "A")], id="a")]
    assert len(svgs(page(evaluate(done, resamples=0), done, title="x"))) == 2


def test_nothing_found_and_nothing_there_make_a_page() -> None:
    done = [extraction([], [], id="a")]
    assert "Strict micro F1" in page(evaluate(done, resamples=0), done, title="x")


def test_the_same_figures_make_the_same_page() -> None:
    rng = random.Random(0)
    points = [Judged("A", rng.random(), rng.random() < 0.5) for _ in range(50)]
    assert charts.reliability(reliability(points)) == charts.reliability(reliability(points))
