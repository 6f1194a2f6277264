"""The locked loss: at every decision, -log softmax over the legal tokens alone.

Where one token is legal there is nothing to learn, so the hidden states meet a handful of rows of the
output matrix. A small share of the ordinary loss over the prompt's text keeps the model a language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from genner_cli.training.examples import Example

LENGTH_STEP = 32
"""Batches are padded to a multiple of this: oneDNN keeps a kernel for every shape that it has met."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples side by side, padded on the right.

    ids: (examples, length); decisions: (decisions, 2) of (example, position); legal: (decisions, most
    legal tokens), the right one first, -1 as padding; opens: (decisions,), whether the right one opens an
    entity; text: (text tokens, 2) of (example, position).
    """

    ids: torch.Tensor
    decisions: torch.Tensor
    legal: torch.Tensor
    opens: torch.Tensor
    text: torch.Tensor

    @classmethod
    def of(cls, examples: Sequence[Example], pad_id: int = 0, text_stride: int = 4) -> Batch:
        """Stacks examples; every `text_stride`-th prompt token takes part in the ordinary loss."""
        longest = -(-max(len(example.ids) for example in examples) // LENGTH_STEP) * LENGTH_STEP
        ids = torch.full((len(examples), longest), pad_id, dtype=torch.long)
        for row, example in enumerate(examples):
            ids[row, : len(example.ids)] = torch.tensor(example.ids)
        decisions = [(row, decision) for row, example in enumerate(examples) for decision in example.decisions]
        most = max((len(decision.legal) for _, decision in decisions), default=1)
        legal = [(*decision.legal, *[-1] * (most - len(decision.legal))) for _, decision in decisions]
        text = [
            (row, at)
            for row, e in enumerate(examples)
            for at in range(1 + row % text_stride, e.completion_start, text_stride)
        ]
        return cls(
            ids=ids,
            decisions=torch.tensor([(row, decision.position) for row, decision in decisions]).reshape(-1, 2),
            legal=torch.tensor(legal).reshape(-1, most),
            opens=torch.tensor([decision.opens for _, decision in decisions], dtype=torch.bool),
            text=torch.tensor(text).reshape(-1, 2),
        )

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch(*(tensor.to(device) for tensor in (self.ids, self.decisions, self.legal, self.opens, self.text)))


def locked_loss(hidden: torch.Tensor, output: torch.Tensor, batch: Batch, opening_weight: float = 1.0) -> torch.Tensor:
    """Mean loss over the decisions of a batch, those to open an entity weighing `opening_weight`.

    hidden: (examples, length, width), the last layer's after its norm; output: (vocabulary, width).
    A model that learns with weight w opens where it would have given p > 1 / (1 + w): more recall, less precision.
    """
    rows, positions = batch.decisions.unbind(1)
    states = hidden[rows, positions - 1]
    candidates = output[batch.legal.clamp(min=0)]
    logits = torch.einsum("dw,dlw->dl", states, candidates).float()
    logits = logits.masked_fill(batch.legal < 0, float("-inf"))
    losses = cross_entropy(logits, torch.zeros_like(rows), reduction="none")
    weights = torch.where(batch.opens, opening_weight, 1.0)
    return (losses * weights).sum() / weights.sum()


def text_loss(hidden: torch.Tensor, output: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean next-token loss over the chosen prompt tokens, against the whole vocabulary."""
    rows, positions = batch.text.unbind(1)
    logits = hidden[rows, positions - 1] @ output.T
    return cross_entropy(logits.float(), batch.ids[rows, positions])
