"""A Hugging Face tokenizer as extraction will have it: the same ids that `engine.model` gives for the exported GGUF
(invariant 3), and what that GGUF must say of each token.

Text is cut by `pretokenizers`, which is how llama.cpp cuts it; merges are done by the tokenizers package. Added tokens
are found by `tokenizing`. Knows nothing of GGUF files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from genner_cli.errors import ModelError
from genner_cli.locking import Vocabulary
from genner_cli.tokenizing import BLANK, Segmenter
from genner_cli.training import pretokenizers
from genner_cli.training.quiet import quiet
from genner_cli.types import Piece

DATA_ONLY: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""How transformers opens a folder: nothing is fetched, and no code that lies in it is run."""
Kind = Literal["normal", "byte", "control", "user-defined", "unused"]
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_BYTE_OF = {char: byte for byte, char in bytes_to_unicode().items()}
# what llama.cpp makes control tokens, or user-defined ones, whatever a GGUF says (llama_vocab::impl::load)
_CONTROL = (
    "<|eot_id|> <|im_end|> <|end|> <end_of_turn> <|endoftext|> <|end_of_text|> <EOT> _<EOT> [EOT] [EOS] </s> <eos>"
    " <｜end▁of▁sentence｜> <end_of_utterance> <|eom_id|> <|return|> <|call|> <|flush|> <|calls|> <turn|> [e~["
    " <|tool_response> <|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD] <|fim_repo|> <|repo_name|> <fim-repo> <REPO>"
    " <|fim_prefix|> <fim-prefix> <fim_prefix> <｜fim▁begin｜> <PRE> ▁<PRE> <|code_prefix|> <|prefix|>"
    " <|fim_suffix|> <fim-suffix> <fim_suffix> <｜fim▁hole｜> <SUF> ▁<SUF> <|code_suffix|> <|suffix|>"
    " <|fim_middle|> <fim-middle> <fim_middle> <｜fim▁end｜> <MID> ▁<MID> <|code_middle|> <|middle|>"
    " <reponame> <|file_sep|>"
)
_USER_DEFINED = "<|channel|> <|message|> <|start|> <|constrain|>"
_ALWAYS: dict[str, Kind] = {
    **dict.fromkeys(_CONTROL.split(), "control"),
    **dict.fromkeys(_USER_DEFINED.split(), "user-defined"),
}


@dataclass(frozen=True, slots=True)
class Token:
    """A token as llama.cpp must know it; `text` is the spelling in the vocabulary."""

    text: str
    kind: Kind


class Tokens:
    """Text to ids and ids to bytes, as extraction does it."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """Raises ModelError where llama.cpp has no such tokenizer, so that the model could not be exported."""
        spec = json.loads(tokenizer.backend_tokenizer.to_str())
        self.tokenizer = tokenizer
        self.pre_tokenizer = pretokenizers.recognise(spec)
        self._merging = Tokenizer.from_str(json.dumps(_without_added(spec, self.pre_tokenizer)))
        self.table = self._table(spec)
        self.merges = [(left, right) for left, right in spec["model"]["merges"] if not {" ", "\0"} & {*left, *right}]
        self.begins = _begins(tokenizer)
        self.vocabulary = self._vocabulary()
        added = {token.text: id for id, token in self.table.items() if token.kind in ("control", "user-defined")}
        self._segmenter = Segmenter(self.vocabulary, added, self._encode)

    @property
    def end(self) -> int:
        """The token that ends a completion."""
        return int(self.tokenizer.eos_token_id)

    def plain(self, text: str) -> list[int]:
        """Ids of text read as plain characters: never an added token. Raises DataError where it cannot be written."""
        return self._segmenter.plain(text)

    def pieces(self, text: str) -> list[bytes]:
        """The bytes of the canonical tokens of a plain text."""
        return self._segmenter.pieces(text)

    def prompt(self, pieces: Sequence[Piece]) -> list[int]:
        """Ids of a prompt, each piece on its own, without BOS."""
        return self._segmenter.prompt(pieces)

    def _encode(self, text: str) -> list[int]:
        return list(self._merging.encode(text, add_special_tokens=False).ids)

    def _table(self, spec: Mapping[str, Any]) -> dict[int, Token]:
        """Every token by id."""
        fallback = not self.pre_tokenizer.byte_level
        table = {id: Token(text, _kind(text, fallback)) for text, id in spec["model"]["vocab"].items()}
        for added in spec["added_tokens"]:
            id, text = added["id"], added["content"]
            if text in _ALWAYS or added["special"] or id == self.tokenizer.eos_token_id:
                table[id] = Token(text, _ALWAYS.get(text, "control"))
            elif self._encode(text) != [id]:  # otherwise the merges make it of its text, as Gemma's line feeds
                table[id] = Token(text, "unused" if text.isspace() else "user-defined")  # blanks are no markup
        return table

    def _vocabulary(self) -> Vocabulary:
        """The bytes of every token; control tokens may never be written."""
        pieces: list[bytes | None] = [None] * (max(self.table) + 1)
        for id, token in self.table.items():
            pieces[id] = self._bytes(token)
        added = {token.text.encode(): id for id, token in self.table.items() if token.kind == "user-defined"}
        return Vocabulary(pieces, added)

    def _bytes(self, token: Token) -> bytes | None:
        if token.kind == "byte":
            return bytes.fromhex(token.text[3:5])
        if token.kind != "normal":
            return None
        if not self.pre_tokenizer.byte_level:
            return token.text.replace(BLANK, " ").encode()
        try:
            return bytes(_BYTE_OF[char] for char in token.text)
        except KeyError:
            raise ModelError(f"token {token.text!r} is not byte-level; repair the tokenizer's vocabulary") from None


def _kind(text: str, fallback: bool) -> Kind:
    if "\0" in text:  # llama.cpp reads no further; `tokenizing` spells the character in byte tokens
        return "unused"
    return "byte" if fallback and _BYTE.fullmatch(text) else _ALWAYS.get(text, "normal")


def _without_added(spec: Mapping[str, Any], pre_tokenizer: pretokenizers.PreTokenizer) -> dict[str, Any]:
    """The tokenizer.json that merges plain text as llama.cpp does."""
    changed: dict[str, Any] = {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    return {**spec, **changed, **pre_tokenizer.for_training()}


def _begins(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """BOS if the tokenizer puts it before a text. Raises ModelError where it puts another token there."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    around = list(tokenizer.encode(""))
    if around in ([], [eos]):
        return []
    if around in ([bos], [bos, eos]):
        return [bos]
    raise ModelError(
        f"the tokenizer puts {tokenizer.convert_ids_to_tokens(around)} around a text, and extraction can only put"
        f" {tokenizer.bos_token!r} before it; remove its post_processor"
    )


def load_tokenizer(folder: Path, reference: str | None = None) -> PreTrainedTokenizerFast:
    """The tokenizer of a transformers folder, which messages name by the user's reference, if there is another.

    Raises ModelError where there is none, or one without an end token.
    """
    named = reference or folder
    remedy = "give a folder with the tokenizer.json that save_pretrained writes"
    if not (folder / "tokenizer.json").exists():  # transformers would look for others
        raise ModelError(f"{named} has no tokenizer.json; {remedy}")
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, **DATA_ONLY)
    except Exception as error:  # the tokenizers package raises nothing narrower
        raise ModelError(f"the tokenizer in {named} cannot be read ({error}); {remedy}") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"the tokenizer in {named} has no eos_token; set the token that ends a completion")
    loaded: PreTrainedTokenizerFast = tokenizer
    return loaded
