"""A transformers folder -> how likely its model finds a text, and what it writes greedily: a language model as such.

Knows nothing of prompts, of labels and of what the figures are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from genner_cli.errors import ModelError
from genner_cli.training.processes import chosen_device
from genner_cli.training.quiet import quiet
from genner_cli.training.tokens import DATA_ONLY, Tokens, load_tokenizer


class Likelihood(NamedTuple):
    """The log-probability of a text in nats, and of how many tokens."""

    log_probability: float
    tokens: int


class LanguageModel:
    """A model that is open. Texts stand behind the tokenizer's opening token, if it has one."""

    def __init__(self, model: PreTrainedModel, tokens: Tokens) -> None:
        self._model = model
        self._tokens = tokens
        opening = tokens.tokenizer.bos_token_id
        self._opening = [] if opening is None else [int(opening)]
        self._ends = {tokens.tokenizer.eos_token_id}

    def likelihood(self, text: str, *, after: str = "") -> Likelihood:
        """Of a text behind another one. Where nothing stands before it, not even an opening token, its first token is
        not counted, for no model says how likely that is."""
        before, ids = [*self._opening, *self._ids(after)], self._ids(text)
        whole = [*before, *ids]
        first = max(1, len(before))
        with torch.inference_mode():
            logits = self._model(torch.tensor([whole], device=self._model.device)).logits[0].float()
        chosen = torch.log_softmax(logits[first - 1 : -1], dim=-1)
        wanted = torch.tensor(whole[first:], device=self._model.device)
        return Likelihood(float(chosen.gather(1, wanted[:, None]).sum()), len(whole) - first)

    def greedy(self, prompt: str, *, most: int) -> str:
        """The line that it continues with: up to a line end, its end token, or `most` tokens."""
        ids = [*self._opening, *self._ids(prompt)]
        written: list[int] = []
        while len(written) < most:
            with torch.inference_mode():
                logits = self._model(torch.tensor([[*ids, *written]], device=self._model.device)).logits[0, -1]
            next_id = int(logits.argmax())
            if next_id in self._ends:
                break
            written.append(next_id)
            if "\n" in self._text(written):
                break
        return self._text(written).split("\n")[0]

    def _ids(self, text: str) -> list[int]:
        return list(self._tokens.plain(text)) if text else []

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._tokens.tokenizer.decode(ids, skip_special_tokens=True))


@contextmanager
def open_language_model(folder: Path, *, device: str = "auto") -> Iterator[LanguageModel]:
    """Opens it in the folder's own number type, in F32 on a CPU. Raises ModelError where transformers cannot."""
    yield LanguageModel(*opened_model(folder, device=device))


def opened_model(folder: Path, *, device: str = "auto") -> tuple[PreTrainedModel, Tokens]:
    """The model as transformers has it, and its tokenizer; as `open_language_model` opens them."""
    place = chosen_device(device)
    number: torch.dtype | str = torch.float32 if place.type == "cpu" else "auto"
    tokens = Tokens(load_tokenizer(folder))
    try:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=number, use_safetensors=True, **DATA_ONLY)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder}: transformers cannot open the model ({error}); save it there again") from error
    return model.to(place).eval(), tokens
