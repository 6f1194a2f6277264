"""Input made wrong in many ways, and what must never become of it: a crash, a hang, a lost neighbour.

A target makes inputs from a generator of random numbers, so that each is found again by seed and number, and checks
what genner makes of one. `fuzz` runs them in a process that is watched: what hangs or kills it is named and passed
over.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import orjson
from fake_engine import FakeEngine

from genner_cli import extraction
from genner_cli.engine.gguf_header import read_header
from genner_cli.errors import DataError, GennerError, UsageError
from genner_cli.files.annotations import ANNOTATION_FORMATS, AnnotationOptions, Dropped
from genner_cli.files.calibrations import read_calibration
from genner_cli.files.gold import read_gold
from genner_cli.files.journal import Journal, digest_of
from genner_cli.files.labels import parse_types, read_label_map, read_label_tree
from genner_cli.files.manifest import Manifest
from genner_cli.files.predictions import read_predictions
from genner_cli.files.reading import Record, read_documents
from genner_cli.files.settings import read_settings
from genner_cli.files.writing import encode
from genner_cli.formats import FORMATS, output_format
from genner_cli.ledger import Outcome
from genner_cli.prompting import GENERAL_PROMPT, Instructions
from genner_cli.tasks import Task
from genner_cli.types import Document, Entity, Extraction, FailedDocument, Label

CHILD = "from fuzzing import main; main()"
PATIENCE_SECONDS = 30.0
"""An input that takes longer hangs."""
STARTING_SECONDS = 300.0
"""A process that has not begun by then will not."""
LINES = 24
"""Fuzzed lines in one file; as many good ones stand between them."""

# making inputs

TOKENS = [
    b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b":", b",", b"\n", b"\r\n", b"\r", b"\t", b" ", b"\0", b"\x1b[31m",
    b"[" * 3000, b"{\"a\":" * 1500, b"9" * 400, b"-", b"1e999", b"NaN", b"null", b"true", b"0x10", b"\xff", b"\xc0\x80",
    b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\\ud800", b"\\u0000", b"\\udc00\\ud800", b'"text":',
    b'"id":', b"\x85",
    b'"entities":', b'"text":"x",', b"&a ", b"*a ", b"!!python/object/apply:os.system [id]", b"!!binary ", b"- ", b": ",
    b"? ", b"# ", b"|\n ", b">-\n ", b"%YAML 9.9\n", b"---\n", b"...\n", b"<<: *a\n", b"<|im_start|>", b"</PER>",
    b"\xe2\x9f\xa6",
    b"\xe2\xa6\x82PER\xe2\x9f\xa7", b" | PER]", b"T1\tPER 0 3\tAnn\n", b"R1\tx Arg1:T1 Arg2:T9\n", b"-DOCSTART- O\n",
    b"\x00\x00\x00\x00\x00\x00\x00\x80", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\xe2\x80\xa8", b"\xe2\x80\xae",
    b"e\xcc\x81",
]  # fmt: skip


def mutated(seeds: Sequence[bytes], chance: Random) -> bytes:
    """One of the seeds with one to six changes."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        _change(data, chance, seeds)
    return bytes(data)


def _change(data: bytearray, chance: Random, seeds: Sequence[bytes]) -> None:
    start = chance.randint(0, len(data))
    end = min(len(data), start + chance.choice((1, 1, 2, 4, 16, 64)))
    kind = chance.randrange(8)
    if kind == 0 and data:
        data[start % len(data)] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del data[start:end]
    elif kind == 2:
        data[start:start] = data[start:end] * chance.choice((1, 2, 50))
    elif kind == 3:
        del data[start:]
    elif kind == 4:
        other = chance.choice(seeds)
        data[start:] = other[chance.randint(0, len(other)) :]
    elif kind == 5:
        data[start:end] = bytes(chance.randrange(256) for _ in range(end - start))
    else:
        data[start : start if kind == 6 else end] = chance.choice(TOKENS)


