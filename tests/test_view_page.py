"""genner_cli.view.page without a browser: what the file holds, whatever the documents hold."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from strategies import LABELS, examples, hostile_text

from genner_cli.types import Entity
from genner_cli.view.page import page
from genner_cli.view.viewed import Viewed, hue

ANN = Entity(0, 3, "PER", "Ann", score=0.25)
TEXT = "Ann met Bob."


class Elements(HTMLParser):
    """The start tags of a page, and what stands in its scripts and styles."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.contents: list[str] = []
        self.inside = False
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        self.inside = tag in ("script", "style")
        if self.inside:
            self.contents.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.contents[-1] += data


def made(*documents: Viewed, **options: Any) -> str:
    return b"".join(page(documents, **{"title": "pred.jsonl", **options})).decode()


def data(source: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Elements(source).contents[1])
    return found


def test_the_data_holds_labels_and_gold_as_numbers() -> None:
    bob = Entity(8, 11, "ORG", "Bob", score=None)
    gold = (Entity(0, 3, "PER", "Ann"), Entity(8, 11, "PER", "Bob"))
    found = data(
        made(Viewed(TEXT, "a", (ANN, bob), gold, source="pred.jsonl:1"), Viewed(TEXT, gold=()), gold="g.jsonl")
    )
    assert found["documents"] == [
        {
            "text": TEXT,
            "id": "a",
            "source": "pred.jsonl:1",
            "entities": [[0, 3, 0, 0.25, 0, 0], [8, 11, 1, None, 1, 1]],
            "gold": [[0, 3, 0], [8, 11, 0]],
        },
        {"text": TEXT, "entities": [], "gold": []},
    ]
    assert (found["title"], found["gold"]) == ("pred.jsonl", "g.jsonl")
    assert [label for label, _ in found["labels"]] == ["PER", "ORG"]
    assert [verdict for verdict, _ in found["verdicts"]] == [
        "hit",
        "wrong label",
        "wrong boundary",
        "wrong label and boundary",
        "spurious",
        "missed",
    ]


def test_without_gold_entities_have_no_verdict_and_an_empty_page_is_a_page() -> None:
    assert data(made(Viewed(TEXT, predicted=(ANN,))))["documents"][0]["entities"] == [[0, 3, 0, 0.25]]
    assert data(made())["documents"] == []


@examples(100)
@given(
    text=hostile_text(), label=hostile_text(), name=st.sampled_from(["</script>", "<!--", "\u2028", "{{data}}", "&lt;"])
)
def test_whatever_the_documents_hold_the_page_has_the_same_elements(text: str, label: str, name: str) -> None:
    document = Viewed(
        text + name, name, (Entity(0, 1, label or "x", ""),), error=text, source=name, fields={name: [text]}
    )
    source = made(document, title=name)
    assert Elements(source).found == Elements(made()).found
    found = data(source)
    assert found["documents"][0]["text"] == text + name
    assert found["documents"][0]["fields"] == {name: [text]}
    assert found["title"] == name
    raw = Elements(source).contents[1]
    assert not set("<>&\u2028\u2029") & set(raw)


def test_the_policy_allows_the_pages_own_style_and_script_alone() -> None:
    parsed = Elements(made(Viewed("</script>")))
    (policy,) = [
        attributes["content"] or ""
        for tag, attributes in parsed.found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    style, _, script = parsed.contents
    hashes = [b64encode(sha256(part.encode()).digest()).decode() for part in (style, script)]
    assert re.findall(r"'sha256-([^']*)'", policy) == hashes
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "{{" not in made()


def test_the_page_names_no_other_file_and_the_script_makes_no_html() -> None:
    folder = files("genner_cli.view")
    names = {entry.name for entry in folder.iterdir()}
    assert {"page.html", "page.css", "page.js", "model.js", "text.js", "list.js"} <= names
    sources = {name: (folder / name).read_text(encoding="utf-8") for name in names if not name.startswith("__")}
    for name, source in sources.items():
        if name.endswith((".js", ".html", ".css")):
            assert not re.search(r"https?:|@import|url\(|\bsrc=|\bhref=|fetch\(|XMLHttp|WebSocket", source), name
            assert not re.search(
                r"innerHTML|outerHTML =|insertAdjacent|document\.write|\beval\b|new Function", source
            ), name


def test_a_label_has_its_hue_from_its_name_alone() -> None:
    assert [hue(label) for label in ("PER", "person", "ORG", "Ingredient")] == [25, 25, 245, hue("ingredient")]
    assert all(0 <= hue(label) < 360 for label in (*LABELS, "", "事件"))
    looks = [dict(data(made(*order))["labels"]) for order in ([Viewed(TEXT, predicted=(ANN,))], [])]
    assert looks[0] == {"PER": 25}
