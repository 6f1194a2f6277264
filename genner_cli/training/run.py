"""A base model and gold documents -> a folder with an adapter: composes encoding, the loop, and validation.

Knows nothing of the terminal: it is handed where to report to.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from genner_cli.errors import ModelError, UsageError
from genner_cli.files.hashing import hash_files
from genner_cli.files.teaching import Answer
from genner_cli.files.whole import make_folder, write_whole
from genner_cli.provenance import Provenance
from genner_cli.running.spec import RunSpec
from genner_cli.training import checkpoints
from genner_cli.training.adapter_folder import LOG, provenance_of, write_adapter
from genner_cli.training.base import Base, adapted, find_base, number_type, open_model
from genner_cli.training.batches import Batch
from genner_cli.training.dataset import Dataset, Schedule, Teach, load
from genner_cli.training.decoding import TorchBackend, evaluate
from genner_cli.training.examples import Example
from genner_cli.training.gold import CHECKPOINT, Gold, refuse_folder
from genner_cli.training.loop import STATE, Line, Loop, LoopOptions, read_log
from genner_cli.training.loss import Amounts, Objective, PreferenceObjective, log_probabilities
from genner_cli.training.options import TrainOptions, changed
from genner_cli.training.processes import Processes, chosen_device, processes
from genner_cli.training.teachers import Teachers, label_first, model_answers, refuse_format, teacher_hashes
from genner_cli.training.virtual_tokens import placed

PACK_TOKENS = {"cpu": 512, "cuda": 8192}
"""More would have more tokens look over each other than the larger products save (docs/LOG.md)."""
RUN = "run.json"
"""What is trained and how, beside the checkpoints."""


@dataclass(frozen=True, slots=True)
class Job:
    """`base`: a transformers folder; `reference`: how the user names it; `teachers`: references of GGUF files, which
    `download` lets be fetched."""

    base: Path
    reference: str
    gold: Gold
    out: Path
    options: TrainOptions
    resume: bool = False
    teachers: tuple[str, ...] = ()
    download: bool = False


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where the first process reports to: stages; samples encoded; lines of the log with the number of all steps."""

    stage: Callable[[str], None] = lambda text: None
    encoded: Callable[[int], None] = lambda count: None
    line: Callable[[Line, int], None] = lambda line, steps: None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Steps planned, the lines of the log, and the best validation."""

    steps: int
    lines: Sequence[Line]
    best: Line | None

    def summary(self, out: Path) -> str:
        """For people to read; `out`: the adapter's folder."""
        last = [line for line in self.lines if "loss" in line][-1]
        lines = [f"{out}: {last['step']:,.0f} of {self.steps:,} steps, loss {last['loss']:.4f}"]
        if best := self.best:
            lines.append(f"best F1 {best['valid_f1']:.3f} at step {best['step']:,.0f}, whose weights were kept")
        lines.append(f"next: genner export {out} -o model.gguf")
        return "\n".join(lines)


def train(job: Job, progress: TrainingProgress = TrainingProgress()) -> Outcome | None:
    """Trains, and writes the adapter's folder; gives the outcome in the first process, None in others.

    Raises DataError with all that is wrong with the data, UsageError and ModelError, before anything is trained.
    """
    device = _device(job.options.device)
    with processes(device) as group:
        report = progress if group.first else TrainingProgress()
        group.first_only(lambda: refuse_folder(job.out, resume=job.resume))
        report.stage("encoding the data")
        base = find_base(job.base, job.reference, chat_template=job.options.chat_template)
        hashes = teacher_hashes(job.teachers, download=job.download)
        data = load(job.gold, base, job.options, meanings=bool(job.options.fusion), progress=report.encoded)
        report.stage(f"opening the base model {job.reference}")
        provenance = provenance_of(base, job.gold.files.train, job.options, hashes)
        group.first_only(lambda: _begin(job, {**provenance.to_metadata(), **data.instructions.to_metadata()}))
        made = adapted(open_model(base, job.options, device), base, job.options)
        model = made.get_base_model() if isinstance(made, PeftModel) else made
        schedule = Schedule(
            data, base, job.options, pack_tokens=pack_tokens(job.options, device), processes=group.count
        )
        loop = _loop(job, model, base, data, schedule, group, report)
        if job.resume and (step := _step_saved(job.out)):
            report.stage(f"resuming from step {step:,}")
        if data.rejected:
            report.stage("computing the reference")
            schedule.references = _references(job, model, data, schedule)
        teaching = _teaching(job, model, data, schedule, provenance, group, report)
        with _interruption_noted(job.out, first=group.first), teaching as schedule.teach:
            best = loop.run(schedule)
        if not group.first:
            return None
        lines = read_log(job.out / LOG)
        write_adapter(job.out, made, base, data, provenance, best)
        shutil.rmtree(job.out / CHECKPOINT)
    return Outcome(steps_of(schedule, job.options), lines, best)