# what is checked


class Target(NamedTuple):
    """`make` gives an input, `check` raises where genner does wrong; `inputs` count in one, for the table."""

    make: Callable[[Random], bytes]
    check: Callable[[bytes, Path], None]
    inputs: int = 1


def good_line(number: int) -> bytes:
    """A neighbour that must come back as it is."""
    return orjson.dumps({"id": f"good-{number}", "text": f"Ann {number} met Bob’s \U0001f469 in Rome.", "n": [number]})


_LINE_SEEDS = [
    b'{"id": 7, "text": "Ann met Bob in Rome.", "title": "A [b] | c", "n": {"a": [1, 2.5, null]}}',
    '{"text": "Zoë ⟦Ann⦂PER⟧ <PER>Eve</PER> 北京 \\ud83d\\ude00", "id": "ä"}'.encode(),
    b'{"text": "", "id": null, "entities": [{"start": 0, "end": 3, "label": "PER"}], "error": 1, "completion": []}',
    b'"a string"',
    b"[1, 2]",
    b"x" * 300,
]
_TASK = Task((Label("PER"), Label("A/B c")), GENERAL_PROMPT, "xml", depth=2, chunk_bytes=64)


def make_lines(chance: Random) -> bytes:
    """A file of fuzzed lines between good ones, which stand at its first and last place too."""
    lines = [good_line(0)]
    for number in range(1, LINES + 1):
        lines += [mutated(_LINE_SEEDS, chance), good_line(number)]
    return b"\n".join(lines)


def check_lines(content: bytes, folder: Path) -> None:
    """One record for each line that is not blank, in order, the good ones untouched, from reading to writing."""
    path = folder / "lines.jsonl"
    path.write_bytes(content)
    rows = {f"{path}:{number}": row for number, row in enumerate(content.split(b"\n"), 1) if row.strip()}
    records = list(read_documents([str(path)]))
    assert [record.source for record in records] == list(rows)
    good = {good_line(number) for number in range(LINES + 1)}
    for record, result in zip(records, extraction.extract(records, _TASK, FakeEngine(_source).generate), strict=True):
        assert result.document is record
        written = orjson.loads(encode(result))
        digest_of(record, b"key")
        if rows[record.source] in good:
            assert written == {**orjson.loads(rows[record.source]), "entities": []}
        elif isinstance(record, FailedDocument):
            assert record.message.startswith(f"{record.source}: ")
            assert "error" in written


def _source(request: Any) -> str:
    return str(request.lock.likely(request.lock.start).data.decode())


def _refuses_or_reads(read: Callable[[bytes, Path], object]) -> Callable[[bytes, Path], None]:
    """Success, or an error for users."""

    def check(data: bytes, folder: Path) -> None:
        with suppress(GennerError):
            read(data, folder)

    return check


def _from_file(name: str, read: Callable[[str], object]) -> Callable[[bytes, Path], None]:
    def reading(data: bytes, folder: Path) -> None:
        path = folder / name
        path.write_bytes(data)
        read(str(path))

    return _refuses_or_reads(reading)


def _read_all_labels(path: str) -> None:
    for read in (read_label_tree, read_label_map, read_settings):
        with suppress(GennerError):
            read(path)
    with suppress(GennerError):
        parse_types(Path(path).read_bytes().decode(errors="replace"))


def _read_form(name: str) -> Callable[[str], None]:
    def read(path: str) -> None:
        Path(path).with_suffix(".txt").write_text("Ann met Bob in Rome.", encoding="utf-8")
        for record in ANNOTATION_FORMATS[name].read(path, AnnotationOptions(), Dropped()):
            _is_record(record)

    return read


def _is_record(record: Record) -> None:
    assert isinstance(record, Document | FailedDocument)
    encode(Extraction(record))


