"""CoNLL: one token per line with its tag in the last column, an empty line between sentences; IOB1, IOB2 or BILOU.

    -DOCSTART- -X- O O

    # text = Ann met Bob.
    Ann NNP I-NP B-PER

A line with a tab has its columns between tabs, another between spaces. A line -DOCSTART- begins a document: its number
is the field "document" of its sentences. Comment lines "# id = ..." and "# text = ..." are read. Without the second
`detokenize` makes the text; the field "tokens" keeps the tokens, for the way back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from genner_cli.data.tokens import detokenize, is_space
from genner_cli.errors import DataError
from genner_cli.files.annotations import AnnotationFormat, AnnotationOptions, Dropped, place
from genner_cli.files.records import Record
from genner_cli.files.streams import text_lines
from genner_cli.files.tagging import Tagged, entities_of, tagged
from genner_cli.files.writing import Writer
from genner_cli.types import Document, FailedDocument, Range

_DOCSTART = "-DOCSTART-"
_COMMENT = re.compile(r"# ?(?P<key>id|sent_id|text) = (?P<value>.*)", re.DOTALL)
_ANY_COMMENT = re.compile(r"# ?[\w: ]+ = ")


@dataclass(slots=True)
class _Sentence:
    """The rows of a sentence, its comments, its first line, and the number of its document."""

    line: int
    document: int | None
    rows: list[list[str]] = field(default_factory=list)
    comments: dict[str, str] = field(default_factory=dict)


class Conll(AnnotationFormat):
    suffixes = (".conll", ".iob", ".iob1", ".iob2", ".bio", ".bilou")
    is_input = True

    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """One record for each sentence; with `options.whole` for each document, one line per sentence."""
        sentences = _sentences(path)
        if not options.whole:
            yield from (_record(path, [sentence], options, dropped) for sentence in sentences)
            return
        for _, group in groupby(sentences, lambda sentence: sentence.document):
            yield _record(path, list(group), options, dropped)

    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        """One sentence for each document, several where it has a field "sentences"; columns are separated by tabs."""
        before = None
        with Writer(path, suffixes=("",)) as writer:
            for document in documents:
                number = document.fields.get("document")
                if number is not None and number != before:
                    writer.write(f"{_DOCSTART}\tO\n\n".encode())
                before = number
                writer.write("".join(_lines(document, options, dropped)).encode())


def _sentences(path: str) -> Iterator[_Sentence]:
    document = None
    sentence = None
    for number, line in text_lines(path):
        if not line.strip(" \t"):
            if sentence and sentence.rows:
                yield sentence
                sentence = None
            continue
        if re.split("[ \t]", line, maxsplit=1)[0] == _DOCSTART and not (sentence and sentence.rows):
            document = 0 if document is None else document + 1
            continue
        sentence = sentence or _Sentence(number, document)
        sentence.document = document
        comment = None if sentence.rows else _COMMENT.fullmatch(line)
        if comment:
            sentence.comments["id" if comment["key"] == "sent_id" else comment["key"]] = comment["value"]
        elif sentence.rows or not _ANY_COMMENT.match(line):
            sentence.rows.append(line.split("\t") if "\t" in line else line.strip(" ").split(" "))
    if sentence and sentence.rows:
        yield sentence


def _record(path: str, sentences: Sequence[_Sentence], options: AnnotationOptions, dropped: Dropped) -> Record:
    source = f"{path}:{sentences[0].line}"
    texts: list[str] = []
    ranges: list[Range] = []
    tags: list[str] = []
    boundaries = []
    try:
        for sentence in sentences:
            words, its_tags = _columns(path, sentence, options)
            if max(map(len, sentence.rows)) > 2:
                dropped("sentences with more columns than token and tag", f"{path}:{sentence.line}")
            text, its_ranges = _text(words, sentence.comments.get("text"), f"{path}:{sentence.line}", dropped)
            at = sum(map(len, texts)) + len(texts)
            boundaries.append([len(ranges), len(ranges) + len(words)])
            ranges += [Range(at + start, at + end) for start, end in its_ranges]
            tags += its_tags
            texts.append(text)
        entities = entities_of(ranges, tags, source)
    except DataError as error:
        return FailedDocument(str(error), source)
    record: dict[str, Any] = {options.text_field: "\n".join(texts), "entities": entities}
    if len(sentences) == 1 and "id" in sentences[0].comments:
        record[options.id_field] = sentences[0].comments["id"]
    record["tokens"] = [list(token) for token in ranges]
    record |= {"sentences": boundaries} if options.whole else {}
    record |= {} if sentences[0].document is None else {"document": sentences[0].document}
    return options.document(record, source)


def _columns(path: str, sentence: _Sentence, options: AnnotationOptions) -> tuple[list[str], list[str]]:
    token, tag = _number(options.token_column, 0, "--token-column"), _number(options.tag_column, -1, "--tag-column")
    words, tags = [], []
    for number, row in enumerate(sentence.rows):
        where = f"{path}:{sentence.line + len(sentence.comments) + number}"
        try:
            words.append(row[token])
            tags.append(row[tag])
        except IndexError:
            raise DataError(f"{where}: the line has {len(row)} columns; see --token-column and --tag-column") from None
        if len(row) < 2 or not row[token]:
            raise DataError(f"{where}: {' '.join(row)!r} is not a token with a tag; write 'TOKEN TAG'")
    return words, tags


def _number(column: str | None, otherwise: int, option: str) -> int:
    if column is None:
        return otherwise
    try:
        return int(column)
    except ValueError:
        raise DataError(f"{option} {column}: give the number of a column, from 0, or from the end from -1") from None


def _text(words: Sequence[str], text: str | None, source: str, dropped: Dropped) -> tuple[str, list[Range]]:
    """The text of a comment and the ranges of the words in it; else a text made of the words."""
    if text is None:
        return detokenize(words)
    ranges = []
    at = 0
    for word in words:
        start = text.find(word, at)
        if start < 0 or not all(map(is_space, text[at:start])):
            dropped("comments with another text than the tokens make up", source)
            return detokenize(words)
        at = start + len(word)
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
