"""What a model is trained to do with a batch: sums of losses, and how much there is to learn, so that a step's loss is
the same however its examples are packed.

- completion: the ordinary next-token loss over the completion (arXiv 2601.17898).
- locked: at every decision, -log softmax over the legal tokens alone. Where one token is legal there is nothing to
  learn, so the hidden states meet a handful of rows of the output matrix. Where a teacher says what it thinks of a
  decision, its probabilities take the place of a share of the right token's (FuseLLM, arXiv 2401.10491, eq. 7).
- preferences (DPO, arXiv 2305.18290): of two answers, the one that is right should gain more than the other.
- beside the first two, a share of the ordinary loss over the documents' own text keeps the model a language model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy, logsigmoid
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from genner_cli.training.batches import Batch, text_positions
from genner_cli.training.examples import Example
from genner_cli.training.head import logits, logits_of
from genner_cli.training.options import Loss
from genner_cli.training.virtual_tokens import inputs

MOST_LOGITS = 2**26
"""Logits that are in memory at a time."""


class Amounts(NamedTuple):
    """How much there is to learn: completion tokens or weighted decisions, and tokens of the text."""

    main: float
    text: float

    def __add__(self, other: tuple[Any, ...]) -> Amounts:
        return Amounts(self.main + other[0], self.text + other[1])


@dataclass(frozen=True, slots=True)
class Objective:
    """`text_weight`: of the loss over the text, 0 for none. `opening_weight`: of decisions to open an entity: a model
    that learns with weight w opens where it would have given p > 1 / (1 + w). `fusion`: the share of a teacher's
    target, at decisions that have one (locked loss)."""

    loss: Loss = Loss.COMPLETION
    text_weight: float = 0.0
    opening_weight: float = 1.0
    fusion: float = 0.0

    def amounts(self, examples: Iterable[Example]) -> Amounts:
        """What these examples have to learn."""
        found = Amounts(0.0, 0.0)
        for example in examples:
            text = float(len(text_positions(example))) if self.text_weight else 0.0
            found += (self._main(example), text)
        return found

    def _main(self, example: Example) -> float:
        if self.loss is Loss.LOCKED:
            return sum(self.opening_weight if decision.opens else 1.0 for decision in example.decisions)
        return float(len(example.ids) - example.completion_start)

    def sums(self, model: PreTrainedModel, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The losses of a batch, summed: of completion tokens or weighted decisions, and of text tokens."""
        states = hidden_states(model, batch)
        if self.loss is Loss.LOCKED:
            main = locked_loss(model, states, batch, self.opening_weight, self.fusion)
        else:
            main = token_loss(model, states[batch.completion_at], batch.completion)
        text = token_loss(model, states[batch.text_at], batch.text) if self.text_weight else states.new_zeros(())
        return main, text

    def whole(self, main: Any, text: Any, amounts: Amounts) -> Any:
        """The loss of a step, or a batch's part of it, from sums; `amounts` are the step's."""
        return main / max(amounts.main, 1e-9) + self.text_weight * text / max(amounts.text, 1e-9)


