"""HTML: the text of a page as a reader sees it, by Python's own parser; the title is the field `title`.

Scripts, styles and the like are left out. Paragraphs and rows of tables are separated by an empty line, cells by a line
end: models take names on both sides of a tab for one.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

from genner_cli.errors import DataError
from genner_cli.files.documents import WholeFile
from genner_cli.files.documents._flow import LINE, PARAGRAPH, Flow, names
from genner_cli.files.streams import CONVERT

_HIDDEN = names("script style template noscript iframe svg math object title")
_LINES = names("br dd div dt figcaption legend li option summary td th")
_PARAGRAPHS = names(
    "address article aside blockquote body caption center details dialog dl fieldset figure footer form h1 h2 h3 h4 h5"
    " h6 header hr html main nav ol p pre section table tbody tfoot thead tr ul"
)
_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_DECLARED_WITHIN = 1024
"""Bytes at the start of a page in which its encoding is declared (WHATWG HTML, 4.2.5.4)."""
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class Html(WholeFile):
    suffixes = (".html", ".htm", ".xhtml")

    def records(self, content: bytes, name: str) -> Iterator[Mapping[str, Any]]:
        """One document."""
        title, text = read_html(_decoded(content, name))
        yield {"text": text} | ({"title": title} if title else {})


def read_html(page: str) -> tuple[str, str]:
    """The title and the text of a page."""
    parser = _Page()
    parser.feed(_terminated(page))
    parser.close()
    return parser.title.text(), parser.flow.text()


def _terminated(page: str) -> str:
    """Without a comment or a tag that is not closed before the end, as WHATWG has it; the parser would look for the
    end of each one anew."""
    comment = page.find("<!--", page.rfind("-->") + 1)
    page = page[:comment] if comment >= 0 else page
    tag = page.find("<", page.rfind(">") + 1)
    return page[:tag] if tag >= 0 else page


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.flow, self.title = Flow(), Flow()
        self._hidden: list[str] = []
        self._preformatted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HIDDEN:
            self._hidden.append(tag)
        self._preformatted += tag == "pre"
        self._break(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            del self._hidden[self._hidden.index(tag) :]  # what was left open inside it ends with it
        self._preformatted -= tag == "pre" and self._preformatted > 0
        self._break(tag)

    def _break(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self.flow.break_with(PARAGRAPH)
        elif tag in _LINES:
            self.flow.break_with(LINE)

    def handle_data(self, data: str) -> None:
        if self._hidden == ["title"]:
            self.title.add(data)
        elif self._preformatted and not self._hidden:
            self.flow.add_lines(data)
        elif not self._hidden:
            self.flow.add(data)


def _decoded(content: bytes, name: str) -> str:
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return _decoded_as(encoding, content.removeprefix(mark), name)
    declared = _DECLARED.search(content, 0, _DECLARED_WITHIN)
    return _decoded_as(declared[1].decode() if declared else "utf-8", content, name)


def _decoded_as(encoding: str, content: bytes, name: str) -> str:
    latin = encoding.lower() in ("iso-8859-1", "latin1", "us-ascii", "ascii")
    try:
        return content.decode("cp1252" if latin else encoding)  # as browsers read these (WHATWG Encoding, 4.2)
    except (LookupError, UnicodeError) as error:
        remedy = f"{CONVERT}, and declare that it is UTF-8 ({encoding} is declared)"
        raise DataError(f"{name}: is not text in the encoding {encoding} ({error}); {remedy}") from error


FORMAT = Html()
