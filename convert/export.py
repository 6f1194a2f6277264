"""An adapter or a whole model as training leaves it -> GGUF files that were compared with it, and a report.

Merges, converts, checks, quantizes, checks: what fails a check never gets its final name. Knows nothing of the
terminal.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from convert.degradation import check_quantization, observe
from convert.hf_to_gguf import hf_to_gguf
from convert.lora_to_gguf import lora_to_gguf
from convert.parity import MODEL, check_logits, check_tokens
from convert.probe import Probe, make_probe
from convert.quantize import quantize
from convert.report import Finding, Report
from convert.request import ADAPTER, ExportOptions, Number, read_request
from convert.source import Source, opened
from convert.transformers_folder import Weights
from convert.virtual_tokens import read_virtual_tokens, tokens_to_gguf
from genner_cli.engine import llama
from genner_cli.errors import ModelError
from genner_cli.files.whole import rename_durably

Say = Callable[[str], None]
_NUMBERS: dict[str, Number] = {"F32": "f32", "F16": "f16", "BF16": "bf16"}
_PACKAGES = ("genner", "transformers", "torch", "peft", "gguf", llama.PACKAGE)


def export(folder: Path, out: Path, options: ExportOptions, *, say: Say = lambda step: None) -> Report:
    """Writes `out`, or for several types one file each, named like `model.Q8_0.gguf`; and a report beside them.

    A file whose checks fail is not written, and the report says which check and where; what stood under its name
    before is left alone. `say` gets each step. Raises UsageError and ModelError where the export cannot be tried.
    """
    source, names = read_request(folder, out, options)
    with _work_folder(out) as work:
        if source.is_adapter and not source.is_virtual:
            say(f"merging the adapter into its base model {options.base or source.base}")
        with opened(source, work / "merged", base=options.base, download=options.download) as (whole, base):
            job = _Job(source, whole, work, names, options.dtype or _stored(whole), options, say)
            findings = job.adapter(base) if base and options.adapter_only else job.model()
        good = _passed(names, findings)
        for type, path in good.items():
            rename_durably(job.made(type), path)
    about = {"source": str(folder), "base": source.base, "dtype": job.dtype, "documents": len(source.documents)}
    files = {type: str(path) for type, path in good.items()}
    report = Report({**about, "versions": _versions()}, tuple(findings), files, options.check)
    _write(report, out)
    return report


@dataclass(frozen=True, slots=True)
class _Job:
    """What is exported, the folder of the whole model, where to work, and what is to come out of it; `dtype` is the
    unquantized GGUF's."""

    source: Source
    whole: Path
    work: Path
    names: Mapping[str, Path]
    dtype: Number
    options: ExportOptions
    say: Say

    def made(self, type: str) -> Path:
        """Where a type's file stands until it has passed."""
        return self.work / ("whole.gguf" if type == self.dtype.upper() else self.names[type].name)

    def model(self) -> list[Finding]:
        """Converts, checks, quantizes, checks; stops where the conversion is wrong already."""
        gguf = self._convert(self.whole, "whole.gguf")
        if not self.options.check:
            for type in self.names:
                self._quantize(gguf, type)
            return []
        probe = self._probe()
        findings = self._compare(probe, gguf)
        if not findings[-1].passed:
            return findings
        self.say("extracting with the unquantized model")
        behaviour = observe(probe, gguf, self.options.engine)
        for type in self.names:
            made = self._quantize(gguf, type)
            self.say(f"checking {type}")
            findings += check_quantization(probe, type, behaviour, made, self.options.engine)
        return findings

    def adapter(self, base: Path) -> list[Finding]:
        """Converts the adapter, and holds base and adapter together against what transformers computes."""
        self.say("converting the adapter")
        folder, virtual = self.source.folder, None
        if self.source.is_virtual:
            virtual = read_virtual_tokens(folder)
            made = tokens_to_gguf(folder, base, self.made(ADAPTER))
        else:
            made = lora_to_gguf(folder, base, self.made(ADAPTER))
        if not self.options.check:
            return []
        probe = self._probe(0 if virtual is None else len(virtual))
        return self._compare(probe, self._convert(base, "base.gguf"), adapter=made, virtual=virtual)

    def _convert(self, folder: Path, name: str) -> Path:
        self.say(f"converting to GGUF in {self.dtype.upper()}")
        return hf_to_gguf(folder, self.work / name, dtype=self.dtype)

    def _probe(self, virtual: int = 0) -> Probe:
        return make_probe(self.whole, self.source.documents, self.source.instructions, virtual=virtual)

    def _compare(
        self, probe: Probe, gguf: Path, *, adapter: Path | None = None, virtual: torch.Tensor | None = None
    ) -> list[Finding]:
        """Tokens, then logits."""
        self.say("comparing prompt tokens with transformers")
        tokens = check_tokens(probe, gguf)
        if not tokens.passed:
            return [tokens]
        self.say("comparing logits with transformers")
        threads = self.options.engine.thread_count
        logits = check_logits(
            probe, self.whole, gguf, dtype=self.dtype, threads=threads, adapter=adapter, virtual=virtual
        )
        return [tokens, logits]

    def _quantize(self, gguf: Path, type: str) -> Path:
        made = self.made(type)
        if made != gguf:
            self.say(f"quantizing to {type}")
            quantize(gguf, made, type, imatrix=self.options.imatrix, threads=self.options.engine.threads)
        return made


def _stored(folder: Path) -> Number:
    """The number type of a folder's matrices; F32 for any that GGUF does not have."""
    return _NUMBERS.get(Weights(folder).number, "f32")


def _passed(names: Mapping[str, Path], findings: list[Finding]) -> dict[str, Path]:
    """The types of which nothing was found wrong."""
    failed = {finding.subject for finding in findings if not finding.passed}
    return {} if MODEL in failed else {type: path for type, path in names.items() if type not in failed}


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """A folder beside the files to be made, so that they need only be renamed; gone afterwards.

    Raises ModelError where they cannot be written there.
    """
    work = out.with_name(out.name + ".partial")
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
    try:
        work.mkdir(parents=True)
        yield work
    except OSError as error:
        raise ModelError(f"{out.parent}: cannot write there ({error}); make room, or name another place") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


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