@dataclass(frozen=True, slots=True)
class PreferenceObjective(Objective):
    """Of each two examples that follow each other, the first is the better answer (arXiv 2305.18290, eq. 7).

    `loss`: which log-probability an answer has, over the whole vocabulary or under the lock; `beta`: how strongly the
    model is kept near what it was.
    """

    beta: float = 0.1

    def _main(self, example: Example) -> float:
        return 0.5  # a pair is one

    def sums(self, model: PreTrainedModel, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        gained = log_probabilities(model, batch, self.loss).double() - batch.references
        chosen, rejected = gained.reshape(-1, 2).unbind(1)
        return -logsigmoid(self.beta * (chosen - rejected)).sum(), gained.new_zeros(())


def log_probabilities(model: PreTrainedModel, batch: Batch, loss: Loss) -> torch.Tensor:
    """(examples,): of each completion, with its end over the whole vocabulary, or of its decisions under the lock."""
    states, count = hidden_states(model, batch), len(batch.references)

    def whole(states: torch.Tensor, targets: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
        losses = cross_entropy(logits(model, states), targets, reduction="none")
        return losses.new_zeros(count).index_add(0, owner, -losses)

    def locked(states: torch.Tensor, legal: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
        found = logits_of(model, states, legal.clamp(min=0)).masked_fill(legal < 0, float("-inf"))
        losses = cross_entropy(found, torch.zeros(len(legal), dtype=torch.long, device=legal.device), reduction="none")
        return losses.new_zeros(count).index_add(0, owner, -losses)

    if loss is Loss.LOCKED:
        width = batch.legal.shape[1] * states.shape[1]
        return _in_parts(locked, width, states[batch.decision_at], batch.legal, batch.decision_of)
    size = model.config.get_text_config().vocab_size
    return _in_parts(whole, size, states[batch.completion_at], batch.completion, batch.completion_of)


def hidden_states(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """(tokens of all rows, width): the last layer's states behind its norm."""
    found = model.get_decoder()(
        **inputs(model, batch.ids), position_ids=batch.positions, attention_mask=_masks(model, batch), use_cache=False
    ).last_hidden_state
    return torch.as_tensor(found).flatten(0, 1)


def _masks(model: PreTrainedModel, batch: Batch) -> Any:
    """What tokens see, as transformers takes it (masking_utils: masks of four dimensions are taken as they are).

    Models of several kinds of layers take a mask for each kind.
    """
    config = model.config.get_text_config()
    window, kinds = getattr(config, "sliding_window", None), set(getattr(config, "layer_types", None) or ())
    if (sees := batch.sees()) is None:
        return None
    if "sliding_attention" in kinds:
        both = {"full_attention": sees, "sliding_attention": batch.sees(window)}
        return {kind: _added(model, mask) for kind, mask in both.items()}
    return _added(model, sees if kinds or window is None else batch.sees(window))


def _added(model: PreTrainedModel, sees: torch.Tensor | None) -> torch.Tensor | None:
    """What eager attention adds to its scores; the other implementations take it as it is."""
    if sees is None or model.config._attn_implementation != "eager":
        return sees
    return torch.zeros(sees.shape, device=sees.device).masked_fill(~sees, torch.finfo(torch.float32).min)


def token_loss(model: PreTrainedModel, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The sum of -log softmax over the whole vocabulary; states: (tokens, width), targets: (tokens,)."""

    def part(states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(logits(model, states), targets, reduction="sum")

    return _in_parts(part, model.config.get_text_config().vocab_size, states, targets)


def locked_loss(
    model: PreTrainedModel, states: torch.Tensor, batch: Batch, opening_weight: float = 1.0, fusion: float = 0.0
) -> torch.Tensor:
    """The sum over decisions of -log softmax over their legal tokens; states: (tokens of all rows, width).

    Where a decision has a target, (1 - fusion) times that plus fusion times the cross-entropy with the target.
    """

    def part(states: torch.Tensor, legal: torch.Tensor, opens: torch.Tensor, *taught: torch.Tensor) -> torch.Tensor:
        found = logits_of(model, states, legal.clamp(min=0)).masked_fill(legal < 0, float("-inf"))
        losses = cross_entropy(found, torch.zeros(len(legal), dtype=torch.long, device=legal.device), reduction="none")
        losses = losses * torch.where(opens, opening_weight, 1.0)
        if taught:
            has_target = taught[1].sum(1) > 0
            losses = torch.where(has_target, (1 - fusion) * losses + fusion * fused(found, *taught), losses)
        return losses.sum()

    width = batch.legal.shape[1] * states.shape[1]
    taught = (batch.parts, batch.targets) if fusion and batch.parts is not None and batch.targets is not None else ()
    return _in_parts(part, width, states[batch.decision_at], batch.legal, batch.opens, *taught)


def fused(logits: torch.Tensor, parts: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(decisions,): the cross-entropy of targets with the softmax over groups of legal tokens; tokens in no group do
    not count. logits, parts: (decisions, most legal tokens); targets: (decisions, most groups)."""
    groups = targets.shape[1]
    sums = torch.zeros(len(targets), groups + 1, device=logits.device)
    sums = sums.scatter_add(1, parts.masked_fill(parts < 0, groups), torch.softmax(logits, 1))[:, :groups]
    logs = sums.clamp(min=_LEAST).log() - sums.sum(1, keepdim=True).clamp(min=_LEAST).log()
    return -(targets * logs).sum(1)


_LEAST = 1e-30
"""No group's probability counts as less, so that its logarithm stays finite in F32."""


def _in_parts(part: Callable[..., torch.Tensor], numbers: int, *values: torch.Tensor) -> torch.Tensor:
    """The sum of `part` over slices of the values, each with `numbers` numbers in memory for each of its items."""
    size = max(1, MOST_LOGITS // max(1, numbers))
    slices = list(zip(*(torch.split(value, size) for value in values), strict=True))
    if len(slices) == 1:
        return part(*slices[0])
    return torch.stack([checkpoint(part, *slice, use_reentrant=False) for slice in slices]).sum(0)
