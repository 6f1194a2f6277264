"""The page of `genner view` in a real browser: what is drawn, what controls and keys do, and what cannot run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, expect, sync_playwright
from strategies import Case, cases

from genner_cli.types import Entity, canonical_order
from genner_cli.view.page import page as make_page
from genner_cli.view.viewed import Viewed

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = pytest.mark.slow

Open = Callable[..., Page]
MOST_ROWS = 40


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no browser: apt-get install chromium, or name one in CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def load(browser: Browser) -> Iterator[Open]:
    """Opens a file; at the end nothing but the file itself has been asked for, no error said and no dialog shown."""
    contexts = []
    asked: list[str] = []
    wrong: list[str] = []

    def opened(path: Path, **context: Any) -> Page:
        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        expect.set_options(timeout=20_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []
    assert len(asked) == len(contexts)
    assert all(url.startswith("file:///") for url in asked)


@pytest.fixture
def view(load: Open, genner: Callable[..., Run], tmp_path: Path) -> Open:
    """Writes records, makes the page of them with the command, and opens it."""

    def opened(records: list[dict[str, Any]], gold: list[dict[str, Any]] | None = None, **context: Any) -> Page:
        written = {"pred.jsonl": records, "gold.jsonl": gold}
        for name, lines in written.items():
            (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines or []), encoding="utf-8")
        compared = () if gold is None else ("--gold", tmp_path / "gold.jsonl")
        run = genner("view", tmp_path / "pred.jsonl", *compared, "-o", tmp_path / "page.html")
        assert run.status == 0, run.stderr
        return load(tmp_path / "page.html", **context)

    return opened


def entity(text: str, mention: str, label: str, score: float | None = None) -> dict[str, Any]:
    start = text.index(mention)
    return {"start": start, "end": start + len(mention), "label": label, "text": mention, "score": score}


def record(id: str, text: str, *entities: tuple[Any, ...], **fields: Any) -> dict[str, Any]:
    return {"id": id, "text": text, "entities": [entity(text, *parts) for parts in entities], **fields}


ANN = "Ann met Bob Stone in New York on Monday."
PREDICTED = [
    record("a", ANN, ("Ann", "PER", 0.9), ("Bob", "PER", 0.4), ("New York", "ORG", 0.7), ("on Monday", "TIME", 0.3)),
    record("b", "Acme is in Rome.", ("Acme", "ORG", 0.8), ("Rome", "LOC", 0.2)),
    record("c", "Nothing here, Ann."),
]
GOLD = [
    record("a", ANN, ("Ann", "PER"), ("Bob Stone", "PER"), ("New York", "LOC")),
    record("b", "Acme is in Rome.", ("Acme", "ORG"), ("Rome", "LOC")),
    record("c", "Nothing here, Ann.", ("Ann", "PER")),
]


def drawn(page: Page) -> list[tuple[str, str, str]]:
    """Mention, what its tag says, and classes of each entity that is drawn, ghosts left out."""
    found = page.evaluate(
        """() => marks.filter(({ ghost }) => !ghost).map(({ elements, entity }) => [
            elements.map((element) => {
                const copy = element.cloneNode(true);
                copy.querySelectorAll('.tag').forEach((tag) => tag.remove());
                return copy.textContent;
            }).join(''),
            elements.at(-1).lastChild.textContent,
            elements[0].className,
        ])"""
    )
    return [(mention, told, classes) for mention, told, classes in found]


def mentions(page: Page) -> list[str]:
    return [mention for mention, _, _ in drawn(page)]


def label_button(page: Page, name: str) -> Any:
    return page.get_by_role("group", name="Labels").get_by_role("button", name=name)


def set_slider(page: Page, value: float) -> None:
    page.get_by_role("slider").fill(str(value))


def test_a_document_is_shown_with_its_entities_and_the_list_with_counts(view: Open) -> None:
    page = view(PREDICTED)
    expect(page.get_by_role("heading", name="a", exact=True)).to_be_visible()
    assert drawn(page) == [
        ("Ann", "PER", "starts ends"),
        ("Bob", "PER", "starts ends"),
        ("New York", "ORG", "starts ends"),
        ("on Monday", "TIME", "starts ends"),
    ]
    assert page.locator(".row").all_inner_texts() == ["a\n4 entities", "b\n2 entities", "c\n0 entities"]
    assert page.locator("#summary").inner_text() == "3 documents · 6 entities"
    expect(page.get_by_role("group", name="Difference to gold")).to_have_count(0)


def test_labels_filter_the_text_the_list_and_the_figures(view: Open) -> None:
    page = view(PREDICTED)
    button = label_button(page, "ORG")
    expect(button).to_have_attribute("aria-pressed", "true")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    assert mentions(page) == ["Ann", "Bob", "on Monday"]
    assert page.locator(".row").all_inner_texts() == ["a\n3 entities", "b\n1 entity", "c\n0 entities"]
    assert page.locator("#summary").inner_text() == "3 documents · 4 entities"
    page.get_by_role("button", name="show all").click()
    expect(button).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="hide all").click()
    expect(page.get_by_role("button", name="show all")).to_be_visible()
    assert mentions(page) == []


def test_the_slider_hides_low_scores_and_says_its_value(view: Open) -> None:
    page = view(PREDICTED)
    set_slider(page, 0.4)
    expect(page.locator("#least-shown")).to_have_text("0.40")
    assert mentions(page) == ["Ann", "Bob", "New York"]
    set_slider(page, 0.41)
    expect(page.locator("#summary")).to_have_text("3 documents · 3 entities")
    assert mentions(page) == ["Ann", "New York"]
    expect(label_button(page, "TIME")).to_contain_text("0")


def test_without_scores_there_is_no_slider_and_nothing_is_hidden(view: Open) -> None:
    page = view([record("a", ANN, ("Ann", "PER"))])
    expect(page.get_by_role("slider")).to_have_count(0)
    assert mentions(page) == ["Ann"]


def test_search_finds_text_mentions_and_ids_and_counts_hits(view: Open) -> None:
    page = view([*PREDICTED, record("ann-4", "x")])
    box, hits, names = page.get_by_role("searchbox"), page.locator("#hits"), page.locator(".row-name")
    box.fill("ANN")
    expect(hits).to_have_text("3 hits in 3 documents")
    assert names.all_inner_texts() == ["a", "c", "ann-4"]
    assert page.locator(".found").all_inner_texts() == ["Ann"]
    scope = page.get_by_role("combobox", name="Search in")
    scope.select_option("mentions")
    expect(hits).to_have_text("1 hit in 1 document")
    scope.select_option("ids")
    expect(hits).to_have_text("1 hit in 1 document")
    assert names.all_inner_texts() == ["ann-4"]
    expect(page.get_by_role("heading", name="ann-4")).to_be_visible()
    box.fill("(.*")
    expect(page.get_by_role("heading", name="No document matches")).to_be_visible()
    expect(hits).to_have_text("0 hits in 0 documents")
    box.fill("")
    expect(names).to_have_count(4)
    expect(hits).to_have_text("")


def test_a_search_in_mentions_follows_the_filters(view: Open) -> None:
    page = view(PREDICTED)
    page.get_by_role("combobox").select_option("mentions")
    page.get_by_role("searchbox").fill("rome")
    expect(page.locator("#hits")).to_have_text("1 hit in 1 document")
    set_slider(page, 0.5)
    expect(page.locator("#hits")).to_have_text("0 hits in 0 documents")


def test_differences_to_gold_are_told_by_mark_line_and_word(view: Open) -> None:
    page = view(PREDICTED, GOLD)
    assert drawn(page) == [
        ("Ann", "✓ hit: PER", "starts hit ends"),
        ("Bob", "↔ wrong boundary: PER", "starts wrong-boundary ends"),
        ("New York", "≠ wrong label: ORG LOC", "starts wrong-label ends"),
        ("on Monday", "+ spurious: TIME", "starts spurious ends"),
    ]
    assert page.locator("mark.ghost").inner_text().startswith("Bob")
    styles = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('mark')].map((m) =>"
        " [m.classList[1], getComputedStyle(m).borderBottomStyle + getComputedStyle(m).borderLeftStyle]))"
    )
    assert len(set(styles.values())) == len(styles) == 5
    rows = page.locator(".row-counts").all_inner_texts()
    assert [row.split() for row in rows] == [["✓", "1", "≠", "1", "↔", "1", "+", "1"], ["✓", "2"], ["−", "1"]]
    assert page.locator("#summary").inner_text() == "3 documents\nprecision 50.0 · recall 50.0 · F1 50.0"
    page.keyboard.press("End")
    assert drawn(page) == [("Ann", "− missed: PER", "starts missed ends")]


def test_gold_that_only_a_low_score_met_becomes_missed(view: Open) -> None:
    page = view(PREDICTED, GOLD)
    set_slider(page, 0.5)
    expect(page.locator("#least-shown")).to_have_text("0.50")
    assert [(mention, told) for mention, told, _ in drawn(page)] == [
        ("Ann", "✓ hit: PER"),
        ("Bob Stone", "− missed: PER"),
        ("New York", "≠ wrong label: ORG LOC"),
    ]
    assert page.locator("#summary").inner_text() == "3 documents\nprecision 66.7 · recall 33.3 · F1 44.4"


def test_verdicts_filter_too(view: Open) -> None:
    page = view(PREDICTED, GOLD)
    verdicts = page.get_by_role("group", name="Difference to gold")
    assert [button.split() for button in verdicts.get_by_role("button").all_inner_texts()] == [
        ["✓", "hit", "3"],
        ["≠", "wrong", "label", "1"],
        ["↔", "wrong", "boundary", "1"],
        ["✗", "wrong", "label", "and", "boundary", "0"],
        ["+", "spurious", "1"],
        ["−", "missed", "1"],
    ]
    verdicts.get_by_role("button", name="hit").click()
    expect(verdicts.get_by_role("button", name="hit")).to_have_attribute("aria-pressed", "false")
    assert mentions(page) == ["Bob", "New York", "on Monday"]


def test_keys_step_documents(view: Open) -> None:
    page = view(PREDICTED)
    for key, name in [("j", "b"), ("j", "c"), ("j", "c"), ("k", "b"), ("ArrowLeft", "a"), ("ArrowRight", "b")]:
        page.keyboard.press(key)
        expect(page.locator("#name")).to_have_text(name)
        expect(page.locator('[role=option][aria-selected="true"] .row-name')).to_have_text(name)
    for key, name in [("ArrowUp", "a"), ("ArrowDown", "b"), ("End", "c"), ("Home", "a")]:
        page.get_by_role("listbox").press(key)
        expect(page.locator("#name")).to_have_text(name)
    page.get_by_role("slider").press("ArrowRight")
    expect(page.locator("#name")).to_have_text("a")
    page.get_by_role("button", name="Next document").click()
    expect(page.locator("#name")).to_have_text("b")
    page.locator(".row").nth(2).click()
    expect(page.locator("#name")).to_have_text("c")


def test_keys_step_differences_across_documents(view: Open) -> None:
    page = view(PREDICTED, GOLD)
    told = page.get_by_role("status", name="Selected entity")
    for key, words in [
        ("n", ["Bob", "PER", "score 0.4", "8–11", "wrong boundary, gold has 8–17"]),
        ("n", ["New York", "ORG", "wrong label, gold has LOC"]),
        ("n", ["on Monday", "spurious"]),
        ("n", ["Ann", "14–17", "missed"]),
        ("n", ["No more difference"]),
        ("p", ["on Monday", "spurious"]),
    ]:
        page.keyboard.press(key)
        for word in words:
            expect(told).to_contain_text(word)
    expect(page.locator("mark.selected")).to_contain_text("on Monday")


def test_without_gold_the_keys_step_entities_and_a_click_selects_one(view: Open) -> None:
    page = view(PREDICTED)
    told = page.get_by_role("status", name="Selected entity")
    page.keyboard.press("p")
    expect(told).to_contain_text("on Monday")
    page.get_by_text("New York").click()
    expect(told).to_contain_text("New York")
    expect(told).to_contain_text("21–29")


def test_slash_searches_and_question_mark_helps(view: Open) -> None:
    page = view(PREDICTED)
    page.keyboard.press("/")
    page.keyboard.type("jn?/")
    expect(page.get_by_role("searchbox")).to_have_value("jn?/")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("searchbox").fill("")
    page.keyboard.press("Enter")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("j")
    expect(page.locator("#name")).to_have_text("b")


def test_failed_documents_say_why(view: Open) -> None:
    failed = {"id": "f", "text": "Ann.", "entities": [], "error": {"message": "pred.jsonl:4: too <b>long</b>"}}
    page = view([failed, *PREDICTED])
    expect(page.locator("#failure")).to_have_text("⚠ failed: pred.jsonl:4: too <b>long</b>")
    assert page.locator(".row").first.inner_text() == "f\n⚠ failed"
    assert page.locator("#summary").inner_text() == "4 documents, 1 failed · 6 entities"
    page.keyboard.press("j")
    expect(page.locator("#failure")).to_be_hidden()


ATTACKS = [
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 2</script>",
    "<img src=x onerror='window.hacked = 3'>",
    '"><svg onload=alert(4)>',
    "<!--<script>window.hacked = 5",
    "]]>{{script}}{{data}}\u2028\u2029 ${window.hacked = 6}",
    "<iframe src=http://127.0.0.1:9/></iframe><a href='javascript:alert(7)'>x</a>",
]


def test_nothing_in_a_record_can_run(load: Open, genner: Callable[..., Run], tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {
            "id": attack,
            "text": f"{attack} {attack}",
            "entities": [{"start": 0, "end": len(attack), "label": attack, "score": 0.5}],
            attack: attack,
            "deep": {attack: [attack]},
            "__proto__": {"polluted": attack},
        }
        for attack in ATTACKS
    ]
    records += [{"id": attack, "text": "x", "entities": [], "error": {"message": attack}} for attack in ATTACKS]
    source = tmp_path / "<img src=x onerror=window.hacked=8>&amp;.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in records), encoding="utf-8")
    assert genner("view", source, "-o", tmp_path / "page.html").status == 0
    page = load(tmp_path / "page.html")
    page.get_by_role("searchbox").fill("=")
    page.keyboard.press("Enter")
    for line in records:
        expect(page.locator("#name")).to_have_text(line["id"])
        assert page.evaluate("document.querySelector('#name').textContent") == line["id"]
        if line["entities"]:
            assert drawn(page) == [(line["id"], line["id"], "starts ends")]
        page.keyboard.press("n")
        page.keyboard.press("j")
    page.locator("summary").click()
    assert page.title() == str(source)
    assert page.evaluate("[window.hacked, ({}).polluted]") == [None, None]
    assert page.locator("img, iframe, svg, a, script").count() == 2


def test_the_policy_forbids_what_the_script_never_does(browser: Browser, tmp_path: Path) -> None:
    """Even a mistake in the script could neither make HTML of a text nor load or run anything."""
    path = tmp_path / "page.html"
    path.write_bytes(b"".join(make_page([Viewed("x")], title="x")))
    page = browser.new_page()
    asked: list[str] = []
    page.goto(path.as_uri())
    page.on("request", lambda request: asked.append(request.url))
    for attempt in (
        "document.body.innerHTML = '<b>x</b>'",
        "document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.hacked = 1' }))",
        "await new Promise((done, failed) => setTimeout(() => { try { done(eval('1')); } catch (e) { failed(e); } }))",
        "document.body.setAttribute('onclick', 'window.hacked = 1')",
        "await fetch('http://127.0.0.1:9/')",
    ):
        refused = page.evaluate(f"(async () => {{ try {{ {attempt}; return false; }} catch {{ return true; }} }})()")
        assert refused, attempt
    page.evaluate("document.body.append(Object.assign(new Image(), { src: 'http://127.0.0.1:9/x.png' }))")
    assert page.evaluate("window.hacked ?? null") is None
    assert page.locator("b").count() == 0
    page.context.close()


def test_offsets_are_code_points(view: Open) -> None:
    text = "👩‍👩‍👧 Zoë 𝒜𝒷 met 👍🏽 Bo\u0301b in 東京."
    page = view([record("a", text, ("Zoë 𝒜𝒷", "PER"), ("Bo\u0301b", "PER"), ("東京", "LOC"), ("👍🏽", "X"))])
    assert mentions(page) == ["Zoë 𝒜𝒷", "👍🏽", "Bo\u0301b", "東京"]
    page.get_by_text("東京").click()
    at = text.index("東京")
    expect(page.get_by_role("status", name="Selected entity")).to_contain_text(f"{at}–{at + 2}")
    page.get_by_role("searchbox").fill("𝒷 MET")
    expect(page.locator("#hits")).to_have_text("1 hit in 1 document")
    assert "".join(page.locator(".found").all_inner_texts()).startswith("𝒷")


def test_nested_entities_nest_and_crossing_ones_lie_in_layers(view: Open) -> None:
    text = "The New York Times of London said"
    nested = [("The New York Times", "ORG"), ("New York", "LOC"), ("Times of London", "ORG"), ("London", "LOC")]
    page = view([record("a", text, *nested)])
    assert mentions(page) == [mention for mention, _ in nested]
    inside = page.locator("mark mark").filter(has_text="New York").first
    assert inside.inner_text().startswith("New York")
    lines = page.evaluate("marks.map(({ line }) => line)")
    assert lines[0] > lines[1]
    assert lines[2] > lines[3]
    assert lines[0] != lines[2]
    assert page.evaluate("marks.map(({ elements }) => elements.length)") == [1, 1, 2, 1]
    bottoms = page.evaluate("marks.map(({ elements }) => Math.round(elements[0].getBoundingClientRect().bottom))")
    assert bottoms[0] != bottoms[2]


@settings(max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(texts=st.lists(cases(), min_size=25, max_size=25))
def test_any_text_and_any_entities_are_drawn_as_they_are(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory, texts: list[Case]
) -> None:
    path = tmp_path_factory.mktemp("pages") / "page.html"
    documents = [Viewed(case.text, predicted=tuple(real_entities(case))) for case in texts]
    path.write_bytes(b"".join(make_page(documents, title="x")))
    page = browser.new_page()
    page.goto(path.as_uri())
    for number, document in enumerate(documents):
        page.evaluate("show", number)
        assert mentions(page) == [entity.text for entity in document.predicted]
        shown = page.evaluate(
            """() => {
                const copy = document.getElementById('text').cloneNode(true);
                copy.querySelectorAll('.tag').forEach((tag) => tag.remove());
                return copy.textContent;
            }"""
        )
        assert shown == document.text
    page.context.close()


def real_entities(case: Case) -> list[Entity]:
    there = (
        e for e in case.entities if 0 <= e.start < e.end <= len(case.text) and case.text[e.start : e.end] == e.text
    )
    return sorted(set(there), key=canonical_order)


def test_ten_thousand_documents_keep_the_page_small(view: Open) -> None:
    number = 10_000
    records = [
        record(f"d{n}", f"Ann met Bob{n} in Rome.", ("Ann", "PER", 0.5), (f"Bob{n}", "PER", 0.9)) for n in range(number)
    ]
    gold = [record(f"d{n}", line["text"], ("Ann", "PER"), (f"Bob{n}", "PER")) for n, line in enumerate(records)]
    gold[7000]["entities"] = gold[7000]["entities"][:1]
    page = view(records, gold)

    def check(name: str) -> None:
        expect(page.locator("#name")).to_have_text(name)
        expect(page.locator('[role=option][aria-selected="true"]')).to_be_in_viewport()
        assert 5 < page.locator(".row").count() < MOST_ROWS
        assert page.locator("*").count() < 300

    check("d0")
    for key, name in [("j", "d1"), ("End", "d9999"), ("k", "d9998"), ("Home", "d0"), ("n", "d7000"), ("j", "d7001")]:
        page.keyboard.press(key)
        check(name)
    page.evaluate("list.scrollTop = 3000 * rowHeight")
    row = page.get_by_role("option", name="d3000")
    expect(row).to_have_attribute("aria-posinset", "3001")
    expect(row).to_have_attribute("aria-setsize", "10000")
    assert page.locator(".row").count() < MOST_ROWS
    row.click()
    check("d3000")
    page.get_by_role("searchbox").fill("bob987")
    expect(page.locator("#hits")).to_have_text("11 hits in 11 documents")
    check("d987")
    page.get_by_role("searchbox").fill("")
    set_slider(page, 0.6)
    expect(label_button(page, "PER")).to_contain_text("20,000")
    expect(page.locator("#summary")).to_contain_text("recall 50.0")


CONTRAST = """
() => {
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
    const rgb = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const luminance = (colour) => {
        const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = rgb(colour).map((c) => linear(c / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (a, b) => {
        const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
        return (high + 0.05) / (low + 0.05);
    };
    const behind = (element) => {
        for (; element; element = element.parentElement) {
            const colour = getComputedStyle(element).backgroundColor;
            if (rgb(colour)[3] === 255) return colour;
        }
    };
    const text = (element) => ratio(getComputedStyle(element).color, behind(element));
    const found = [];
    const note = (what, value, least) => value >= least || found.push(`${what}: ${value.toFixed(2)}`);
    const all = [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && !e.disabled);
    const own = all.filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()));
    for (const element of own) note(element.outerHTML.slice(0, 80), text(element), 4.5);
    for (const mark of document.querySelectorAll('mark')) {
        for (let hue = 0; hue < 360; hue += 5) {
            mark.style.setProperty('--hue', hue);
            note(`text at ${hue}`, text(mark), 4.5);
            for (const tag of mark.querySelectorAll(':scope > .tag')) note(`tag at ${hue}`, text(tag), 4.5);
            note(`line at ${hue}`, ratio(getComputedStyle(mark).borderBottomColor, behind(document.body)), 3);
        }
    }
    return [own.length, found];
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_and_all_lines_have_contrast(view: Open, scheme: str) -> None:
    failed = {"id": "f", "text": "x", "entities": [], "error": {"message": "too long"}}
    page = view([*PREDICTED, failed], [*GOLD, record("f", "x")], color_scheme=scheme)
    page.get_by_role("searchbox").fill("n")
    expect(page.locator("#hits")).to_contain_text("hits")
    page.keyboard.press("Enter")
    page.keyboard.press("n")
    label_button(page, "TIME").click()
    expect(label_button(page, "TIME")).to_have_attribute("aria-pressed", "false")
    number, low = page.evaluate(CONTRAST)
    assert number > 30
    assert low == []
    dark = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (dark == "rgb(23, 25, 29)") == (scheme == "dark")


def test_a_phone_shows_it_without_scrolling_sideways(view: Open) -> None:
    long = "Donaudampfschiff" * 20
    records = [record(long, f"{long} met Ann.\n{ANN}", (long, "L" * 60), ("Ann", "PER"), field=long), *PREDICTED]
    page = view(records, viewport={"width": 390, "height": 844}, has_touch=True)
    fits = "[document.documentElement, $('document'), $('entity')].every((e) => e.scrollWidth <= e.clientWidth)"
    page.locator("mark").last.tap()
    assert page.evaluate(fits)
    list_box = page.get_by_role("listbox", name="Documents")
    expect(list_box).to_have_count(0)
    page.get_by_role("button", name="Documents").tap()
    expect(page.get_by_role("button", name="Documents")).to_have_attribute("aria-expanded", "true")
    expect(list_box).to_be_visible()
    assert page.evaluate(fits)
    page.get_by_role("option", name="b", exact=False).last.tap()
    expect(list_box).to_have_count(0)
    expect(page.locator("#document")).to_be_visible()


def test_every_control_has_a_name_and_the_list_says_what_is_chosen(view: Open) -> None:
    page = view(PREDICTED, GOLD)
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    named: dict[str, list[str]] = {}
    for node in tree:
        role = node.get("role", {}).get("value", "")
        named.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    for role in ("button", "slider", "searchbox", "combobox", "listbox", "option", "main", "navigation"):
        assert named[role], role
        assert all(name.strip() for name in named[role]), (role, named[role])
    assert {"Previous document", "Next document", "Keyboard help"} <= set(named["button"])
    assert named["option"][0].startswith("a ")
    assert page.locator(f"#{page.get_by_role('listbox').get_attribute('aria-activedescendant')}").inner_text()[0] == "a"


def test_less_motion_is_obeyed(view: Open) -> None:
    page = view(PREDICTED, reduced_motion="reduce")
    moving = "[...document.querySelectorAll('*')].filter((e) => getComputedStyle(e).transitionDuration !== '0s').length"
    assert page.evaluate(moving) == 0
