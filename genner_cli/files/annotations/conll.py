"""CoNLL: one token per line with its tag in the last column, an empty line between sentences; see `data.tags`.

    -DOCSTART- -X- O O

    # text = Ann met Bob.
    Ann NNP I-NP B-PER

A line with a tab has its columns between tabs, another between spaces. What other lines say is in `files.comments`: a
document's name, or else its number, is the field "document" of its sentences. Without a text `detokenize` makes one;
the field "tokens" keeps the tokens, for the way back.

Columns are found where they are known. Tokens may be numbered from 1, as in CoNLL-U (with ranges such as 1-2 for what
is one word in the text) and GermEval, whose two columns of tags are both read; CoNLL-2012 has twelve columns or more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, islice
from typing import Any, NamedTuple

from genner_cli.data.characters import is_space, stripped
from genner_cli.data.tags import OUTSIDE, is_tag
from genner_cli.data.tokens import detokenize
from genner_cli.errors import DataError
from genner_cli.files.annotations import AnnotationFormat, AnnotationOptions, Dropped, place
from genner_cli.files.comments import Comment, comment_of
from genner_cli.files.records import Record
from genner_cli.files.streams import text_lines
from genner_cli.files.tagging import NAMES, Tagged, entities_of, is_glued, spaced, tagged
from genner_cli.files.writing import Writer
from genner_cli.types import Document, FailedDocument, Range

_DOCSTART = "-DOCSTART-"
_NOTHING = ("_", "-X-")  # in columns that are not used
_LOOKED_AT = 50  # sentences from which the columns of a file are found
_CONLL_2012_COLUMNS, _CONLL_2012_TOKEN, _CONLL_2012_TAG = 12, 3, 10


class _Row(NamedTuple):
    """The columns of a line."""

    line: int
    cells: list[str]


@dataclass(slots=True)
class _Sentence:
    """The rows of a sentence and what comments say of it; its first line; the name or number of its document."""

    line: int
    document: str | int | None
    rows: list[_Row] = field(default_factory=list)
    id: str | None = None
    text: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    numbered: bool = False
    columns: tuple[str, ...] = ()

    def take(self, comment: Comment) -> None:
        """Keeps what a comment says of the sentence."""
        self.id = comment.id or self.id
        self.text = self.text if comment.text is None else comment.text
        self.fields |= comment.fields
        self.numbered |= comment.numbered


class _Word(NamedTuple):
    """A token with a tag of each column of tags; `glued`: no space follows."""

    line: int
    token: str
    tags: list[str]
    glued: bool


class Conll(AnnotationFormat):
    suffixes = (".conll", ".iob", ".iob1", ".iob2", ".bio", ".bilou", ".bioes", ".bmes")
    is_input = True

    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """One record for each sentence; with `options.whole` for each document, one line per sentence."""
        sentences = _sentences(path, options, dropped)
        head = list(islice(sentences, _LOOKED_AT))
        numbered = _are_numbered(head)
        groups: Iterable[Sequence[_Sentence]] = ([sentence] for sentence in chain(head, sentences))
        if options.whole:
            by_document = groupby(chain(head, sentences), lambda sentence: sentence.document)
            groups = (list(group) for _, group in by_document)
        for group in groups:
            yield _record(path, group, numbered, options, dropped)

    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        """One sentence for each document, several where it has a field "sentences"; columns are separated by tabs."""
        before = None
        with Writer(path, suffixes=("",)) as writer:
            for document in documents:
                number = document.fields.get("document")
                if number is not None and number != before:
                    named = isinstance(number, str) and number.isprintable()
                    writer.write(f"{_DOCSTART}\t{f'({number})' if named else 'O'}\n\n".encode())
                before = number
                writer.write("".join(_lines(document, options, dropped)).encode())


def _sentences(path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[_Sentence]:
    documents = -1
    document: str | int | None = None
    columns: tuple[str, ...] = ()
    sentence: _Sentence | None = None
    tag = _number(options.tag_column, -1, "--tag-column")
    for number, line in text_lines(path):
        comment, cells = None, _cells(line)
        if cells and (line.startswith("#") or line.startswith(_DOCSTART)):
            inside = sentence is not None and bool(sentence.rows) and len(sentence.rows[-1].cells) == len(cells)
            token = len(cells) > 1 and -len(cells) <= tag < len(cells) and is_tag(cells[tag])
            comment = comment_of(line, token=token, inside=inside)
        if sentence and sentence.rows and (not cells or (comment and comment.ends)):
            yield sentence
            sentence = None
        if comment and comment.begins:
            documents += 1
            document = comment.document or documents
        elif comment and comment.columns:
            columns = comment.columns
        elif cells:
            sentence = sentence or _Sentence(number, document)
            sentence.document, sentence.columns = document, columns
            if comment is None:
                sentence.rows.append(_Row(number, cells))
            else:
                sentence.take(comment)
                if not comment.known:
                    dropped("comments", f"{path}:{number}")
    if sentence and sentence.rows:
        yield sentence


def _cells(line: str) -> list[str]:
    """The columns of a line, without empty ones at its end but a second one; none of an empty line."""
    if not line.strip(" \t"):
        return []
    if "\t" not in line:
        cells = re.split(" +", line.strip(" "))
        return ["", *cells] if line.startswith(" ") and len(cells) == 1 and is_tag(cells[0]) else cells
    cells = [cell.strip(" ") if number else cell for number, cell in enumerate(line.split("\t"))]
    while len(cells) > 2 and not cells[-1]:
        cells.pop()
    return cells


def _are_numbered(sentences: Sequence[_Sentence]) -> bool:
    """Whether the first column numbers the tokens: it counts from 1 in each of these sentences."""
    if any(sentence.numbered for sentence in sentences):
        return True
    rows = [row for sentence in sentences for row in sentence.rows]
    counts = all(_counts(sentence.rows) for sentence in sentences)
    return counts and len(rows) > len(sentences) and all(len(row.cells) > 2 for row in rows)


def _counts(rows: Sequence[_Row]) -> bool:
    """Whether rows are numbered from 1, but for ranges (1-2) and what is not in the text (1.1)."""
    numbers = [row.cells[0] for row in rows if not re.fullmatch(r"\d+[-.]\d+", row.cells[0])]
    return numbers == [str(number) for number in range(1, len(numbers) + 1)]


def _record(
    path: str, sentences: Sequence[_Sentence], numbered: bool, options: AnnotationOptions, dropped: Dropped
) -> Record:
    source = f"{path}:{sentences[0].line}"
    texts: list[str] = []
    ranges: list[Range] = []
    words: list[_Word] = []
    boundaries = []
    try:
        for sentence in sentences:
            its_words = list(_words(path, sentence, numbered, options, dropped))
            text, its_ranges = _text(its_words, sentence.text, f"{path}:{sentence.line}", dropped)
            at = sum(map(len, texts)) + len(texts)
            boundaries.append([len(ranges), len(ranges) + len(its_words)])
            ranges += [Range(at + start, at + end) for start, end in its_ranges]
            words += its_words
            texts.append(text)
            if len(sentences) > 1 and (sentence.id or sentence.fields):
                dropped("comments", f"{path}:{sentence.line}")
        entities = list(_entities(path, words, ranges))
    except DataError as error:
        return FailedDocument(str(error), source)
    record: dict[str, Any] = {options.text_field: "\n".join(texts), "entities": entities}
    record |= _described(sentences, options)
    record["tokens"] = [list(token) for token in ranges]
    record |= {"sentences": boundaries} if options.whole else {}
    return options.document(record, source)


def _described(sentences: Sequence[_Sentence], options: AnnotationOptions) -> dict[str, Any]:
    """What comments and markers say of a record: its id, its document, and other fields."""
    first = sentences[0]
    id = first.id if len(sentences) == 1 else None
    if options.whole and isinstance(first.document, str):
        id = first.document
    known = {options.id_field: id, "document": first.document} | (first.fields if len(sentences) == 1 else {})
    return {name: value for name, value in known.items() if value is not None}


def _entities(path: str, words: Sequence[_Word], ranges: Sequence[Range]) -> Iterator[dict[str, Any]]:
    """Those of each column of tags."""
    places = [f"{path}:{word.line}" for word in words]
    for tags in zip(*(word.tags for word in words), strict=True):
        yield from entities_of(ranges, tags, places)


def _words(
    path: str, sentence: _Sentence, numbered: bool, options: AnnotationOptions, dropped: Dropped
) -> Iterator[_Word]:
    """The tokens of a sentence with their tags; those of white space are left out."""
    token, tags = _columns(sentence, numbered, options)
    used = {token, *(tag % len(sentence.rows[0].cells) for tag in tags)} | ({0} if numbered else set())
    others = {cell for row in sentence.rows for at, cell in enumerate(row.cells) if at not in used}
    if any(cell not in _NOTHING and not is_glued([cell]) for cell in others):
        dropped("sentences with more columns than token and tag", f"{path}:{sentence.line}")
    for row in _in_text(sentence.rows, tags) if numbered else sentence.rows:
        where = f"{path}:{row.line}"
        try:
            its_tags = [row.cells[tag] or OUTSIDE for tag in tags]  # no tag is O, as Datasaur has it
            word = _Word(row.line, row.cells[token], its_tags, is_glued(row.cells))
        except IndexError:
            count = len(row.cells)
            raise DataError(f"{where}: the line has {count} columns; see --token-column and --tag-column") from None
        if len(row.cells) < 2:
            raise DataError(f"{where}: {' '.join(row.cells)!r} is not a token with a tag; write 'TOKEN TAG'")
        if all(map(is_space, word.token)):
            dropped("tokens of white space alone", where)
        else:
            yield word._replace(token=stripped(word.token))


def _columns(sentence: _Sentence, numbered: bool, options: AnnotationOptions) -> tuple[int, Sequence[int]]:
    """The columns of the tokens and of the tags: those of the options, else as the file shows them."""
    cells = sentence.rows[0].cells
    token, tags = (1 if numbered else 0), [-1]
    token = next((at for at, name in enumerate(sentence.columns) if name in NAMES["token"]), token)
    tags = [at for at, name in enumerate(sentence.columns) if name in NAMES["tag"]][:1] or tags
    if len(cells) >= _CONLL_2012_COLUMNS and not numbered and cells[_CONLL_2012_TAG][:1] in ("*", "("):
        token, tags = _CONLL_2012_TOKEN, [_CONLL_2012_TAG]
    elif sentence.numbered and len(cells) == 4:
        tags = [2, 3]
    if options.tag_column is not None:
        tags = [_number(options.tag_column, -1, "--tag-column")]
    return _number(options.token_column, token, "--token-column"), tags


def _in_text(rows: Sequence[_Row], tags: Sequence[int]) -> Iterator[_Row]:
    """The rows of what stands in the text: a range rather than its words, whose first tag it gets, and no empty nodes
    (universaldependencies.org/format.html)."""
    last = 0
    for at, row in enumerate(rows):
        first, dash, end = row.cells[0].partition("-")
        if dash and first.isdecimal() and end.isdecimal():
            last = int(end)
            covered = rows[at + 1 : at + 2 + last - int(first)]
            yield _Row(row.line, _with_tags(row.cells, [other.cells for other in covered], tags))
        elif not re.fullmatch(r"\d+\.\d+", first) and (not first.isdecimal() or int(first) > last):
            yield row


def _with_tags(cells: Sequence[str], covered: Sequence[Sequence[str]], tags: Sequence[int]) -> list[str]:
    """The columns of a range with the first tag of its words that is one of an entity."""
    merged = list(cells)
    for tag in tags:
        if tag < len(cells) and not (is_tag(cells[tag]) and cells[tag] != OUTSIDE):
            found = [other[tag] for other in covered if tag < len(other) and is_tag(other[tag])]
            merged[tag] = next((each for each in found if each != OUTSIDE), OUTSIDE)
    return merged


def _number(column: str | None, otherwise: int, option: str) -> int:
    if column is None:
        return otherwise
    try:
        return int(column)
    except ValueError:
        raise DataError(f"{option} {column}: give the number of a column, from 0, or from the end from -1") from None


def _text(words: Sequence[_Word], text: str | None, source: str, dropped: Dropped) -> tuple[str, list[Range]]:
    """The text of a comment and the ranges of the words in it; else a text made of the words."""
    tokens = [word.token for word in words]
    made = spaced(tokens, [word.glued for word in words]) if any(word.glued for word in words) else detokenize(tokens)
    if text is None:
        return made
    ranges = []
    at = 0
    for token in tokens:
        start = text.find(token, at)
        if start < 0 or not all(map(is_space, text[at:start])):
            dropped("comments with another text than the tokens make up", source)
            return made
        at = start + len(token)
        ranges.append(Range(start, at))
    return text, ranges


def _lines(document: Document, options: AnnotationOptions, dropped: Dropped) -> Iterator[str]:
    kept = {"tokens", "sentences", "document"}
    text = document.text
    tokens = tagged(document, options.scheme, dropped)
    if not tokens.ranges:
        dropped("documents without a token", place(document))
        return
    if options.keep_text and document.id is not None and document.id.isprintable():
        kept.add(options.id_field)
        yield f"# id = {document.id}\n"
    if options.keep_text and not text.endswith("\r") and "\n" not in text:
        yield f"# text = {text}\n"
    elif detokenize([text[start:end] for start, end in tokens.ranges])[0] != text:
        dropped("texts whose white space the tokens do not determine", place(document))
    dropped.drop_fields(document, kept)
    for first, end in _boundaries(document, tokens):
        for (start, stop), tag in zip(tokens.ranges[first:end], tokens.tags[first:end], strict=True):
            yield f"{text[start:stop]}\t{tag}\n"
        yield "\n"


def _boundaries(document: Document, tokens: Tagged) -> list[tuple[int, int]]:
    """The tokens of each sentence: those of the field, where it fits, else all."""
    given = document.fields.get("sentences")
    try:
        boundaries = [(first, end) for first, end in given or ()]
    except (TypeError, ValueError):
        boundaries = []
    ends = [0, *(end for _, end in boundaries)]
    fits = ends == [*(first for first, _ in boundaries), len(tokens.ranges)] and ends == sorted(ends)
    return boundaries if boundaries and fits else [(0, len(tokens.ranges))]


FORMAT = Conll()
