"""`genner export`: a trained adapter or model becomes GGUF files that were compared with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from genner_cli.commands.options import BASE, LABELLED, DownloadBase, GpuLayers, Threads
from genner_cli.commands.terminal import needed_for, status_line
from genner_cli.errors import ModelError, UsageError
from genner_cli.generation import EngineOptions
from genner_cli.plurals import size_text

if TYPE_CHECKING:
    from convert.report import Report
    from convert.request import ExportOptions

_DEFAULTS = EngineOptions()
_TYPE = "Q4_K_M"


Source = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE", help="Folder: adapter or model that `genner train` wrote, or a base model. Or a GGUF to"
        " requantize.",
    ),
]  # fmt: skip
Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="FILE.gguf",
        help="GGUF to write; several --quantize write model.Q8_0.gguf, model.Q4_K_M.gguf ...",
    ),
]  # fmt: skip
Gguf = Annotated[bool, typer.Option("--gguf", help="Write GGUF, the only format: always on.", show_default=False)]
Type = Annotated[
    list[str] | None,
    typer.Option(
        "--quantize", metavar="TYPE", show_default=_TYPE,
        help="Quantization type, or F16, BF16, F32; repeat it for more. For a GGUF also fastest: measured here.",
    ),
]  # fmt: skip
Number = Annotated[
    Literal["f16", "bf16", "f32"] | None,
    typer.Option("--dtype", help="Number type before quantization.", show_default="the model's own"),
]
Base = Annotated[str | None, typer.Option(metavar="MODEL", help=BASE, show_default="the adapter's")]
Verify = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help=f"{LABELLED}, to check the GGUF with.",
        show_default="20 documents of the validation data, or of the training data if there was none",
    ),
]  # fmt: skip
NoVerify = Annotated[bool, typer.Option("--no-verify", help="Skip the parity checks.")]
Matrix = Annotated[Path | None, typer.Option(metavar="FILE", help="Importance matrix for quantization.")]
AdapterOnly = Annotated[
    bool, typer.Option("--adapter-only", help="Write the adapter alone, for extract --adapter with its base's GGUF.")
]


def export(
    source: Source,
    output: Output,
    gguf: Gguf = True,
    quantize: Type = None,
    dtype: Number = None,
    base: Base = None,
    download: DownloadBase = False,
    verify: Verify = None,
    no_verify: NoVerify = False,
    imatrix: Matrix = None,
    adapter_only: AdapterOnly = False,
    threads: Threads = None,
    gpu_layers: GpuLayers = _DEFAULTS.gpu_layers,
) -> None:
    """Merge, convert and quantize a trained model, and verify each GGUF against the model.

    The checks compare the prompt's tokens and the logits with transformers, and the entities of each quantization
    with those of the unquantized model. "noise" is the root mean square change of the logits by quantization, in their
    standard deviations. A file that fails is not written (exit status 1). The report is `FILE.gguf.report.json`,
    or `FILE.gguf.failed.report.json` if no file was written.

    Examples:

    - `genner export adapter/ -o model.gguf`
    - `genner export adapter/ -o model.gguf --quantize Q8_0 --quantize Q4_K_M --verify valid.jsonl`
    - `genner export base/ -o base.gguf` and `genner export adapter/ -o adapter.gguf --adapter-only`: one base for many
      adapters, as in `genner extract --model base.gguf --adapter adapter.gguf`
    - `genner export adapter.gguf -o model.gguf --quantize Q8_0`: adapter and base in one file, which is faster
    - `genner export model.gguf -o fast.gguf --quantize fastest`: the type of weights that this machine computes
      fastest, which costs some accuracy; compare the two with `genner evaluate`
    """
    engine = EngineOptions(threads=threads, gpu_layers=gpu_layers)
    if source.is_file():
        if dtype or verify or no_verify or adapter_only:
            raise UsageError("of a GGUF another type is made; drop --dtype, --verify, --no-verify and --adapter-only")
        _from_gguf(source, output, quantize or [_TYPE], imatrix, engine, base=base, download=download)
        return
    if adapter_only and (quantize or imatrix):
        raise UsageError("--quantize and --imatrix are for whole models; drop them, or --adapter-only")
    with needed_for("genner export", extra="train"):
        from convert.request import ExportOptions, read_request

    options = ExportOptions(
        types=tuple(quantize or (_TYPE,)), base=base, download=download, dtype=dtype,
        verify=verify, check=not no_verify, imatrix=imatrix, adapter_only=adapter_only, engine=engine,
    )  # fmt: skip
    read_request(source, output, options)  # what is wrong is reported before torch is loaded
    _from_folder(source, output, options)


def _from_folder(source: Path, output: Path, options: ExportOptions) -> None:
    """Exports, and prints the report. Raises ModelError where a check failed."""
    with needed_for("genner export", extra="train"):
        from convert.export import export as run
    from convert.report import lines_of

    with status_line(lines=True) as say:
        report = run(source, output, options, say=say)
    typer.echo("\n".join(lines_of(report)))
    if not report.passed:
        raise _refusal(report, output)


def _from_gguf(
    source: Path,
    output: Path,
    types: list[str],
    imatrix: Path | None,
    engine: EngineOptions,
    *,
    base: str | None,
    download: bool,
) -> None:
    """Makes another type of a GGUF, or one model of an adapter and its base, and reports what was measured."""
    from convert.fastest import requantize
    from convert.merged import is_adapter, whole_model

    if len(types) > 1:
        raise UsageError("of a GGUF one type is made at a time; give --quantize once")
    if (base or download) and not is_adapter(source):
        raise UsageError(f"{source} is a whole model, not an adapter; drop --base and --download")
    with (
        status_line(lines=True) as say,
        whole_model(source, base=base, download=download, engine=engine, say=say) as model,
    ):
        made = requantize(model, output, types[0], engine, imatrix=imatrix, say=say)
    for type in sorted(made.speeds, key=lambda type: -made.speeds[type]):
        typer.echo(f"{type:<8} {made.speeds[type]:,.0f} tokens/s")
    typer.echo(f"{made.type:<8} {size_text(output.stat().st_size):<10} {output} (noise of the logits {made.noise:.2g})")


def _refusal(report: Report, output: Path) -> ModelError:
    """Which checks failed, and where."""
    error = ModelError(f"{output} failed its parity checks against the trained model; it was not written")
    if report.files:
        error = ModelError("not all types passed their checks; those that failed were not written")
    for finding in report.failures:
        error.add_note(f"{finding.subject}: {finding.check}: {finding.message}")
    return error