def _read_gold(path: str) -> None:
    for document in read_gold([path]).documents:
        assert all(document.text[e.start : e.end] == e.text for e in document.entities)
    for found in read_predictions([path]):
        if isinstance(found.document, Document):
            assert all(found.document.text[e.start : e.end] == e.text for e in found.entities)


def _read_metadata(data: bytes, folder: Path) -> None:
    try:
        pairs = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(pairs, dict):
        Instructions.from_metadata({str(key): str(value) for key, value in pairs.items()})


def _go_on(data: bytes, folder: Path) -> None:
    """A journal whose index and lines were damaged keeps a whole prefix of lines."""
    at = data.find(b"--INDEX--")
    lines, index = folder / "lines", folder / "index"
    lines.write_bytes(data[:at] if at >= 0 else b"")
    index.write_bytes(data[at + 9 :] if at >= 0 else data)
    with Journal(str(lines), str(index)) as journal:
        journal.resume()
        journal.append(b"{}\n", bytes(16), Outcome(1, 1, 0, None))
        entries = list(journal)
    assert lines.stat().st_size == entries[-1].end


def _parse(data: bytes, _: Path) -> None:
    name, _, rest = data.decode(errors="replace").partition("\0")
    text, _, completion = rest.partition("\x01")
    try:
        entities = output_format(name).parse(completion, text)
    except (DataError, UsageError):
        return
    assert all(text[entity.start : entity.end] == entity.text for entity in entities)


# seeds

_TEXT = "Ann met Bob's Acme <b> in Zoë\\’s [Rome], Ann."
_ENTITIES = [Entity(0, 3, "PER", "Ann"), Entity(8, 11, "PER", "Bob"), Entity(14, 18, "ORG", "Acme")]
_LABEL_SEEDS = [
    b"PER: named people\nORG: named companies,\n  and bands\n'no': quoted\n",
    b"- PER\n- name: ORG\n  definition: a company\n- LOC\n",
    b'{"PER": "people", "ORG": null}',
    b'["PER", {"name": "ORG", "definition": "x"}]',
    b"PERSON: PER\nGPE: LOC\nDATE:\n",
    b"rank: 8\nlearning-rate: 1.0e-4\npreset: paper\n",
]
_CONLL_SEEDS = [
    b"-DOCSTART- -X- O O\n\nAnn NNP B-NP B-PER\nmet VBD O O\n\nRome NNP B-NP B-LOC\n",
    b"Ann\tB-PER\n.\tO\n",
]
_BRAT_SEEDS = [
    b"T1\tPER 0 3\tAnn\nT2\tLOC 15 19\tRome\nT3\tORG 0 3;8 11\tAnn Bob\n#1\tNote T1\tx\nR1\tIn Arg1:T1 Arg2:T2\n"
]
_CSV_SEEDS = [b"sentence,token,tag\n1,Ann,B-PER\n1,met,O\n", b"token\ttag\nAnn\tB-PER\n"]
_GOLD_SEEDS = [encode(Extraction(Document(_TEXT, "1"), tuple(_ENTITIES))), *_LINE_SEEDS]
_STATE_SEEDS = [
    b'{"options": {"model": "m.gguf"}, "state": "stopped", "process": null, "ledger": {}, "genner": "0.1"}',
    b'{"version": 1, "model": {"files": ["m"], "fingerprint": "00"}, "format": "xml", "constraint": "source", '
    b'"map": [[0.1, 0.2], [0.9, 0.8]], "thresholds": {"PER": 0.5}}',
]


def _completion_seeds() -> list[bytes]:
    found = []
    for name in FORMATS:
        rendered = output_format(name).render(_TEXT, _ENTITIES, ["PER", "ORG"]).completion
        found.append(name.encode() + b"\0" + _TEXT.encode() + b"\x01" + rendered.encode())
    return found


