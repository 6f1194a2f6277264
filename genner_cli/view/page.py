"""Documents -> one HTML page that holds them all and loads nothing, piece by piece.

The documents stand in it as JSON, which its script shows by way of text nodes alone; a policy in the page forbids
every other script and every request. Knows nothing of files and of what the script does.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib.resources import files
from typing import Any

from genner_cli.scoring.matching import align
from genner_cli.types import Entity
from genner_cli.view.viewed import ICONS, Viewed, hue, verdict

LARGE = 200 * 10**6
"""Bytes of a page from which on browsers get slow."""

_SCRIPTS = ("model.js", "text.js", "list.js", "page.js")
_UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
_VERDICTS = list(ICONS)


def page(documents: Iterable[Viewed], *, title: str, gold: str | None = None) -> Iterator[bytes]:
    """The page in UTF-8, a piece for each document; `title` and `gold` are the names of the two files.

    Labels, verdicts and gold entities stand in the data as numbers: their places in the lists of the same names.
    """
    style, script = _file("page.css"), "".join(map(_file, _SCRIPTS))
    policy = _policy(style, script)
    before, after = _filled(_file("page.html"), policy=policy, style=style, script=script).split("{{data}}")
    labels: dict[str, int] = {}
    yield f'{before}{{"title":{_json(title)},"gold":{_json(gold)},"documents":['.encode()
    for number, document in enumerate(documents):
        yield f"{',' if number else ''}\n{_json(_value(document, labels))}".encode()
    looks = {
        "verdicts": [(verdict(error), icon) for error, icon in ICONS.items()],
        "labels": [[label, hue(label)] for label in labels],
    }
    yield f"],{_json(looks)[1:]}{after}".encode()


def _file(name: str) -> str:
    return (files("genner_cli.view") / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Nothing but this style and this script, and no way for the script to make HTML or script of data."""
    style_hash, script_hash = (b64encode(sha256(part.encode()).digest()).decode() for part in (style, script))
    return (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _filled(template: str, **parts: str) -> str:
    for name, part in parts.items():
        template = template.replace(f"{{{{{name}}}}}", part)
    return template


def _json(value: Any) -> str:
    """JSON that ends no script element, whatever it holds."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_UNSAFE)


def _value(document: Viewed, labels: dict[str, int]) -> dict[str, Any]:
    """The document as the page's script reads it; new labels are numbered.

    The verdicts are those among all predictions, as `genner evaluate` counts them; where the page hides one by its
    score, its gold entity is shown as missed and the others keep theirs.
    """

    def span(entity: Entity) -> list[Any]:
        return [entity.start, entity.end, labels.setdefault(entity.label, len(labels))]

    if document.gold is None:
        compared = {"entities": [[*span(entity), entity.score] for entity in document.predicted]}
    else:
        at = {entity: number for number, entity in enumerate(document.gold)}
        judged = {pair.predicted: pair for pair in align(document.gold, document.predicted)}
        compared = {
            "entities": [
                [*span(entity), entity.score, _VERDICTS.index(pair.error), *([at[pair.gold]] if pair.gold else [])]
                for entity, pair in ((entity, judged[entity]) for entity in document.predicted)
            ],
            "gold": [span(entity) for entity in document.gold],
        }
    about = {"id": document.id, "source": document.source, "error": document.error, "fields": document.fields}
    return {"text": document.text, **{name: value for name, value in about.items() if value}, **compared}
