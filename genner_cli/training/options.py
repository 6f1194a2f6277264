"""Every value of a training run, its presets, and how values from a file or the command line become options.

The fields are the one place where an option's name, type, default and help are given: the command line, the YAML file
and `genner.json` follow them. Knows nothing of torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, get_type_hints

from genner_cli.errors import UsageError
from genner_cli.formats import output_format


class Loss(StrEnum):
    """What is trained: the whole completion, or the choices that the source lock leaves open."""

    COMPLETION = "completion"
    LOCKED = "locked"


class Number(StrEnum):
    """Number types that the base model's weights are kept in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How often and how a sample is asked for otherwise than with its own labels in their order.

    `subset`: the probability with which a random part of the labels is asked for; `shuffle`: whether labels come in
    random order; `negatives`: labels that are added, at most, of which the data has no entities; they come from
    `augment.COMMON_TYPES`; `other`: the probability with which a label is taken out, and all entities whose labels are
    not asked for are "other". Of a tree of labels, `ancestor`: the probability with which labels take the place of all
    those below them; `alias`: the probability, for each label, with which it is called by one of its aliases
    (DynamicNER, arXiv 2409.11022).
    """

    subset: float = 0.0
    shuffle: bool = False
    negatives: int = 0
    other: float = 0.0
    ancestor: float = 0.0
    alias: float = 0.0

    def __post_init__(self) -> None:
        rates = {name: getattr(self, name) for name in ("subset", "other", "ancestor", "alias")}
        if any(not 0 <= rate <= 1 for rate in rates.values()) or self.negatives < 0:
            given = ", ".join(f"{option_name(name)} {value}" for name, value in rates.items())
            raise UsageError(
                f"{given}, --negatives {self.negatives} are not an augmentation;"
                " choose probabilities from 0 to 1, and 0 or more negative labels"
            )

    @property
    def none(self) -> bool:
        """Whether samples stay as they are."""
        return self == Augmentation()


class Method(StrEnum):
    """What is trained: LoRA matrices on the base, or embeddings at the end of the prompt's shared prefix."""

    LORA = "lora"
    VIRTUAL_TOKENS = "virtual-tokens"


class Attention(StrEnum):
    """transformers' implementations of attention; the last one takes no mask of which tokens see each other."""

    AUTO = "auto"
    EAGER = "eager"
    SDPA = "sdpa"
    FLASH = "flash_attention_2"