def _gguf_seed() -> bytes:
    """The header of a GGUF with one tensor, written by hand as ggml's docs/gguf.md says."""

    def string(text: str) -> bytes:
        return struct.pack("<Q", len(text.encode())) + text.encode()

    pairs = string("general.architecture") + struct.pack("<I", 8) + string("llama")
    pairs += string("a.list") + struct.pack("<IIQ3i", 9, 5, 3, 1, 2, 3)
    pairs += string("a.words") + struct.pack("<IIQ", 9, 8, 2) + string("x") + string("")
    tensor = string("one") + struct.pack("<IQQIQ", 2, 4, 2, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 3) + pairs + tensor
    return head + bytes(-len(head) % 32 + 32)


def _metadata_seeds() -> list[bytes]:
    from genner_cli import hub

    pairs = {key: str(value) for key, value in read_header(hub.BUNDLED).metadata.items() if key.startswith("genner.")}
    return [json.dumps(pairs, ensure_ascii=False).encode()]


def _journal_seed() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        lines, index = Path(folder) / "lines", Path(folder) / "index"
        with Journal(str(lines), str(index)) as journal:
            journal.resume()
            for number in range(6):
                journal.append(good_line(number) + b"\n", bytes(16), Outcome(1, 1, number, None))
        return lines.read_bytes() + b"--INDEX--" + index.read_bytes()


def _parquet_seed() -> bytes:
    import io

    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"id": [1, 2], "text": ["Ann met Bob.", "x"], "entities": ["[]", "[]"]})
    written = io.BytesIO()
    parquet.write_table(table, written)
    return written.getvalue()


