"""The training loop: packs of examples in, a trained model and a log out; resumes from its last checkpoint.

Works on any transformers decoder, whichever of its parameters are to be trained. What a step computes does not depend
on what was computed before in the same process, so a run that was cut off ends as if it had not been. Knows nothing of
data and of adapters.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from genner_cli.errors import ModelError
from genner_cli.files.whole import write_whole
from genner_cli.training import checkpoints
from genner_cli.training.batches import Batch
from genner_cli.training.checkpoints import trained
from genner_cli.training.loss import Objective
from genner_cli.training.packing import Pack
from genner_cli.training.processes import Processes

STATE, BEST = "state.safetensors", "best.safetensors"
Line = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """One run. `warm_up`: the share of steps in which the learning rate rises; `decay_steps`: the last steps, in which
    it falls along a cosine to 0 (None: all after the rise; a run that keeps its rate until then can be ended at any
    step: warmup-stable-decay, arXiv 2404.06395); `patience`: validations
    without a better F1 after which it stops. AdamW's second beta is `beta`."""

    steps: int
    learning_rate: float
    warm_up: float = 0.1
    decay_steps: int | None = None
    weight_decay: float = 0.0
    beta: float = 0.999
    clip_norm: float = 1.0
    seed: int = 0
    checkpoint_every: int = 100
    evaluate_every: int | None = None
    patience: int | None = None
    bfloat16: bool = False


def learning_rate_at(step: int, options: LoopOptions) -> float:
    """The learning rate of a step, from 0."""
    rising = round(options.warm_up * options.steps)
    if step < rising:
        return options.learning_rate * (step + 1) / rising
    falling = options.steps - rising if options.decay_steps is None else options.decay_steps
    done = (step - (options.steps - falling)) / max(1, falling)
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))


@dataclass(slots=True)
class _Progress:
    """Steps done, the best validation so far, and how many have come since."""

    step: int = 0
    best: dict[str, float] | None = None
    since_best: int = 0

    def better(self, found: Line) -> bool:
        """Counts a validation; whether it is the best so far: by F1, then by loss."""
        rank = (found["valid_f1"], -found["valid_loss"])
        if self.best and rank <= (self.best["valid_f1"], -self.best["valid_loss"]):
            self.since_best += 1
            return False
        self.best, self.since_best = dict(found), 0
        return True

    def enough(self, options: LoopOptions) -> bool:
        """Whether it is time to stop."""
        tired = options.patience is not None and self.since_best >= options.patience
        return self.step >= options.steps or tired


