"""Lines of token files that are not tokens: comments and markers, as the corpora have them.

    -DOCSTART- -X- O O                          CoNLL-2003; -DOCSTART- (1 EU) in AIDA
    #begin document (bc/cctv_0000); part 000    CoNLL-2012, up to #end document
    # newdoc id = a, # newpar, # sent_id = a-1  CoNLL-U; # text = ... holds the sentence
    # document_id = NZZ-1798                    HIPE, in 2022 with hipe2022: before it
    # id 7-a<tab>domain=en                      MultiCoNER
    #<tab>http://...<tab>[2010-03-13]           GermEval 2014
    ###MEDLINE:95369245                         GENIA, JNLPBA

Knows nothing of tokens and tags: the caller says whether a line could be a token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_DOCSTART = "-DOCSTART-"
_DOCUMENT_KEYS = ("document_id", "doc_id", "newdoc id")
_PAIR = re.compile(r"# ?(?P<key>[\w:.-]+(?: id)?) = (?P<value>.*)", re.DOTALL)
_BEGIN = re.compile(r"#begin document \(?(?P<name>.*?)\)?(?:; (?P<part>part \d+))?\s*")
_NAMED = re.compile(r"# id (?P<id>\S+)(?P<rest>(?:\t.*)?)")
_SOURCE = re.compile(r"#\t(?P<source>\S+)(?:[\t ]\[(?P<date>[^\]\t]*)\])?\s*")
_ARTICLE = re.compile(r"###(?P<name>\S+)")


@dataclass(frozen=True, slots=True)
class Comment:
    """What such a line says. `begins`: a document, with the name `document` if it has one; `ends`: the sentence before
    it is over. `id`, `text` and `fields` are those of the sentence that follows; `numbered`: its tokens have numbers
    before them, and nested entities behind. `known`: nothing of it is lost."""

    begins: bool = False
    ends: bool = False
    document: str | None = None
    id: str | None = None
    text: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    numbered: bool = False
    known: bool = True


def comment_of(line: str, *, token: bool, inside: bool) -> Comment | None:
    """What a line says if it is not a token. `token`: whether its column of tags has one; `inside`: whether it has as
    many columns as the line before it in the sentence."""
    if re.split("[ \t]", line, maxsplit=1)[0] == _DOCSTART:
        name = re.search(r"\((.*)\)", line)
        return Comment(begins=True, ends=True, document=name[1] if name else None)
    if not line.startswith("#") or (token and (inside or not _PAIR.fullmatch(line))):
        return None
    return _marker(line) or _sentence_comment(line) or Comment(known=False)


def _marker(line: str) -> Comment | None:
    """What begins or ends a document."""
    if match := _BEGIN.fullmatch(line):
        name = "; ".join(filter(None, (match["name"], match["part"])))
        return Comment(begins=True, ends=True, document=name or None)
    if line.startswith("#end document"):
        return Comment(ends=True)
    if match := _ARTICLE.fullmatch(line):
        return Comment(begins=True, ends=True, document=match["name"])
    if re.fullmatch(r"# ?newdoc\s*", line):
        return Comment(begins=True, ends=True)
    match = _PAIR.fullmatch(line)
    if match and match["key"].rpartition(":")[2] in _DOCUMENT_KEYS:
        return Comment(begins=True, ends=True, document=match["value"].strip())
    return None


def _sentence_comment(line: str) -> Comment | None:
    """What is said of the sentence that follows."""
    match = _PAIR.fullmatch(line)
    if match and match["key"] in ("id", "sent_id"):
        return Comment(ends=True, id=match["value"])
    if match and match["key"] == "text":
        return Comment(ends=True, text=match["value"])
    if match := _NAMED.fullmatch(line):
        pairs = (item.partition("=") for item in match["rest"].split("\t") if "=" in item)
        return Comment(ends=True, id=match["id"], fields={key: value for key, _, value in pairs})
    if match := _SOURCE.fullmatch(line):
        fields = {key: value for key, value in match.groupdict().items() if value}
        return Comment(ends=True, fields=fields, numbered=True)
    return Comment() if re.match(r"# ?newpar\b", line) else None
