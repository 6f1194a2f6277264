"""TEI (.xml, .tei): the text of an edition, by Python's XML parser; the title is the field `title`.

What readers of an edition do not see as its text is left out: the header, page furniture (`fw`), deletions (`del`), and
of alternatives all but one (`corr`, `reg`, `expan` of a `choice`; the lemma of an `app`). Notes follow the paragraph in
which they are. A corpus (`teiCorpus`) is a document for each text. TEI P5, chapters 3, 4, 11 and 12.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree.ElementTree import ParseError, XMLParser

from genner_cli.errors import DataError
from genner_cli.files.documents import WholeFile
from genner_cli.files.documents._flow import LINE, PARAGRAPH, SPACE, Flow, names

_ROOTS = ("TEI", "teiCorpus", "TEI.2")
_TEXTS = ("text", "sourceDoc")
_LEFT_OUT = names("fw del teiHeader figDesc binaryObject")
_OTHERS = names("sic orig abbr am")
"""What stands beside another reading in a `choice`, which is taken."""
_LINES = names("cell item l label line speaker stage castItem")
_PARAGRAPHS = names(
    "ab address argument back bibl body byline castList cit closer dateline div div1 div2 div3 div4 div5 div6 div7"
    " docAuthor docDate docImprint docTitle epigraph figure floatingText front group head imprimatur lg list opener p"
    " postscript quote row salute signed sp table text titlePage titlePart trailer zone surface"
)
_IN_LINE = names("quote bibl label stage address figure floatingText")
"""Paragraphs, unless they are inside one."""
_MILESTONES = names("pb cb gb milestone")


class Tei(WholeFile):
    suffixes = (".xml", ".tei")

    def records(self, content: bytes, name: str) -> Iterator[Mapping[str, Any]]:
        """One document for each text."""
        edition = _Edition(name)
        parser = XMLParser(target=edition)
        try:
            parser.feed(content)
            parser.close()
        except ParseError as error:
            raise DataError(f"{name}: not XML ({error}); correct it, or save it as text") from error
        yield from edition.records


class _Edition:
    """Takes what the parser finds, in order; `records` has the texts that are complete."""

    def __init__(self, name: str) -> None:
        self.records: list[dict[str, str]] = []
        self._name = name
        self._open: list[str] = []
        self._hidden = 0
        self._begin()

    def _begin(self) -> None:
        self._title = Flow()
        self._titled = False
        self._flows = [Flow()]
        self._notes: list[str] = []
        self._readings: list[int] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""
        tag = tag.rpartition("}")[2]
        if not self._open and tag not in _ROOTS:
            raise DataError(f"{self._name}: is not TEI, its root is {tag!r}; convert it to text")
        if tag in ("TEI", "TEI.2"):
            self._begin()
        self._hidden += self._hidden > 0 or self._is_hidden(tag)
        self._open.append(tag)
        if tag == "app":
            self._readings.append(0)
        if not self._hidden:
            self._enter(tag, attributes)

    def _is_hidden(self, tag: str) -> bool:
        inside = self._open[-1] if self._open else ""
        if tag in ("lem", "rdg") and self._readings:
            self._readings[-1] += 1
            return self._readings[-1] > 1
        return tag in _LEFT_OUT - {"teiHeader"} or (tag in _OTHERS and inside == "choice")

    def _enter(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "note" and self._in_text:
            self._flows.append(Flow())
        elif tag in _MILESTONES or tag == "lb":
            if attributes.get("break") != "no":
                self._flows[-1].break_with(LINE if tag == "lb" else SPACE)
        else:
            self._break(tag)

    def end(self, tag: str) -> None:
        """An element ends."""
        tag = tag.rpartition("}")[2]
        if self._hidden:
            self._hidden -= 1
        elif tag == "note" and self._in_text:
            self._notes.append(self._flows.pop().text())
        else:
            self._break(tag)
        self._titled |= self._open.pop() == "title"
        if tag == "app":
            self._readings.pop()
        if tag in ("TEI", "TEI.2"):
            self._finish()

    def _break(self, tag: str) -> None:
        inside = any(each in ("p", "ab", "l") for each in self._open[:-1])
        if tag in _LINES or (tag in _IN_LINE and inside):
            self._flows[-1].break_with(LINE if tag in _LINES else SPACE)
        elif tag in _PARAGRAPHS:
            self._flows[-1].break_with(PARAGRAPH)
            if len(self._flows) == 1:
                self._place_notes()

    def _place_notes(self) -> None:
        for note in self._notes:
            self._flows[0].break_with(PARAGRAPH)
            self._flows[0].add_lines(note)
            self._flows[0].break_with(PARAGRAPH)
        self._notes.clear()

    @property
    def _in_text(self) -> bool:
        return any(tag in _TEXTS for tag in self._open)

    def data(self, text: str) -> None:
        """A run of text."""
        if self._hidden:
            return
        if self._in_text:
            self._flows[-1].add(text)
        elif not self._titled and {"titleStmt", "title"} <= set(self._open):
            self._title.add(text)

    def _finish(self) -> None:
        self._place_notes()
        title = self._title.text()
        self.records.append({"text": self._flows[0].text()} | ({"title": title} if title else {}))

    def close(self) -> None:
        """The file is read."""


FORMAT = Tei()