class Loop:
    """One run of training in `folder`, which holds checkpoints while it lasts, and the log beside it."""

    def __init__(
        self,
        model: PreTrainedModel,
        objective: Objective,
        options: LoopOptions,
        folder: Path,
        *,
        log: Path,
        evaluate: Callable[[], Line] | None = None,
        report: Callable[[Line], None] = lambda line: None,
        processes: Processes = Processes(),  # noqa: B008  it is frozen
        optimizers: Sequence[torch.optim.Optimizer] = (),
    ) -> None:
        """`evaluate`, in all processes or in none, gives at least valid_f1 and valid_loss, and is called in the first
        one; `report` gets each line of the log there. `optimizers`, each parameter in one of them, take the place of
        AdamW; their learning rates rise and fall as the options' does."""
        self._model = model
        self._objective = objective
        self._options = options
        self._folder = folder
        self._log = log
        self._evaluate = evaluate
        self._report = report
        self._processes = processes
        self._parameters = list(trained(model).values())
        self._optimizers = optimizers or (_adamw(self._parameters, options),)
        self._peaks = [group["lr"] for optimizer in self._optimizers for group in optimizer.param_groups]
        self._progress = _Progress()

    def run(self, packs_at: Callable[[int], Sequence[Pack]]) -> dict[str, float] | None:
        """Trains in place, from the last checkpoint on if there is one; gives the best validation, whose weights the
        model then has. `packs_at(step)` must be the same for the same step in every run and process."""
        self._resume()
        self._model.train()
        while not self._progress.enough(self._options):
            self._one(packs_at(self._progress.step))
        if self._progress.best and self._processes.first:
            checkpoints.load(self._folder / BEST, self._model)
        self._model.eval()
        return self._progress.best

    def _one(self, packs: Sequence[Pack]) -> None:
        """A step, and the validation and the checkpoint behind it."""
        started, options, progress = time.monotonic(), self._options, self._progress
        rate = learning_rate_at(progress.step, options)
        loss, norm = self._update(packs, rate)
        progress.step += 1
        tokens = sum(len(example.ids) for pack in packs for example in pack.examples)
        self._write({"step": progress.step, "loss": loss, "learning_rate": rate, "gradient_norm": norm,
                     "tokens_per_second": round(tokens / (time.monotonic() - started), 1)})  # fmt: skip
        last = progress.step == options.steps
        validated = bool(self._evaluate) and (last or progress.step % (options.evaluate_every or options.steps) == 0)
        if validated:
            self._validate()
        if validated or last or progress.step % options.checkpoint_every == 0:
            self._save()

    def _update(self, packs: Sequence[Pack], rate: float) -> tuple[float, float]:
        """One update of the weights; gives the loss and the gradient's length before it is clipped."""
        mine = packs[self._processes.rank :: self._processes.count]
        amounts = self._objective.amounts(example for pack in packs for example in pack.examples)
        torch.manual_seed(_seed(self._options.seed, self._progress.step, self._processes.rank))
        total = torch.zeros((), device=self._model.device)
        for pack in mine:
            batch = Batch.of(pack).to(self._model.device)
            with self._precision():
                loss = self._objective.whole(*self._objective.sums(self._model, batch), amounts)
            loss.backward()
            total += loss.detach()
        self._processes.sum_gradients(self._parameters)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._options.clip_norm).item()
        loss_of_all = self._processes.summed(total).item()
        if not math.isfinite(loss_of_all + norm):
            where = f"step {self._progress.step + 1}: the loss is {loss_of_all}, the gradient's length {norm}"
            raise ModelError(f"{where}; start again with a lower --learning-rate")
        groups = (group for optimizer in self._optimizers for group in optimizer.param_groups)
        for group, peak in zip(groups, self._peaks, strict=True):
            group["lr"] = peak * (rate / self._options.learning_rate)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss_of_all, norm

    def _precision(self) -> torch.autocast:
        return torch.autocast(self._model.device.type, dtype=torch.bfloat16, enabled=self._options.bfloat16)

    def _validate(self) -> None:
        found = self._processes.shared(self._evaluate() if self._evaluate and self._processes.first else None)
        found = {"step": self._progress.step, **found}
        self._write(found)
        if self._progress.better(found) and self._processes.first:
            checkpoints.save(self._folder / BEST, self._model, {})

    def _write(self, line: Line) -> None:
        if self._processes.first:
            with self._log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            self._report(line)

    def _save(self) -> None:
        if self._processes.first:
            progress = self._progress
            found = {"step": progress.step, "best": progress.best, "since_best": progress.since_best}
            checkpoints.save(self._folder / STATE, self._model, found, self._optimizers)

    def _resume(self) -> None:
        """Goes back to the last checkpoint, if there is one, and the log with it."""
        path = self._folder / STATE
        if path.exists():
            found = checkpoints.counters(path)
            checkpoints.load(path, self._model, self._optimizers)
            self._progress = _Progress(found["step"], found["best"], found["since_best"])
        if self._processes.first:
            self._folder.mkdir(parents=True, exist_ok=True)
            _cut_log(self._log, self._progress.step)
        self._processes.shared(None)  # no process continues before the log is cut


def _seed(*numbers: int) -> int:
    """The same for the same numbers, and unlike that of any others."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:7], "little")


def _adamw(parameters: Sequence[torch.nn.Parameter], options: LoopOptions) -> torch.optim.Optimizer:
    """Matrices decay, vectors do not."""
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    vectors = [parameter for parameter in parameters if parameter.dim() <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": options.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, options.beta))


def read_log(path: Path) -> list[dict[str, float]]:
    """The lines of a log; a last one that was cut short is left out. Raises ModelError where another is broken."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] if path.exists() else []
    try:
        return [dict(json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} is broken ({error}); remove {path.parent}, and start again") from error


def _cut_log(path: Path, step: int) -> None:
    """Drops what was logged behind a step."""
    kept = [json.dumps(line) + "\n" for line in read_log(path) if line["step"] <= step]
    write_whole(path, "".join(kept))
