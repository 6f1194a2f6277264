"""An adapter or a whole model as training leaves it -> GGUF files that were held against it, and a report.

Merges, converts, checks, quantizes, checks: what fails a check never gets its final name. Knows nothing of the
terminal.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from convert.base import base_folder
from convert.degradation import check_quantization, observe
from convert.hf_to_gguf import hf_to_gguf
from convert.lora_to_gguf import lora_to_gguf
from convert.merge_lora import merge_lora
from convert.parity import MODEL, check_logits, check_tokens
from convert.probe import Probe, make_probe
from convert.quantize import file_type, quantize
from convert.report import Finding, Report
from convert.transformers_folder import Weights
from convert.words import WORDS, read_words
from genner_cli.engine.gguf_header import FILE_TYPES
from genner_cli.errors import ModelError, UsageError
from genner_cli.files import expand
from genner_cli.files.gold import read_gold
from genner_cli.generation import EngineOptions
from genner_cli.prompting import Instructions
from genner_cli.types import Document

Number = Literal["f32", "f16", "bf16"]
Say = Callable[[str], None]
ADAPTER_CONFIG, VERIFY_FILE = "adapter_config.json", "verify.jsonl"
ADAPTER = "adapter"
"""The subject of findings on an adapter that is exported by itself."""
_NUMBERS: dict[str, Number] = {"F32": "f32", "F16": "f16", "BF16": "bf16"}
_PACKAGES = ("genner", "transformers", "torch", "peft", "gguf", "llama_cpp_python")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to make of a trained model.

    `types`: quantization types; `base`: reference of the base model, None for the one that the adapter names;
    `dtype`: number type of the unquantized GGUF, None for the model's own; `verify`: labelled documents to check with,
    None for those that training left; `check`: whether to check at all; `adapter_only`: a GGUF of the adapter itself.
    """

    types: tuple[str, ...] = ("Q4_K_M",)
    base: str | None = None
    download: bool = False
    dtype: Number | None = None
    verify: Path | None = None
    check: bool = True
    imatrix: Path | None = None
    adapter_only: bool = False
    engine: EngineOptions = field(default_factory=EngineOptions)


def export(source: Path, out: Path, options: ExportOptions, *, say: Say = lambda step: None) -> Report:
    """Writes `out`, or for several types one file each, named like `model.Q8_0.gguf`; and a report beside them.

    A file whose checks fail is not written, and the report says which check and where; what stood under its name
    before is left alone. `say` is told each step. Raises UsageError and ModelError where the export cannot be tried.
    """
    names = final_names(out, options)
    said = _words(source)
    instructions = Instructions.from_metadata(said)
    if instructions is None:
        raise ModelError(f"{source / WORDS} does not say how the model was trained; train it with genner")
    documents = _documents(source, options, instructions) if options.check else ()
    with _work_folder(out) as work, _folders(source, work, said, options, say) as (folder, base):
        dtype = options.dtype or stored_number(folder)
        job = _Job(folder, work, names, dtype, documents, instructions, options, say)
        findings = job.adapter(source, base) if base and options.adapter_only else job.model()
        refused = {finding.subject for finding in findings if not finding.passed}
        good = {} if MODEL in refused else {type: path for type, path in names.items() if type not in refused}
        for type, path in good.items():
            os.replace(job.made(type), path)
    about: dict[str, Any] = {"source": str(source), "base": said.get("genner.base.reference"), "dtype": dtype}
    about |= {"documents": len(documents), "versions": _versions()}
    report = Report(about, tuple(findings), {type: str(path) for type, path in good.items()}, options.check)
    _write(report, out)
    return report


def final_names(out: Path, options: ExportOptions) -> dict[str, Path]:
    """The file of each type: `out` itself for one, `model.Q8_0.gguf` and so on for several.

    Raises UsageError for a type that llama.cpp does not have, and for a name that does not end in .gguf.
    """
    if out.suffix != ".gguf":
        raise UsageError(f"{out}: a GGUF's name ends in .gguf; name it {out.name}.gguf")
    if options.adapter_only:
        return {ADAPTER: out}
    types = list(dict.fromkeys(FILE_TYPES[file_type(type)] for type in options.types))
    if len(types) == 1:
        return {types[0]: out}
    return {type: out.with_name(f"{out.stem}.{type}.gguf") for type in types}