@torch.no_grad()
def _references(job: Job, model: PreTrainedModel, data: Dataset, schedule: Schedule) -> list[float]:
    """The log-probabilities that the base gives to all answers, the better and the worse one in turn."""
    model.eval()
    found: list[float] = []
    bfloat16 = number_type(job.options, model.device) is torch.bfloat16
    for pack in schedule.in_pairs(range(len(data.rejected))):
        batch = Batch.of(pack).to(model.device)
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bfloat16):
            found += log_probabilities(model, batch, job.options.loss).tolist()
    return found


@contextmanager
def _teaching(
    job: Job,
    model: PreTrainedModel,
    data: Dataset,
    schedule: Schedule,
    provenance: Provenance,
    group: Processes,
    progress: TrainingProgress,
) -> Iterator[Teach | None]:
    """Has the teachers, if there are any, answer in the first process what they have not yet; how they teach."""
    if not job.options.fusion:
        yield None
        return
    refuse_format(data.instructions.format)
    opened = partial(Teachers, job.out / CHECKPOINT, provenance.base_hash, provenance.teachers)

    def base_answers(examples: Sequence[Example]) -> list[Answer]:
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bfloat16):
            return model_answers(model, schedule.packed(examples), examples)

    def ask() -> None:
        with closing(opened()) as teachers:
            progress.stage("asking the base model")
            samples = teachers.ask_base(schedule.to_teach(), base_answers)
            for reference in job.teachers:
                progress.stage(f"asking the teacher {reference}")
                teachers.ask(reference, samples, data.instructions.depth, label_first(data.instructions.format))
            progress.stage(teachers.report(samples))

    bfloat16 = number_type(job.options, model.device) is torch.bfloat16
    group.first_only(ask)
    with closing(opened()) as teachers:
        yield teachers.teach


def _step_saved(out: Path) -> int:
    """The step of the last checkpoint; 0 where there is none yet."""
    path = out / CHECKPOINT / STATE
    return int(checkpoints.counters(path)["step"]) if path.exists() else 0


@contextmanager
def _interruption_noted(out: Path, *, first: bool) -> Iterator[None]:
    """Adds to an interruption, in the first process, how to resume."""
    try:
        yield
    except KeyboardInterrupt as error:
        if first:
            error.add_note(f"the checkpoint in {out} is of step {_step_saved(out):,}; resume with --resume")
        raise


def _device(name: str) -> torch.device:
    try:
        device = chosen_device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"--device {name}: torch cannot use it ({str(error).splitlines()[0]}); give cpu") from error
    return device


def _begin(job: Job, recorded: dict[str, str]) -> None:
    """Records what is trained and how, or raises UsageError where the interrupted run was another."""
    folder = job.out / CHECKPOINT
    path = folder / RUN
    files = job.gold.files
    recorded |= {
        "validation data": hash_files(map(Path, files.valid)),
        "fields": f"{files.text_field} {files.id_field}",
        "label tree": json.dumps(job.gold.tree.value(), ensure_ascii=False),
    }
    if path.exists():
        before = _begun(path)
        differing = changed(before["options"], _plain(job.options))
        differing += [
            f"{key} was another"
            for key in recorded
            if key not in _FREE and before["recorded"].get(key) != recorded[key]
        ]
        if differing:
            raise UsageError(
                f"{job.out} holds another training: {'; '.join(differing)}; give the same, or a new folder"
            )
        return
    if (folder / STATE).exists():
        raise ModelError(
            f"{path} is missing, which records what was trained and how; remove {job.out}, and start again"
        )
    make_folder(folder)
    write_whole(path, json.dumps({"options": _plain(job.options), "recorded": recorded}, ensure_ascii=False))


