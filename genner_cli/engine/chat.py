"""The literal prompt of a model that carries no genner metadata: its chat template around the general one.

The template is executed once, in a confined process of its own (`templating`), with placeholders for labels and text;
what it writes around them becomes the literal parts. Thinking is switched off where the template knows the switch.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime

from genner_cli.errors import ModelError
from genner_cli.prompting import GENERAL_PROMPT, Prompt

CHAT_TEMPLATE = "tokenizer.chat_template"
"""The metadata key of a GGUF's chat template."""
CHILD = "from genner_cli.engine.templating import main; main()"
PATIENCE_SECONDS = 60
_LABELS, _TEXT = "\x02labels\x02", "\x02text\x02"


def literal_prompt(
    template: str | None, source: object, *, special: Mapping[str, str] | None = None, begins: str = ""
) -> Prompt:
    """The general prompt in a chat template, if there is one; `source` names its model for messages.

    `special`: texts of the model's special tokens by transformers' names (bos_token, eos_token ...). `begins`: what
    genner itself puts before every prompt, so that a template which writes it too does not double it. Raises ModelError
    where the template fails, has no end, or drops or repeats a part of the prompt.
    """
    if not template:
        return GENERAL_PROMPT
    general = GENERAL_PROMPT
    try:
        question = f"{general.before_labels}{_LABELS}{general.before_text}{_TEXT}"
        rendered = _rendered(template, question, special or {}).removeprefix(begins)
        before_labels, rest = _parts(rendered, _LABELS)
        before_text, after_text = _parts(rest, _TEXT)
    except ValueError as error:
        raise ModelError(
            f"{source}: its chat template cannot be used ({error}); export the model with genner"
        ) from error
    return Prompt(before_labels, before_text, after_text)


def _parts(rendered: str, placeholder: str) -> list[str]:
    """What stands before and behind the placeholder. Raises ValueError unless it stands there once."""
    parts = rendered.split(placeholder)
    if len(parts) != 2:
        raise ValueError("it leaves the user's message out" if len(parts) < 2 else "it repeats the user's message")
    return parts


def _rendered(template: str, question: str, special: Mapping[str, str]) -> str:
    """What the template writes. Raises ValueError that says why there is nothing."""
    command = (sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{CHILD}")
    date = datetime.now().date().isoformat()
    given = json.dumps({"template": template, "question": question, "special": dict(special), "date": date}).encode()
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
