"""The training loop: batches in, a trained model and a log out; resumes from its last checkpoint.

Works on any transformers decoder with tied or untied output matrix. Knows nothing of corpora.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from genner_cli.training.loss import Batch, locked_loss, text_loss


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """One run. `warm_up` and `steps` count batches; the learning rate falls along a cosine to a twentieth."""

    steps: int
    learning_rate: float = 1e-3
    warm_up: int = 100
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    text_weight: float = 0.1
    opening_weight: float = 1.0
    checkpoint_every: int = 200
    log_every: int = 20
    bfloat16: bool = False


def learning_rate_at(step: int, options: TrainingOptions) -> float:
    """The learning rate of a step, from 0."""
    if step < options.warm_up:
        return options.learning_rate * (step + 1) / options.warm_up
    done = (step - options.warm_up) / max(1, options.steps - options.warm_up)
    return options.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def train(
    model: PreTrainedModel,
    batch_at: Callable[[int], Batch],
    options: TrainingOptions,
    directory: Path,
    report: Callable[[dict[str, float]], None] = lambda line: None,
) -> None:
    """Trains in place. `batch_at(step)` must give the same batch for the same step in every run.

    Checkpoints stand in `directory`; a run that finds one goes on from it. `training_log.jsonl` there
    gets a line every `log_every` steps, which `report` gets too.
    """
    directory.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(_groups(model, options.weight_decay), lr=options.learning_rate, betas=(0.9, 0.98))
    step = _resume(model, optimizer, directory / "checkpoint.pt")
    model.train()
    since, sums = time.monotonic(), {"loss": 0.0, "text_loss": 0.0, "tokens": 0.0}
    while step < options.steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, options)
        losses = _step(model, optimizer, batch_at(step).to(model.device), options)
        sums = {key: sums[key] + losses[key] for key in sums}
        step += 1
        if step % options.log_every == 0:
            line = {"step": step, **{key: sums[key] / options.log_every for key in ("loss", "text_loss")}}
            line["tokens_per_second"] = sums["tokens"] / (time.monotonic() - since)
            with (directory / "training_log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            report(line)
            since, sums = time.monotonic(), dict.fromkeys(sums, 0.0)
        if step % options.checkpoint_every == 0 or step == options.steps:
            _save(model, optimizer, step, directory / "checkpoint.pt")
    model.eval()


def _step(
    model: PreTrainedModel, optimizer: torch.optim.Optimizer, batch: Batch, options: TrainingOptions
) -> dict[str, float]:
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=options.bfloat16):
        hidden = model.get_decoder()(input_ids=batch.ids, use_cache=False).last_hidden_state
        output = model.get_output_embeddings().weight
        locked = locked_loss(hidden, output, batch, options.opening_weight)
        ordinary = text_loss(hidden, output, batch)
    (locked + options.text_weight * ordinary).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {"loss": locked.item(), "text_loss": ordinary.item(), "tokens": float(batch.ids.numel())}


def _groups(model: PreTrainedModel, weight_decay: float) -> list[dict[str, Any]]:
    matrices = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    vectors = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _resume(model: PreTrainedModel, optimizer: torch.optim.Optimizer, path: Path) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, map_location=model.device, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _save(model: PreTrainedModel, optimizer: torch.optim.Optimizer, step: int, path: Path) -> None:
    partial = path.with_suffix(".partial")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, partial)
    os.replace(partial, path)