def _begun(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {"options": dict(found["options"]), "recorded": dict(found["recorded"])}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path} is broken ({error!r}); remove {path.parents[1]}, and start again") from error


_FREE = ("genner.training.options", "genner.training.versions", "genner.base.reference")
"""The first is compared option by option; the others may change."""


def _plain(options: TrainOptions) -> dict[str, Any]:
    return dict(json.loads(json.dumps(asdict(options))))


def pack_tokens(options: TrainOptions, device: torch.device) -> int:
    """Tokens computed at a time."""
    return options.pack_tokens or PACK_TOKENS.get(device.type, PACK_TOKENS["cpu"])


def steps_of(schedule: Schedule, options: TrainOptions) -> int:
    """Steps of the whole run, if nothing stops it."""
    return schedule.steps_in_epoch * options.epochs


def objective_of(options: TrainOptions) -> Objective:
    """The loss that is minimized."""
    return Objective(options.loss, options.text_weight, options.opening_weight, options.fusion or 0.0)


def _loop(
    job: Job,
    model: PreTrainedModel,
    base: Base,
    data: Dataset,
    schedule: Schedule,
    group: Processes,
    progress: TrainingProgress,
) -> Loop:
    options, steps = job.options, steps_of(schedule, job.options)
    chosen = LoopOptions(
        steps=steps,
        learning_rate=options.learning_rate,
        warm_up=options.warm_up,
        weight_decay=options.weight_decay,
        clip_norm=options.clip_norm,
        seed=options.seed,
        checkpoint_every=options.checkpoint_every,
        evaluate_every=options.evaluate_every or schedule.steps_in_epoch,
        patience=options.patience,
        bfloat16=number_type(options, model.device) is torch.bfloat16,
    )
    return Loop(
        model,
        PreferenceObjective(options.loss, beta=options.beta) if data.rejected else objective_of(options),
        chosen,
        job.out / CHECKPOINT,
        log=job.out / LOG,
        evaluate=_Validation(model, base, data, schedule, options) if data.valid.documents else None,
        report=lambda line: progress.line(line, steps),
        processes=group,
    )


class _Validation:
    """Loss and strict F1 on the validation documents."""

    def __init__(
        self, model: PreTrainedModel, base: Base, data: Dataset, schedule: Schedule, options: TrainOptions
    ) -> None:
        instructions, chosen = data.instructions, data.valid.some(options.valid_limit)
        self._model = model
        self._objective = objective_of(options)
        self._bfloat16 = number_type(options, model.device) is torch.bfloat16
        self._documents = chosen.documents
        self._packs = schedule.packed([placed(example, options.virtual) for example in chosen.examples])
        self._spec = RunSpec(depth=instructions.depth)
        self._backend = TorchBackend(model, base.tokens, instructions)

    def __call__(self) -> dict[str, float]:
        """The figures, as the log has them."""
        with torch.autocast(self._model.device.type, dtype=torch.bfloat16, enabled=self._bfloat16):
            loss = self._loss()
            scores = evaluate(self._backend, self._documents, self._spec).micro
        return {
            "valid_loss": loss,
            "valid_precision": scores.precision,
            "valid_recall": scores.recall,
            "valid_f1": scores.f1,
        }

    @torch.no_grad()
    def _loss(self) -> float:
        self._model.eval()
        sums: list[Sequence[float]] = []
        for pack in self._packs:
            batch = Batch.of(pack).to(self._model.device)
            sums.append([part.item() for part in self._objective.sums(self._model, batch)])
        self._model.train()
        amounts: Amounts = self._objective.amounts(example for pack in self._packs for example in pack.examples)
        main, text = (sum(parts) for parts in zip(*sums, strict=True))
        return float(self._objective.whole(main, text, amounts))
