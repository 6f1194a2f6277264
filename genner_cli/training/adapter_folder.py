"""A training that is done -> the folder that `genner export` takes: adapter, tokenizer, metadata, card, curve.

`genner.json` is written last: a folder without it is that of a training that has not ended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peft import PeftModel, PromptTuningConfig, TaskType
from safetensors.torch import save_file
from transformers import PreTrainedModel

from genner_cli.files.gold import write_gold
from genner_cli.files.hashing import hash_file, hash_files, weight_files
from genner_cli.files.whole import sync, write_whole
from genner_cli.plurals import counted
from genner_cli.prompting import Instructions
from genner_cli.provenance import GGUF_SOURCE, MODEL_METADATA_FILE, Provenance
from genner_cli.training.base import Base
from genner_cli.training.dataset import Dataset
from genner_cli.training.gold import VERIFY
from genner_cli.training.options import Method, TrainOptions
from genner_cli.training.virtual_tokens import virtual_tokens
from genner_cli.types import Label

LOG, CURVE, CARD = "training_log.jsonl", "loss.svg", "README.md"
WEIGHTS, PROMPT_EMBEDDINGS = "adapter_model.safetensors", "prompt_embeddings"
"""peft's names of an adapter's file, and of the tensor of virtual tokens in it."""
VERIFIED = 20
"""Documents that are kept for the export's checks."""
_PACKAGES = ("genner", "torch", "transformers", "peft")


def provenance_of(
    base: Base, data_files: Sequence[str], options: TrainOptions, teachers: Mapping[str, str]
) -> Provenance:
    """Where the adapter comes from; `teachers`: the hashes of their files."""
    source = base.folder / GGUF_SOURCE
    gguf = json.loads(source.read_text(encoding="utf-8")) if source.exists() else {}
    return Provenance(
        base=base.reference,
        base_hash=hash_files(weight_files(base.folder)),
        data_hash=hash_files(map(Path, data_files)),
        data_files=tuple(map(hash_file, map(Path, data_files))),
        options=asdict(options),
        versions={name: version(name) for name in _PACKAGES},
        base_file=gguf.get("sha256", ""),
        base_type=gguf.get("type", ""),
        teachers=dict(teachers),
    )


def write_adapter(
    folder: Path,
    model: PeftModel | PreTrainedModel,
    base: Base,
    data: Dataset,
    provenance: Provenance,
    best: Mapping[str, float] | None,
) -> None:
    """Writes all but the log, which is there already, and the curve, which whoever draws adds."""
    if isinstance(model, PeftModel):
        model.peft_config["default"].base_model_name_or_path = base.reference
        model.save_pretrained(folder, save_embedding_layers=False)  # to find out for itself peft would ask the Hub
    else:
        _write_virtual_tokens(folder, model, base.reference)
    base.tokens.tokenizer.save_pretrained(folder)
    write_gold(folder / VERIFY, (data.valid if data.valid.documents else data.train).some(VERIFIED).documents)
    write_whole(folder / CARD, _card(data, provenance, best))
    sync(folder)
    metadata = {**data.instructions.to_metadata(), **provenance.to_metadata()}
    write_whole(folder / MODEL_METADATA_FILE, json.dumps(metadata, ensure_ascii=False, indent=2) + "\n")


def _write_virtual_tokens(folder: Path, model: PreTrainedModel, reference: str) -> None:
    """As peft saves a prompt that it tuned."""
    rows = virtual_tokens(model)
    if rows is None:
        raise TypeError("the model has no virtual tokens")
    save_file({PROMPT_EMBEDDINGS: rows.detach().cpu().contiguous()}, folder / WEIGHTS)
    PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        base_model_name_or_path=reference,
        num_virtual_tokens=rows.shape[0],
        token_dim=rows.shape[1],
        inference_mode=True,
    ).save_pretrained(folder)


def _card(data: Dataset, provenance: Provenance, best: Mapping[str, float] | None) -> str:
    """The model card, in Markdown."""
    instructions = data.instructions
    measured = (
        _measured(data, best, provenance.options["valid_limit"])
        if best
        else "It was not validated: no `--valid` was given."
    )
    documents = data.train.documents
    entities = sum(len(document.entities) for document in documents)
    nesting = f"nested up to {instructions.depth} deep" if instructions.depth > 1 else "flat"
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    return f"""---
base_model: {json.dumps(provenance.base)}
library_name: peft
tags: [named-entity-recognition, genner, {provenance.options["method"]}]
---

# Named entity recognition: {", ".join(instructions.default_labels)}

{_kind(provenance)} for `{provenance.base}`, trained with genner. The licences of the base model and of the data
apply.

```
{_usage(provenance)}
```

| | |
|---|---|
| base | {provenance.base}, SHA-256 of its weights {provenance.base_hash} |
| output format | {instructions.format}, {nesting} |
| text length | up to {instructions.chunk_bytes:,} UTF-8 bytes at a time (genner splits longer documents) |
| data | {counted(len(documents), "document")}, {counted(entities, "entity")}, SHA-256 {provenance.data_hash} |
{_teachers(provenance)}| made by | {versions} |

## Labels

{_labels(instructions)}

## How good it is

{measured}

## How it was trained

{_options(provenance.options)}

`{LOG}` has one line per step, `{CURVE}` plots the loss.
"""


def _is_virtual(provenance: Provenance) -> bool:
    return bool(provenance.options["method"] == Method.VIRTUAL_TOKENS)


def _kind(provenance: Provenance) -> str:
    return f"{provenance.options['tokens']} virtual tokens" if _is_virtual(provenance) else "A LoRA adapter"


def _usage(provenance: Provenance) -> str:
    if _is_virtual(provenance):
        return (
            "genner export {this folder} --adapter-only -o tokens.gguf\n"
            "genner extract docs.jsonl --model base.gguf --adapter tokens.gguf"
        )
    return "genner export {this folder} -o model.gguf\ngenner extract docs.jsonl --model model.gguf"


def _teachers(provenance: Provenance) -> str:
    """A line of the table for each teacher."""
    return "".join(f"| teacher | {name}, SHA-256 {digest} |\n" for name, digest in provenance.teachers.items())


def _measured(data: Dataset, best: Mapping[str, float], limit: int) -> str:
    count = len(data.valid.some(limit).documents)
    trained = {document.text for document in data.train.documents}
    seen = sum(document.text in trained for document in data.valid.documents)
    warning = f" Also in the training data: {counted(seen, 'validation document')}." if seen else ""
    scores = ", ".join(f"{name} {best[f'valid_{name.lower()}']:.3f}" for name in ("precision", "recall", "F1"))
    return (
        f"Strict micro scores before quantization, on {counted(count, 'validation document')}: {scores} at step"
        f" {best['step']:.0f}. The step was chosen on these documents, so the scores are slightly optimistic.{warning}"
    )


def _labels(instructions: Instructions) -> str:
    def line(label: Label) -> str:
        mark = "" if label.name in instructions.default_labels else " (only when asked for)"
        return f"- `{label.name}`{': ' if label.definition else ''}{label.definition}{mark}"

    return "\n".join(map(line, instructions.labels))


def _options(options: Mapping[str, Any]) -> str:
    """Those with a value; format and text length stand above whoever chose them."""
    return "\n".join(f"- {name}: {value}" for name, value in options.items() if value is not None)
