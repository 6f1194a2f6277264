"""Training throughput of genner against a plain loop of transformers.Trainer and peft, with the same losses.

    python benchmarks/training.py --threads 2

Both train the same LoRA on the same base with the same token ids, in the same order, with the same optimizer, and the
loss of every step is compared. Trainer pads the examples of a batch, and computes the logits of all their tokens; it is
timed as the paper's configuration has it (one example at a time, eight accumulated) and with the whole batch at once.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import SequentialSampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import set_seed

from convert.base import base_folder
from genner_cli.files.labels import read_label_tree
from genner_cli.training.base import Base, find_base, open_model, with_lora
from genner_cli.training.dataset import Dataset, Schedule, load
from genner_cli.training.examples import Example
from genner_cli.training.gold import Files, read
from genner_cli.training.loop import Loop, LoopOptions, read_log
from genner_cli.training.options import TrainOptions, made_of
from genner_cli.training.packing import order
from genner_cli.training.run import PACK_TOKENS, objective_of
from genner_cli.types import Label, LabelTree

ROOT = Path(__file__).parents[1]
WEB = ROOT / "tests" / "web" / "gold.jsonl"
RECIPES = ROOT / "examples" / "recipes" / "valid.jsonl.gz"
MANY_LABELS = ROOT / "benchmarks" / "documents" / "many_labels.yaml"
THREE = (
    Label("PER", "names of people, real or fictional"),
    Label("ORG", "names of companies, institutions, teams and bands"),
    Label("LOC", "names of countries, cities, rivers and other places"),
)
TOLERANCE = 2e-3
"""Largest relative difference of two losses; the order of sums differs."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Labelled documents, and the labels that the prompt lists."""

    name: str
    data: Path
    labels: tuple[Label, ...] | None


WORKLOADS = (
    Workload("web sentences, 3 labels", WEB, THREE),
    Workload("web sentences, 45 labels", WEB, (*THREE, *read_label_tree(str(MANY_LABELS)).leaves())),
    Workload("ingredient lists, 9 labels", RECIPES, None),
)


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds of each step but the first, and the loss of each."""

    seconds: tuple[float, ...]
    losses: tuple[float, ...]


def main() -> None:
    """Reads the command line, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="bundled", help="folder, Hub reference, or bundled")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--steps", type=int, default=8, help="steps of eight examples each")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    values = {"format": "bracketed", "batch_size": 8, "rank": 16, "warm_up": 0.0, "dtype": args.dtype}
    options = made_of("fast", values, {"learning_rate": 1e-3, "chunk_bytes": 1000})
    with base_folder(args.base) as folder:
        for workload in WORKLOADS:
            report(workload, folder, args.base, options, args)