def _option(default: Any, help: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """One run; the help of each field describes it. Raises UsageError for values out of range."""

    format: str | None = _option(None, "Output format to train.", shown="the base's own, else bracketed")
    chat_template: bool = _option(
        True, "Put the base's chat template, if it has one, around the prompt; a date that it writes is 2026-01-01."
    )
    depth: int = _option(1, "Maximum nesting depth of entities; 1 is flat, --nested is 4.")
    chunk_bytes: int | None = _option(
        None, "Maximum length of a text chunk in UTF-8 bytes.", shown="the base's own, else 2000"
    )
    cutoff: int = _option(2048, "Maximum tokens of an example, prompt and completion together.")
    loss: Loss = _option(
        Loss.COMPLETION, "Train on the whole completion, or only on the choices that the source lock leaves open."
    )
    text_weight: float = _option(0.0, "Weight of the ordinary next-token loss over the document's own text.")
    opening_weight: float = _option(
        1.0, "Weight of decisions to open an entity (locked loss); higher values favour recall."
    )
    fusion: float | None = _option(
        None, "Weight of the teachers' probabilities against the labelled entities, 0 to 1.", shown="0.1 with --teacher"
    )
    beta: float = _option(0.1, "How strongly the model is kept near what it was, where preferences are learnt (DPO).")
    method: Method = _option(Method.LORA, "What to train: LoRA matrices, or virtual tokens before a frozen base.")
    tokens: int = _option(50, "Number of virtual tokens; the first K of them can be used alone.")
    rank: int = _option(16, "Rank of the LoRA matrices.")
    alpha: int = _option(32, "LoRA alpha: updates are scaled by alpha / rank.")
    dropout: float = _option(0.0, "Dropout before the LoRA matrices.")
    learning_rate: float = _option(2e-4, "Peak learning rate; it decays along a cosine to 0.")
    warm_up: float = _option(0.1, "Fraction of all steps over which the learning rate warms up.")
    weight_decay: float = _option(0.0, "Weight decay of AdamW.")
    clip_norm: float = _option(1.0, "Clip the gradient norm.")
    epochs: int = _option(3, "Passes over all examples.")
    batch_size: int = _option(16, "Examples per step, over all processes.")
    seed: int = _option(0, "Random seed of weights, order, dropout and augmentation.")
    subset: float = _option(0.0, "Probability of asking for a random subset of the labels.")
    shuffle: bool = _option(False, "Ask for labels in random order.")
    negatives: int = _option(0, "Maximum number of added labels of which the data has no entities.")
    other: float = _option(0.0, "Probability of taking a label out and asking for `other` in its place.")
    ancestor: float = _option(
        0.0, "Probability of asking for labels above, of a tree of labels, in place of those below."
    )
    alias: float = _option(0.0, "Probability of calling a label of a tree by one of its aliases.")
    evaluate_every: int | None = _option(None, "Steps between validations.", shown="one epoch")
    patience: int | None = _option(None, "Stop after this many validations without a better F1.", shown="never")
    valid_limit: int = _option(500, "Maximum number of validation documents to measure F1 on.")
    checkpoint_every: int = _option(100, "Steps between checkpoints.")
    dtype: Number = _option(Number.AUTO, "Number type of the base's weights; auto is bfloat16 on a GPU, else float32.")
    device: str = _option("auto", "cpu, cuda or mps.")
    attention: Attention = _option(Attention.AUTO, "Implementation of attention.")
    packing: bool = _option(True, "Pack examples into one row without padding; compute a shared prompt once.")
    pack_tokens: int | None = _option(
        None, "Maximum tokens per pack, without a shared prompt.", shown="512, 8192 on a GPU"
    )
    gradient_checkpointing: bool = _option(False, "Recompute activations to save memory.")
    qlora: bool = _option(False, "Keep the base's weights in 4 bits (CUDA; needs genner[qlora]).")

    def __post_init__(self) -> None:
        if self.format is not None:
            output_format(self.format)
        positive = ("depth", "cutoff", "rank", "alpha", "learning_rate", "clip_norm", "epochs", "batch_size",
                    "tokens", "beta", "valid_limit", "checkpoint_every")  # fmt: skip
        _refuse(self, positive, lambda value: value > 0, "greater than 0")
        optional = ("chunk_bytes", "evaluate_every", "patience", "pack_tokens")
        _refuse(self, optional, lambda value: value is None or value > 0, "greater than 0")
        _refuse(self, ("text_weight", "weight_decay"), lambda value: value >= 0, "0 or more")
        _refuse(self, ("fusion",), lambda value: value is None or 0 <= value <= 1, "from 0 to 1")
        _refuse(self, ("opening_weight",), lambda value: value > 0, "greater than 0")
        _refuse(self, ("dropout", "warm_up"), lambda value: 0 <= value < 1, "0 or more and less than 1")
        _refuse(self, ("seed",), lambda value: 0 <= value < 2**63, "from 0 to 2**63 - 1")
        self.augmentation  # noqa: B018  raises for what is not an augmentation

    @property
    def virtual(self) -> int:
        """How many virtual tokens are trained."""
        return self.tokens if self.method is Method.VIRTUAL_TOKENS else 0

    @property
    def packed(self) -> bool:
        """Whether examples share rows: not where attention takes no mask of which tokens see each other."""
        return self.packing and self.attention is not Attention.FLASH

    @property
    def augmentation(self) -> Augmentation:
        """With which other labels examples are asked for."""
        return Augmentation(self.subset, self.shuffle, self.negatives, self.other, self.ancestor, self.alias)


def _refuse(options: TrainOptions, names: Iterable[str], right: Any, rule: str) -> None:
    for name in names:
        value = getattr(options, name)
        if not right(value) or (value is not None and not math.isfinite(value)):
            raise UsageError(f"{option_name(name)} is {value}; give a number {rule}")


DEFAULT_FUSION = 0.1
"""The weight that FuseLLM gives its teachers (arXiv 2401.10491, section 4.1)."""


def with_teachers(options: TrainOptions, teachers: Sequence[str]) -> TrainOptions:
    """The options of a run with these teachers. Raises UsageError where they and the teachers contradict each other."""
    if not teachers:
        if options.fusion:
            raise UsageError("--fusion weighs teachers; name one with --teacher")
        return options
    if options.loss is not Loss.LOCKED:
        raise UsageError("--teacher needs --loss locked: models with other tokens agree on the lock's decisions alone")
    return replace(options, fusion=DEFAULT_FUSION if options.fusion is None else options.fusion)


MACHINE = frozenset({"checkpoint_every", "device", "attention", "packing", "pack_tokens", "gradient_checkpointing"})
"""Options that change how a run is computed, not what is learnt, apart from the order of sums."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fast": {},
    "paper": {
        "rank": 256, "alpha": 512, "learning_rate": 2e-5, "epochs": 2, "batch_size": 8, "dtype": Number.BFLOAT16,
    },
    "tiny": {
        "loss": Loss.LOCKED, "text_weight": 0.1, "rank": 64, "alpha": 128, "learning_rate": 2e-3, "epochs": 6,
        "dtype": Number.FLOAT32,
    },
}  # fmt: skip
"""What differs from the defaults. `paper`: arXiv 2601.17898, its repository's LoRA configuration; `tiny`: for CPUs."""

AUGMENTED: Mapping[str, Any] = {
    "subset": 0.5, "shuffle": True, "negatives": 3, "other": 0.2, "ancestor": 0.4, "alias": 0.4,
}  # fmt: skip
"""What --augment stands for. The last two are DynamicNER's rates of merged labels and of synonyms."""


def option_name(name: str) -> str:
    """The option of a field on the command line."""
    return f"--{name.replace('_', '-')}"


def made_of(preset: str, *layers: Mapping[str, Any]) -> TrainOptions:
    """The preset's options, changed by each layer in turn; a layer's None changes nothing.

    Raises UsageError for an unknown preset or name, and for a value of another type.
    """
    if preset not in PRESETS:
        raise UsageError(f"there is no preset {preset!r}; choose one of {', '.join(PRESETS)}")
    types = get_type_hints(TrainOptions)
    values = dict(PRESETS[preset])
    for layer in layers:
        for name, value in layer.items():
            if name not in types:
                raise UsageError(f"there is no option {name!r}; known are {', '.join(types)}")
            if value is not None:
                values[name] = _typed(name, value, types[name])
    return TrainOptions(**values)


def _typed(name: str, value: Any, kind: Any) -> Any:
    """The value in the field's type, as YAML or the command line may have it."""
    wanted = next(part for part in getattr(kind, "__args__", (kind,)) if part is not type(None))
    if issubclass(wanted, StrEnum):
        if value not in list(wanted):
            raise UsageError(f"{option_name(name)} is {value!r}; choose one of {', '.join(wanted)}")
        return wanted(value)
    if wanted is float and type(value) in (int, str):  # YAML reads 2e-5 as text
        try:
            return float(value)
        except ValueError:
            value = str(value)
    if type(value) is not wanted:
        raise UsageError(f"{option_name(name)} is {value!r}; give a value of type {wanted.__name__}")
    return value


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The fields, but for MACHINE's, in which the values of two runs differ, each with both values; one that an older
    version did not know has its default."""
    names = {item.name: item.default for item in fields(TrainOptions) if item.name not in MACHINE}
    return [
        f"{option_name(name)} was {before.get(name, default)} and is {after.get(name, default)}"
        for name, default in names.items()
        if before.get(name, default) != after.get(name, default)
    ]
