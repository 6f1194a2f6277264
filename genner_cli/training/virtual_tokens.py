"""Virtual tokens: embeddings that are trained in front of a frozen model (SPRING, arXiv 2405.19670).

They stand at the end of the prompt's shared prefix. Among token ids, -1 is the first of them, -2 the second and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import torch
from transformers import PreTrainedModel

from genner_cli.training.examples import Example
from genner_cli.training.tokens import Tokens

NAME = "virtual_tokens"
"""Of the parameter, (tokens, width), in what the model takes as `inputs_embeds`."""
INSTRUCTION = "Mark every named entity of the text, and give each one its label."
"""The embeddings of its tokens, over and over, are what training begins with."""


def ids_of(count: int) -> list[int]:
    """The ids of the first `count` virtual tokens."""
    return [-1 - at for at in range(count)]


def add_virtual_tokens(model: PreTrainedModel, tokens: Tokens, count: int) -> None:
    """Gives the model `count` embeddings in F32, the only ones of its weights that are trained."""
    ids = tokens.plain(INSTRUCTION)
    tiled = torch.tensor([ids[at % len(ids)] for at in range(count)], device=model.device)
    with torch.no_grad():
        rows = model.get_input_embeddings()(tiled).float()
    set_virtual_tokens(model, rows)


def set_virtual_tokens(model: PreTrainedModel, rows: torch.Tensor) -> None:
    """Gives the model these embeddings; rows: (tokens, width)."""
    model.register_parameter(NAME, torch.nn.Parameter(rows.clone()))


def virtual_tokens(model: PreTrainedModel) -> torch.Tensor | None:
    """(tokens, width), or None for a model without any."""
    return getattr(model, NAME, None)


def inputs(model: PreTrainedModel, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """The arguments of a decoder for token ids, among which may be those of virtual tokens."""
    rows = virtual_tokens(model)
    if rows is None:
        return {"input_ids": ids}
    found = model.get_input_embeddings()(ids.clamp(min=0))
    own = rows.to(found.dtype)[(-1 - ids).clamp(min=0)]
    return {"inputs_embeds": torch.where((ids < 0)[..., None], own, found)}


def placed(example: Example, count: int) -> Example:
    """The example with the first `count` virtual tokens at the end of its shared prefix."""
    if not count:
        return example
    at = example.prefix
    moved = (replace(decision, position=decision.position + count) for decision in example.decisions)
    return replace(
        example,
        ids=(*example.ids[:at], *ids_of(count), *example.ids[at:]),
        prefix=at + count,
        completion_start=example.completion_start + count,
        decisions=tuple(moved),
    )


def drawn(examples: Sequence[Example], most: int, seed: int, step: int) -> list[Example]:
    """The examples of a step behind the same number of virtual tokens, from 1 to `most`; without any where that is 0.

    So the first k of them are trained to be used without the others (section 3.3 of the paper).
    """
    count = Random(f"{seed} {step} tokens").randint(1, most) if most else 0
    return [placed(example, count) for example in examples]
