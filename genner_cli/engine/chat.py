"""The literal prompt of a model that carries no genner metadata: its chat template around the general one.

The template is executed once, in a confined process of its own (`templating`), with placeholders for labels and text;
what it writes around them becomes the literal parts. Thinking is switched off where the template knows the switch.
"""

from __future__ import annotations

import json
import subprocess
import sys

from genner_cli.errors import ModelError
from genner_cli.prompting import GENERAL_PROMPT, Prompt

CHAT_TEMPLATE = "tokenizer.chat_template"
"""The metadata key of a GGUF's chat template."""
CHILD = "from genner_cli.engine.templating import main; main()"
PATIENCE_SECONDS = 60
_LABELS, _TEXT = "\x02labels\x02", "\x02text\x02"


def literal_prompt(template: str | None, source: object) -> Prompt:
    """The general prompt in a chat template, if there is one; `source` names its model for messages.

    Raises ModelError where the template fails, has no end, or drops a part of the prompt.
    """
    if not template:
        return GENERAL_PROMPT
    general = GENERAL_PROMPT
    try:
        rendered = _rendered(template, f"{general.before_labels}{_LABELS}{general.before_text}{_TEXT}")
        before_labels, rest = rendered.split(_LABELS)
        before_text, after_text = rest.split(_TEXT)
    except ValueError as error:
        raise ModelError(
            f"{source}: its chat template cannot be used ({error}); export the model with genner"
        ) from error
    return Prompt(before_labels, before_text, after_text)


def _rendered(template: str, question: str) -> str:
    """What the template writes. Raises ValueError that says why there is nothing."""
    command = (sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{CHILD}")
    given = json.dumps({"template": template, "question": question}).encode()
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"it was not done after {PATIENCE_SECONDS} seconds") from None
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise ValueError("it takes too much time or memory") from None
    if "text" not in found:
        raise ValueError(found["error"])
    return str(found["text"])