def _form_seed(name: str) -> bytes:
    """What the form writes of a document."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed"
        ANNOTATION_FORMATS[name].write(
            [Document(_TEXT, "1", tuple(_ENTITIES))], str(path), AnnotationOptions(), Dropped()
        )
        return path.read_bytes()


def _form_target(name: str, file: str) -> Target:
    return Target(_from(lambda: [_form_seed(name)]), _from_file(file, _read_form(name)))


def _from(seeds: Callable[[], Sequence[bytes]]) -> Callable[[Random], bytes]:
    """Mutates seeds that are made when they are first needed."""
    kept: list[bytes] = []

    def make(chance: Random) -> bytes:
        kept.extend(() if kept else seeds())
        return mutated(kept, chance)

    return make


def _read_state(path: str) -> None:
    with suppress(GennerError):
        Manifest.read(path)
    read_calibration(Path(path), [Path(path)], "fingerprint", {"format": "xml", "constraint": "source"})


TARGETS: dict[str, Target] = {
    "lines": Target(make_lines, check_lines, LINES),
    "labels": Target(_from(lambda: _LABEL_SEEDS), _from_file("labels.yaml", _read_all_labels)),
    "gold": Target(_from(lambda: _GOLD_SEEDS), _from_file("gold.jsonl", _read_gold)),
    "conll": Target(_from(lambda: _CONLL_SEEDS), _from_file("a.conll", _read_form("conll"))),
    "brat": Target(_from(lambda: _BRAT_SEEDS), _from_file("a.ann", _read_form("brat"))),
    "csv": Target(_from(lambda: _CSV_SEEDS), _from_file("a.csv", _read_form("csv"))),
    "parquet": Target(_from(lambda: [_parquet_seed()]), _from_file("a.parquet", _read_form("parquet"))),
    "label-studio": _form_target("label-studio", "a.json"),
    "doccano": _form_target("doccano", "a.jsonl"),
    "gliner": _form_target("gliner", "a.jsonl"),
    "langextract": _form_target("langextract", "a.jsonl"),
    "presidio": _form_target("presidio", "a.jsonl"),
    "prodigy": _form_target("prodigy", "a.jsonl"),
    "alpaca": _form_target("alpaca", "a.json"),
    "gguf": Target(_from(lambda: [_gguf_seed()]), _from_file("a.gguf", lambda path: read_header(Path(path)))),
    "metadata": Target(_from(_metadata_seeds), _refuses_or_reads(_read_metadata)),
    "state": Target(_from(lambda: _STATE_SEEDS), _from_file("a.json", _read_state)),
    "journal": Target(_from(lambda: [_journal_seed()]), _refuses_or_reads(_go_on)),
    "completions": Target(_from(_completion_seeds), _refuses_or_reads(_parse)),
}
"""By name; `parquet` needs pyarrow."""


def random_of(target: str, seed: int, number: int) -> Random:
    """What input `number` is made with."""
    return Random(f"{target} {seed} {number}")


# running them under a watch


class Failure(NamedTuple):
    """Input `number` of a target, made with `seed`, did this."""

    target: str
    seed: int
    number: int
    what: str


class Fuzzed(NamedTuple):
    """Files that were tried, inputs in them, and the failures."""

    files: int
    inputs: int
    failures: list[Failure]


def fuzz(
    target: str,
    *,
    seed: int,
    files: int,
    until: float = float("inf"),
    patience: float = PATIENCE_SECONDS,
    child: str = CHILD,
    each: int | None = None,
) -> Fuzzed:
    """Tries so many files, or as many as there is time for (`until`, on the clock of `time.monotonic`)."""
    failures: list[Failure] = []
    done = 0
    with tempfile.TemporaryDirectory() as folder:
        while done < files and time.monotonic() < until:
            done, ended = _watched(target, seed, done, files, Path(folder), until, patience, child)
            failures += _told(target, seed, Path(folder))
            if ended:
                failures.append(Failure(target, seed, done, ended))
                done += 1
    each = TARGETS[target].inputs if each is None else each
    return Fuzzed(done, done * each, failures)


def _watched(
    target: str, seed: int, first: int, files: int, folder: Path, until: float, patience: float, child: str
) -> tuple[int, str | None]:
    """The number under way when the process ended, or was ended, and by what if not by its own will."""
    now, begun = folder / "now", folder / "begun"
    now.write_bytes(struct.pack("<q", first))
    begun.unlink(missing_ok=True)
    path = [str(Path(__file__).parent), *sys.path]
    command = (sys.executable, "-c", f"import sys; sys.path[:] = {path!r}\n{child}", target)
    process = subprocess.Popen(
        (*command, *map(str, (seed, files, folder))), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    at, moved = first, time.monotonic()
    try:
        while process.poll() is None:
            time.sleep(0.02)
            reached = struct.unpack("<q", now.read_bytes())[0]
            if reached != at:
                at, moved = reached, time.monotonic()
            if time.monotonic() > until:
                return at, None
            if time.monotonic() - moved > (patience if begun.exists() else STARTING_SECONDS):
                return at, f"hangs: no end after {patience:.0f} s"
    finally:
        process.kill()
        _, told = process.communicate()
    if process.returncode > 0:
        raise RuntimeError(told.decode())
    ended = f"ended by {signal.Signals(-process.returncode).name}" if process.returncode else None
    return struct.unpack("<q", now.read_bytes())[0], ended


def _told(target: str, seed: int, folder: Path) -> list[Failure]:
    """What the process wrote down before it ended."""
    path = folder / "failures"
    lines = path.read_bytes().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [Failure(target, seed, *orjson.loads(line)) for line in lines]


def main() -> None:
    """The process that is watched: TARGET SEED FILES FOLDER; it goes on from the number that stands in FOLDER/now."""
    name, seed, files, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    target = TARGETS[name]
    with open(folder / "now", "r+b") as file, mmap.mmap(file.fileno(), 8) as now:
        first: int = struct.unpack("<q", now[:])[0]
        (folder / "begun").touch()
        for number in range(first, files):
            now[:] = struct.pack("<q", number)
            data = target.make(random_of(name, seed, number))
            try:
                target.check(data, folder)
            except Exception:
                with open(folder / "failures", "ab") as told:
                    told.write(orjson.dumps([number, traceback.format_exc()]) + b"\n")
        now[:] = struct.pack("<q", files)
    os._exit(0)
