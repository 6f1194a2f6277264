"""Questions -> what a model writes in answer, sampled by seed, in an output that is resumed. Knows nothing of what is
asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Any, NamedTuple

from genner_cli import hub
from genner_cli.engine.gguf_header import read_header
from genner_cli.errors import UsageError
from genner_cli.files.hashing import fingerprint
from genner_cli.generation import Constraint, Generate, Request, Sampling
from genner_cli.locking import NO_LOCK
from genner_cli.methods.synthesis import WRITER_PROMPT
from genner_cli.prompting import VERSION_KEY, Demonstration, Prompt
from genner_cli.running.asked import AskedModel, Opening
from genner_cli.running.rewriting import Files, Record, Rewritten
from genner_cli.running.spec import RunSpec
from genner_cli.types import Document


class Writer(NamedTuple):
    """A model that is open to write. `prompts[n]`: with n demonstrations."""

    prompts: tuple[Prompt, ...]
    generate: Generate


@dataclass(frozen=True, slots=True)
class Author:
    """A model, not yet open; `open` is given the most demonstrations that it is to be shown. `settings`: how it is
    asked."""

    name: str
    fingerprint: str
    open: Callable[[int], AbstractContextManager[Writer]]
    settings: Mapping[str, Any] = field(default_factory=dict)


def author(model: str | None, spec: RunSpec) -> Author:
    """The model of a reference. Raises ModelError, and UsageError for one that genner trained."""
    file = hub.resolve(model, download=spec.download)
    # Refused now: once a stage has begun, its files name the model, and another one would be refused there.
    if VERSION_KEY in read_header(file).metadata:
        raise UsageError(
            f"{file}: was trained by genner to extract, and writes no texts; name a model that follows"
            " instructions after --model, and this one after --annotate-with"
        )

    @contextmanager
    def opened(most: int) -> Iterator[Writer]:
        with AskedModel(Opening(file, spec, WRITER_PROMPT, most)) as asked:
            yield Writer(asked.prompts, asked.generate)

    return Author(str(file), fingerprint([file]), opened, {"no-chat-template": spec.no_chat_template})


@dataclass(frozen=True, slots=True)
class Manner:
    """How is written: within a GBNF, at most `tokens` tokens, drawn with the seed (`generation.Sampling`)."""

    grammar: str
    tokens: int
    seed: int = 0
    temperature: float = 1.0
    min_p: float = 0.0


class Writing:
    """One stage (`rewriting.Rewriting`): each record gets an `answer`, and `cut` if its tokens ran out. The model is
    opened for the first record without an answer."""

    def __init__(
        self,
        author: Author,
        manner: Manner,
        demonstrations: Sequence[Demonstration] = (),
        made_of: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """`made_of`: what the questions were made of, by names for people, where a resumed run is to compare it."""
        self._author, self._manner, self._shown = author, manner, tuple(demonstrations)
        self._made_of = made_of
        self._stack = ExitStack()
        self._writer: Writer | None = None

    def __enter__(self) -> Writing:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def settings(self) -> dict[str, Any]:
        """The model, how it writes, and what it is shown."""
        shown = sha256(repr(self._shown).encode()).hexdigest() if self._shown else None
        return {
            "command": "synth",
            "model's content": self._author.fingerprint,
            **self._author.settings,
            **asdict(self._manner),
            "examples": shown,
            **self._made_of,
        }

    def rewrite(self, documents: Sequence[Record], files: Files, /) -> list[Rewritten]:
        """The records with their answers. Raises ModelError and UsageError where the model cannot be opened."""
        writer = self._opened()
        asked = [each for each in documents if isinstance(each, Document)]
        assert len(asked) == len(documents), "questions are written by genner itself"
        found = dict(writer.generate(self._request(each, writer) for each in asked))
        records = []
        for number, each in enumerate(asked):
            record: dict[str, Any] = {**each.fields, files.text_field: each.text}
            done = found[number]
            if done.error is not None:
                records.append(Rewritten({**record, "error": {"message": done.error}}, error=done.error))
            else:
                records.append(Rewritten({**record, "answer": done.text, **({"cut": True} if done.cut else {})}))
        return records

    def _opened(self) -> Writer:
        if not self._writer:
            self._writer = self._stack.enter_context(self._author.open(len(self._shown)))
        return self._writer

    def _request(self, document: Document, writer: Writer) -> Request:
        prompt, manner = writer.prompts[len(self._shown)], self._manner
        sampling = Sampling(manner.seed, document.id or "", manner.temperature, manner.min_p)
        return Request(
            prefix=prompt.prefix(()) + prompt.shown(self._shown),
            rest=prompt.rest(document.text),
            grammar=manner.grammar,
            lock=NO_LOCK,
            allowance=manner.tokens,
            constraint=Constraint.FORMAT,
            sampling=sampling,
        )