@dataclass(frozen=True, slots=True)
class _Job:
    """The transformers folder, where to work, and what is to come out of it; `dtype` is the unquantized GGUF's."""

    folder: Path
    work: Path
    names: Mapping[str, Path]
    dtype: Number
    documents: tuple[Document, ...]
    instructions: Instructions
    options: ExportOptions
    say: Say

    def made(self, type: str) -> Path:
        """Where a type's file stands until it has passed."""
        return self.work / ("whole.gguf" if type == self.dtype.upper() else self.names[type].name)

    def model(self) -> list[Finding]:
        """Converts, checks, quantizes, checks; stops where the conversion is wrong already."""
        whole = self._convert(self.folder, "whole.gguf")
        if not self.options.check:
            for type in self.names:
                self._quantize(whole, type)
            return []
        probe = make_probe(self.folder, self.documents, self.instructions)
        findings = self._compare(probe, self.folder, whole)
        if not findings[-1].passed:
            return findings
        self.say("extracting with the unquantized model")
        behaviour = observe(probe, whole, self.options.engine)
        for type in self.names:
            made = self._quantize(whole, type)
            self.say(f"checking {type}")
            findings += check_quantization(probe, type, behaviour, made, self.options.engine)
        return findings

    def adapter(self, source: Path, base: Path) -> list[Finding]:
        """Converts the adapter, and holds base and adapter together against the merged model."""
        self.say("converting the adapter")
        made = lora_to_gguf(source, base, self.made(ADAPTER))
        if not self.options.check:
            return []
        whole = self._convert(base, "base.gguf")
        probe = make_probe(self.folder, self.documents, self.instructions)
        return self._compare(probe, self.folder, whole, adapter=made)

    def _convert(self, folder: Path, name: str) -> Path:
        self.say(f"converting to GGUF in {self.dtype.upper()}")
        return hf_to_gguf(folder, self.work / name, dtype=self.dtype)

    def _compare(self, probe: Probe, folder: Path, gguf: Path, *, adapter: Path | None = None) -> list[Finding]:
        """Tokens, then logits."""
        self.say("comparing prompt tokens with transformers")
        tokens = check_tokens(probe, gguf)
        if not tokens.passed:
            return [tokens]
        self.say("comparing logits with transformers")
        threads = self.options.engine.threads or os.cpu_count() or 1
        return [tokens, check_logits(probe, folder, gguf, dtype=self.dtype, threads=threads, adapter=adapter)]

    def _quantize(self, whole: Path, type: str) -> Path:
        made = self.made(type)
        if made != whole:
            self.say(f"quantizing to {type}")
            quantize(whole, made, type, imatrix=self.options.imatrix)
        return made


def stored_number(folder: Path) -> Number:
    """The number type of a folder's matrices; F32 for any that GGUF does not have."""
    weights = Weights(folder)
    stored = (weights.described(name) for name in weights.names)
    return next((_NUMBERS.get(kind, "f32") for kind, shape in stored if len(shape) > 1), "f32")


def _words(source: Path) -> dict[str, str]:
    """What the model says of itself."""
    path = source / WORDS
    if not source.is_dir():
        raise UsageError(f"{source} is no folder; give one that `genner train` has written")
    if not path.exists():
        unfinished = (source / "checkpoint").exists()
        remedy = "its training is not done, finish it with --resume" if unfinished else "train it with genner"
        raise ModelError(f"{source} has no {WORDS}; {remedy}")
    return read_words(source)


def _documents(source: Path, options: ExportOptions, instructions: Instructions) -> tuple[Document, ...]:
    """What to check with; raises UsageError where there is nothing, or something wrong with it."""
    path = options.verify or source / VERIFY_FILE
    if options.verify is None and not path.exists():
        raise UsageError(f"{source} has no {VERIFY_FILE}; name labelled documents with --verify, or give --no-verify")
    names = [label.name for label in instructions.labels]
    data = read_gold(expand([str(path)]), labels=names, nested=instructions.depth > 1)
    if not data.documents and not data.problems:
        raise UsageError(f"{path} holds no document; name others with --verify")
    if data.problems:
        problems, it = ("1 problem", "it") if len(data.problems) == 1 else (f"{len(data.problems)} problems", "them")
        error = UsageError(f"{path}: {problems} beside {len(data.documents)} good documents; correct {it}")
        for problem in data.problems[:_SHOWN]:
            error.add_note(problem.message)
        raise error
    return data.documents


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """A folder beside the files to be made, so that they need only be renamed; gone afterwards."""
    work = out.with_name(out.name + ".partial")
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _folders(
    source: Path, work: Path, said: Mapping[str, str], options: ExportOptions, say: Say
) -> Iterator[tuple[Path, Path | None]]:
    """The folder of the whole model, and that of the base under an adapter."""
    if not (source / ADAPTER_CONFIG).exists():
        if options.adapter_only or options.base:
            raise UsageError(f"{source} is a whole model and no adapter; leave out --adapter-only and --base")
        yield source, None
        return
    reference = options.base or said.get("genner.base.reference")
    if not reference:
        raise UsageError(f"{source} does not name the base model that it was trained on; name it with --base")
    say(f"opening the base model {reference}")
    with base_folder(reference, download=options.download) as base:
        say("merging the adapter into the base model")
        yield merge_lora(base, source, work / "merged"), base


def _write(report: Report, out: Path) -> None:
    """Beside the files; under a name of its own where there are none."""
    done, failed = (out.with_name(f"{out.name}.{name}") for name in ("report.json", "failed.report.json"))
    report.write(done if report.files else failed)
    if report.files:
        failed.unlink(missing_ok=True)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
