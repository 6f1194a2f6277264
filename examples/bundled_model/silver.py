"""Silver entities with open types, from articles that open with "X is a TYPE": texts in, labelled passages out.

    python silver.py --plain DIR -o runs/bundled/silver.jsonl.gz

The title of an article is an entity of the type that its first sentence says; titles found again in the text of
articles are entities too. A passage is `whole` where every capitalised word belongs to an entity or is not a name;
others are good for the types of their own entities only. words.json says which types are people, organizations, places.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson
import zstandard

from genner_cli.chunking import sentences

OPENING = 1200  # characters of an article that are read
LONGEST = 400  # characters of a passage
_ENDS = """who which that in of from on at for by with to and or located born based written directed published released
founded played known playing serving set created produced developed used situated formed built held owned operated made
consisting turned near between under within during since recorded composed designed established dedicated named where
when as it he she"""
TYPE = re.compile(
    r"\b(?:is|was|are|were) (?:an?|the|one of the) (?P<type>[^.,;:()\"]+?)"
    rf"(?= (?:{'|'.join(_ENDS.split())})\b|[.,;:()\"]|$)"
)
WORD = re.compile(r"\w+(?:[-.'’]\w+)*")
_WORDS = json.loads(Path(__file__).with_name("words.json").read_text("utf-8"))
FAMILY = {head: family for family, heads in _WORDS["families"].items() for head in heads}
OTHERS = frozenset(_WORDS["others"])  # heads of types that are of no family
EMPTY = frozenset(_WORDS["empty"])  # words that say nothing of a type
NO_NAMES = frozenset(_WORDS["no_names"])  # capitalised, and no part of a name


@dataclass(frozen=True)
class Subject:
    """What an article is about: its names, and its types, from the narrowest (`football striker`) to the head."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    family: str


def articles(folder: Path) -> Iterator[tuple[str, str]]:
    """Titles and the openings of the texts of all articles."""
    for path in sorted(folder.glob("enwiki*.jsonl.zst")):
        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                record = orjson.loads(line)
                yield record["title"], record["text"][:OPENING]


def subject_of(title: str, text: str) -> Subject | None:
    """What the first sentence says that the title is."""
    name = re.sub(r" \(.*\)$", "", title)
    first = text.split("\n")[0][:300]
    found = TYPE.search(first)
    if title.startswith("List of") or not found or found.start() > 160:
        return None
    last = name.split(",")[0].split()[-1]
    if last not in first[: found.start()]:
        return None
    words = [word for word in found["type"].split() if word.islower() and not word[0].isdigit()]
    head = words[-1].strip("-'\"") if words else ""
    if head not in FAMILY and head not in OTHERS:
        return None
    while len(words) > 3 or (len(words) > 1 and words[0] in EMPTY):
        words = words[1:]
    family = "ORG" if words[-2:] in (["radio", "station"], ["television", "station"]) else FAMILY.get(head, "")
    names = [name, name.split(",")[0]]
    if family == "PER" and len(name.split()) > 1:
        names.append(last)
    return Subject(tuple(dict.fromkeys(names)), tuple(dict.fromkeys((" ".join(words), head))), family)


class Names:
    """Which names stand for which subjects in any article, and which words are not names at all."""

    def __init__(self, folder: Path) -> None:
        self.subjects: dict[str, Subject] = {}
        lower, upper = Counter[str](), Counter[str]()
        found: dict[str, list[Subject]] = {}
        for title, text in articles(folder):
            words = WORD.findall(text)
            lower.update(word for word in words if word[0].islower())
            upper.update(word.lower() for word in words if word[0].isupper())
            if subject := subject_of(title, text):
                self.subjects[title] = subject
                found.setdefault(subject.names[0], []).append(subject)
        self.common = {word for word, count in lower.items() if count >= 5 and count > 0.3 * upper[word]}
        self.everywhere = {
            tuple(WORD.findall(name)): subjects[0]
            for name, subjects in found.items()
            if len({subject.types[-1] for subject in subjects}) == 1 and self._is_name(name, subjects[0].family)
        }

    def strange(self, word: str) -> bool:
        """Whether a word looks like a part of a name."""
        return word[0].isupper() and word.lower() not in self.common and word.lower() not in NO_NAMES

    def _is_name(self, name: str, family: str) -> bool:
        """Whether it stands for its subject in any article; of single words only places are trusted."""
        words = WORD.findall(name)
        return (
            any(map(self.strange, words))
            and len(name) > 3
            and (len(words) > 1 or (family == "LOC" and name in self.subjects))
        )