def report(workload: Workload, folder: Path, reference: str, options: TrainOptions, args: argparse.Namespace) -> None:
    """Times one workload, and prints a line for each way of training."""
    base = find_base(folder, reference)
    base = (
        replace(base, instructions=None) if base.instructions and options.format != base.instructions.format else base
    )
    tree = LabelTree.flat(workload.labels) if workload.labels else LabelTree()
    data = load(read(Files((str(workload.data),), skip=True), options, tree), base, options)
    device = torch.device(args.device)
    model = with_lora(open_model(base, options, device), options).get_base_model()
    seed = f"{options.seed} 0"
    first = order([0] * len(data.train.examples), options.batch_size, seed, by_length=False)[: args.steps]
    examples = [data.train.examples[at] for step in first for at in step]
    tokens = sum(len(example.ids) for example in examples)
    ways: dict[str, Callable[[], Timed]] = {
        "genner": lambda: genner(copy.deepcopy(model), data, base, options, len(first), device),
        "genner, length-grouped": lambda: genner(
            copy.deepcopy(model), data, base, replace(options, packing=False), len(first), device
        ),
        "Trainer, 8 x 1": lambda: trainer(copy.deepcopy(model), examples, options, (8, 1), args),
        "Trainer, 1 x 8": lambda: trainer(copy.deepcopy(model), examples, options, (1, 8), args),
    }
    found: dict[str, list[Timed]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            found[name].append(way())
    print(f"\n{workload.name}: {len(examples)} examples, {tokens / len(examples):.0f} tokens on average")
    compare(found, tokens * (len(first) - 1) / len(first))


def compare(found: dict[str, list[Timed]], tokens: float) -> None:
    """Prints tokens per second, medians and ranges; raises where the losses are not the same."""
    rates = {name: [tokens / sum(timed.seconds) for timed in rounds] for name, rounds in found.items()}
    for name, rounds in found.items():
        reference = found["genner"][0].losses
        if "grouped" not in name:  # another order
            for step, (one, other) in enumerate(zip(rounds[0].losses, reference, strict=True), 1):
                if abs(one - other) > TOLERANCE * other:
                    raise SystemExit(f"{name}: the loss of step {step} is {one:.5f}, genner's {other:.5f}")
        median, low, high = statistics.median(rates[name]), min(rates[name]), max(rates[name])
        ratio = statistics.median(rates["genner"]) / median
        last = rounds[0].losses[-1]
        rate = f"{median:>7,.0f} tokens/s ({low:,.0f} to {high:,.0f})"
        print(f"  {name:<24} {rate}, genner / this {ratio:.2f}, loss {last:.4f}")


def genner(
    model: PreTrainedModel, data: Dataset, base: Base, options: TrainOptions, steps: int, device: torch.device
) -> Timed:
    """Trains as `genner train` does."""
    schedule = Schedule(data, base, options, pack_tokens=PACK_TOKENS[device.type])
    chosen = LoopOptions(
        steps, options.learning_rate, warm_up=0.0, bfloat16=options.dtype == "bfloat16", checkpoint_every=steps + 1
    )
    seconds: list[float] = []

    def packs_at(step: int) -> Any:
        synchronize(device)
        seconds.append(time.perf_counter())
        return schedule(step)

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        Loop(model, objective_of(options), chosen, Path(folder) / "checkpoint", log=log).run(packs_at)
        synchronize(device)
        seconds.append(time.perf_counter())
        losses = [line["loss"] for line in read_log(log)]
    return Timed(tuple(b - a for a, b in itertools.pairwise(seconds[1:])), tuple(losses))


def synchronize(device: torch.device) -> None:
    """Waits for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


class InOrder(Trainer):
    """Takes the examples as they come."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


class Watch(TrainerCallback):
    """Notes when each step begins."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.began: list[float] = []

    def on_step_begin(self, *args: Any, **more: Any) -> None:
        synchronize(self.device)
        self.began.append(time.perf_counter())


def trainer(
    model: PreTrainedModel,
    examples: Sequence[Example],
    options: TrainOptions,
    shape: tuple[int, int],
    args: argparse.Namespace,
) -> Timed:
    """What a user writes: Trainer, the prompt masked with -100, examples padded on the right."""
    rows = [
        {
            "input_ids": list(example.ids),
            "labels": [-100] * example.completion_start + list(example.ids[example.completion_start :]),
        }
        for example in examples
    ]
    set_seed(options.seed)
    watch = Watch(torch.device(args.device))
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder,
            per_device_train_batch_size=shape[0],
            gradient_accumulation_steps=shape[1],
            num_train_epochs=1,
            learning_rate=options.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=0,
            max_grad_norm=options.clip_norm,
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=args.device == "cpu",
            bf16=args.dtype == "bfloat16",
            dataloader_pin_memory=False,
        )
        run = InOrder(model, settings, data_collator=padded, train_dataset=rows, callbacks=[watch])
        run.train()
        synchronize(watch.device)
        ends = time.perf_counter()
        losses = tuple(line["loss"] for line in run.state.log_history if "loss" in line)
    began = [*watch.began, ends]
    return Timed(tuple(b - a for a, b in itertools.pairwise(began[1:])), losses)


def padded(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Examples side by side."""
    longest = max(len(row["input_ids"]) for row in rows)

    def column(values: Iterator[list[int]], padding: int) -> torch.Tensor:
        return torch.tensor([[*value, *[padding] * (longest - len(value))] for value in values])

    return {
        "input_ids": column((row["input_ids"] for row in rows), 0),
        "attention_mask": column(([1] * len(row["input_ids"]) for row in rows), 0),
        "labels": column((row["labels"] for row in rows), -100),
    }


if __name__ == "__main__":
    main()
