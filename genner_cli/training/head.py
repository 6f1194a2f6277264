"""Hidden states -> logits, as each architecture scales and caps them; all of them, or of a few tokens for each state.

Knows nothing of losses and of decoding.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

FEW_ROWS = 256
"""Tokens per state up to which only their rows of the output matrix are multiplied."""


def logits(model: PreTrainedModel, states: torch.Tensor) -> torch.Tensor:
    """(states, vocabulary) in F32; states: (states, width), the last layer's behind its norm."""
    head = model.get_output_embeddings()
    return _scaled(model, head(states.to(head.weight.dtype)).float())


def logits_of(model: PreTrainedModel, states: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The logits (states, tokens) in F32 of ids (states, tokens)."""
    head = model.get_output_embeddings()
    if ids.shape[1] > FEW_ROWS or type(head) is not nn.Linear:  # a subclass may hold its weights in another shape
        return logits(model, states).gather(1, ids)
    found = torch.einsum("sw,stw->st", states.float(), head.weight[ids].float())
    return _scaled(model, found if head.bias is None else found + head.bias[ids])


def _scaled(model: PreTrainedModel, logits: torch.Tensor) -> torch.Tensor:
    """Granite divides them, Gemma caps them."""
    config = model.config.get_text_config()
    logits = logits / getattr(config, "logits_scaling", 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return cap * torch.tanh(logits / cap) if cap else logits