def mentions(text: str, own: dict[tuple[str, ...], Subject], names: Names) -> tuple[list[dict[str, Any]], bool]:
    """The entities of a passage, the longest first at each place, and whether nothing else in it looks like a name."""
    words = list(WORD.finditer(text))
    found: list[dict[str, Any]] = []
    whole, at = True, 0
    while at < len(words):
        for length in range(min(7, len(words) - at), 0, -1):
            key = tuple(word.group() for word in words[at : at + length])
            subject = own.get(key) or names.everywhere.get(key)
            first = _first(words, at, text, names) if subject and subject.family == "PER" and length == 1 else at
            start, end = words[first].start(), words[at + length - 1].end()
            apart = (
                bool(subject)
                and not _joined(words, first - 1, text, names)
                and not _joined(words, at + length - 1, text, names)
            )
            before = {word.group() for word in words[first:at]}  # `Mary` before `Brown` is someone else than Ann Brown
            if subject and before and not before & set(WORD.findall(subject.names[0])):
                continue
            if subject and apart and "\n" not in text[start:end] and (not found or found[-1]["end"] < start):
                types = [*subject.types, *([subject.family] if subject.family else [])]
                found.append({"start": start, "end": end, "types": types})
                at += length
                break
        else:
            whole = whole and not names.strange(words[at].group())
            at += 1
    return found, whole


def _joined(words: list[re.Match[str]], at: int, text: str, names: Names) -> bool:
    """Whether the words at this place and behind it are parts of one name, a space between them."""
    if not 0 <= at < len(words) - 1:
        return False
    here, there = words[at], words[at + 1]
    return text[here.end() : there.start()] == " " and names.strange(here.group()) and names.strange(there.group())


def _first(words: list[re.Match[str]], at: int, text: str, names: Names) -> int:
    """The first word of the name that ends with the one at this place."""
    while at and _joined(words, at - 1, text, names):
        at -= 1
    return at


def passages(folder: Path) -> Iterator[dict[str, Any]]:
    """Passages of one to three sentences with at least one entity."""
    names = Names(folder)
    for title, text in articles(folder):
        random = Random(title)
        subject = names.subjects.get(title)
        own = {tuple(WORD.findall(name)): subject for name in subject.names} if subject else {}
        for paragraph in text.split("\n")[:4]:
            yield from _of_paragraph(paragraph, own, names, random)


def _of_paragraph(
    paragraph: str, own: dict[tuple[str, ...], Subject], names: Names, random: Random
) -> Iterator[dict[str, Any]]:
    cuts = list(sentences(paragraph))
    while cuts:
        count = random.choice((1, 1, 2, 3))
        start, end = cuts[0][0], cuts[:count][-1][1]
        cuts = cuts[count:]
        text = paragraph[start:end].strip()
        if 20 <= len(text) <= LONGEST:
            entities, whole = mentions(text, own, names)
            if entities:
                yield {"text": text, "entities": entities, "whole": whole}


def read(path: Path) -> list[dict[str, Any]]:
    """All passages of a file."""
    with gzip.open(path, "rb") as lines:
        return [orjson.loads(line) for line in lines]


def write(records: Iterable[dict[str, Any]], path: Path) -> Counter[str]:
    """Writes passages, and counts them and their entities. SystemExit: there are none."""
    counts = Counter[str]()
    # Without name and time in it, the same passages are the same file.
    with open(path, "wb") as file, gzip.GzipFile("", "wb", compresslevel=5, fileobj=file, mtime=0) as lines:
        for record in records:
            lines.write(orjson.dumps(record) + b"\n")
            kind = "whole" if record["whole"] else "partly"
            counts.update({f"{kind} passages": 1, f"{kind} entities": len(record["entities"])})
    if not counts:
        raise SystemExit("no passage has an entity; --plain must hold the articles, enwiki*.jsonl.zst")
    return counts


def main() -> None:
    """Reads the command line and writes the passages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    print(json.dumps(write(passages(args.plain), args.out)))


if __name__ == "__main__":
    main()
