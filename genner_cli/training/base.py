"""A folder with a transformers model -> what training needs of it: tokens, prompt, and the model with LoRA on it.

Knows nothing of data and of where the folder comes from.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from genner_cli.engine.chat import literal_prompt
from genner_cli.errors import ModelError, UsageError
from genner_cli.formats import output_format
from genner_cli.prompting import Instructions, Prompt
from genner_cli.provenance import MODEL_METADATA_FILE
from genner_cli.training.options import Attention, Number, TrainOptions
from genner_cli.training.quiet import quiet
from genner_cli.training.tokens import DATA_ONLY, Tokens, load_tokenizer
from genner_cli.training.virtual_tokens import add_virtual_tokens

DEFAULT_FORMAT = "bracketed"
"""The best of the paper's five, on average (arXiv 2601.17898, micro F1 of eight models)."""
DEFAULT_CHUNK_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Base:
    """A base model as it is found: `reference` is how the user names it, `instructions` what it says of itself if
    genner trained it, `prompt` how it is asked, and `context` the most tokens that it takes."""

    folder: Path
    reference: str
    tokens: Tokens
    instructions: Instructions | None
    prompt: Prompt
    context: int

    def format(self, options: TrainOptions) -> str:
        """The output format asked for, else the base's own. Raises UsageError where the base lacks its markup."""
        name = options.format or (self.instructions.format if self.instructions else DEFAULT_FORMAT)
        lock = output_format(name).lock("x", ["X"]).segmented(self.tokens.pieces)
        if lock.markup - self.tokens.vocabulary.added.keys():
            raise UsageError(f"{self.reference} has no markup tokens for the format {name}; choose another --format")
        return name

    def chunk_bytes(self, options: TrainOptions) -> int:
        """The longest piece of text asked for, else the base's own."""
        own = self.instructions.chunk_bytes if self.instructions else DEFAULT_CHUNK_BYTES
        return options.chunk_bytes or own


def find_base(folder: Path, reference: str, *, chat_template: bool = True) -> Base:
    """The base in this folder; with `chat_template` False its chat template stands around no prompt.

    Raises ModelError where the folder's config, tokenizer, chat template or genner.json cannot be used, and UsageError
    where the template is to be left out of a prompt that genner trained.
    """
    tokenizer = load_tokenizer(folder, reference)
    try:
        config = AutoConfig.from_pretrained(folder, **DATA_ONLY).get_text_config()
    except Exception as error:  # transformers and huggingface_hub raise their own kinds
        raise ModelError(f"{reference}: config.json is broken ({error}); give a folder of save_pretrained") from error
    words = folder / MODEL_METADATA_FILE
    try:
        instructions = Instructions.from_metadata(json.loads(words.read_text("utf-8"))) if words.exists() else None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{words} is not JSON ({error}); remove it, or save it again") from error
    if instructions and not chat_template:
        raise UsageError(f"--no-chat-template: {reference} was trained by genner and has a prompt of its own; drop it")
    tokens = Tokens(tokenizer)
    template = _template(tokenizer) if chat_template else None
    prompt = instructions.prompt if instructions else _general_prompt(tokens, template, reference)
    return Base(folder, reference, tokens, instructions, prompt, _context(config))


def _template(tokenizer: PreTrainedTokenizerFast) -> str | None:
    found = tokenizer.chat_template
    return found.get("default") if isinstance(found, dict) else found


def _general_prompt(tokens: Tokens, template: str | None, reference: str) -> Prompt:
    special = {name: text for name, text in tokens.tokenizer.special_tokens_map.items() if isinstance(text, str)}
    begins = "".join(tokens.tokenizer.convert_ids_to_tokens(tokens.begins))
    return literal_prompt(template, reference, special=special, begins=begins)


def _context(config: PreTrainedConfig) -> int:
    """Positions that the model has; with longrope only those in which it rotates as it does for short texts."""
    rope = getattr(config, "rope_parameters", None) or {}
    trained = rope.get("original_max_position_embeddings") if rope.get("rope_type") == "longrope" else None
    return int(min(config.max_position_embeddings, trained or config.max_position_embeddings))


def open_model(base: Base, options: TrainOptions, device: torch.device) -> PreTrainedModel:
    """The base model on the device, its weights frozen. Raises ModelError where transformers cannot open it."""
    choices: dict[str, Any] = {"dtype": number_type(options, device), "use_safetensors": True, **DATA_ONLY}
    if options.attention is not Attention.AUTO:
        choices["attn_implementation"] = options.attention.value
    if options.qlora:
        choices |= {"quantization_config": _four_bits(), "device_map": {"": device}}
    with quiet():
        try:
            model = AutoModelForCausalLM.from_pretrained(base.folder, **choices)
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            raise ModelError(f"{base.reference}: transformers cannot open it ({error}); name another --base") from error
    model.requires_grad_(False)
    opened: PreTrainedModel = model if options.qlora else model.to(device)
    return opened


def number_type(options: TrainOptions, device: torch.device) -> torch.dtype:
    """The number type of the base's weights."""
    if options.dtype is not Number.AUTO:
        return torch.float32 if options.dtype is Number.FLOAT32 else torch.bfloat16
    bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if bfloat16 else torch.float32


def _four_bits() -> BitsAndBytesConfig:
    """As in QLoRA (arXiv 2305.14314): normal floats of 4 bits, their scales quantized too."""
    try:
        import bitsandbytes  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError("--qlora needs bitsandbytes; run: pip install 'genner[qlora]'") from error
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def adapted(model: PreTrainedModel, base: Base, options: TrainOptions) -> PeftModel | PreTrainedModel:
    """The model with what is trained on it: LoRA matrices, or virtual tokens."""
    if not options.virtual:
        return with_lora(model, options)
    if options.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    add_virtual_tokens(model, base.tokens, options.virtual)
    return model


def with_lora(model: PreTrainedModel, options: TrainOptions) -> PeftModel:
    """The model with LoRA matrices, in F32, on all its linear layers but the output matrix."""
    torch.manual_seed(options.seed)
    if options.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by old names
        if options.qlora:
            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        adapted = get_peft_model(model, config)
    if not isinstance(adapted, PeftModel):
        raise TypeError(f"peft made a {type(adapted)}")
    return adapted
