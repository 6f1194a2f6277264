"""Where a trained model comes from: its base, its data, the options and the versions it was trained with.

Stands beside `prompting.Instructions` in an adapter's `genner.json` and in the GGUF. Knows nothing of files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genner_cli.errors import ModelError

MODEL_METADATA_FILE = "genner.json"
"""The file in which a model's folder says of itself what its GGUF will."""

GGUF_SOURCE = "gguf_source.json"
"""The file in which a folder that was made of a GGUF names that file (`file`), its SHA-256 (`sha256`) and its
quantization type (`type`)."""
BASE_FILE, BASE_TYPE = "genner.base.file.hash", "genner.base.file.type"
TEACHERS = "genner.training.teachers"


@dataclass(frozen=True, slots=True)
class Provenance:
    """`base`: the reference it was opened by; `base_hash`, `data_hash`: SHA-256 of the base's weight files and of the
    training files; `data_files`: of each training file; `base_file`, `base_type`: SHA-256 and quantization type of the
    GGUF that those weights were read from, empty where there is none; `options`: values of the training options;
    `versions`: packages and their versions; `teachers`: SHA-256 of their files, by reference."""

    base: str
    base_hash: str
    data_hash: str
    options: dict[str, Any]
    versions: dict[str, str]
    base_file: str = ""
    base_type: str = ""
    teachers: dict[str, str] = field(default_factory=dict)
    data_files: tuple[str, ...] = ()

    def to_metadata(self) -> dict[str, str]:
        """GGUF key-value pairs, all of them strings."""
        return {
            "genner.base.reference": self.base,
            "genner.base.hash": self.base_hash,
            "genner.data.hash": self.data_hash,
            "genner.data.files": json.dumps(self.data_files),
            "genner.training.options": json.dumps(self.options, ensure_ascii=False),
            "genner.training.versions": json.dumps(self.versions),
            **({BASE_FILE: self.base_file} if self.base_file else {}),
            **({BASE_TYPE: self.base_type} if self.base_type else {}),
            **({TEACHERS: json.dumps(self.teachers, ensure_ascii=False)} if self.teachers else {}),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Provenance | None:
        """Reads them back; None for a model that does not say. Raises ModelError where a value is missing or broken."""
        if "genner.base.hash" not in metadata:
            return None
        try:
            return cls(
                base=metadata["genner.base.reference"],
                base_hash=metadata["genner.base.hash"],
                data_hash=metadata["genner.data.hash"],
                options=dict(json.loads(metadata["genner.training.options"])),
                versions=dict(json.loads(metadata["genner.training.versions"])),
                base_file=metadata.get(BASE_FILE, ""),
                base_type=metadata.get(BASE_TYPE, ""),
                teachers=dict(json.loads(metadata.get(TEACHERS, "{}"))),
                data_files=tuple(json.loads(metadata.get("genner.data.files", "[]"))),
            )
        except (KeyError, ValueError, TypeError, RecursionError) as error:
            raise ModelError(f"what the model says of its training is broken ({error!r}); train it again") from error
