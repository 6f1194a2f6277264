"""The literal prompt of a model that carries no genner metadata: its chat template around the general one.

The template is executed once, in jinja's sandbox, with placeholders for labels and text; what it writes
around them becomes the literal parts. Thinking is switched off where the template knows the switch.
"""

from __future__ import annotations

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from genner_cli.errors import ModelError
from genner_cli.prompting import GENERAL_PROMPT, Prompt

CHAT_TEMPLATE = "tokenizer.chat_template"
"""The metadata key of a GGUF's chat template."""
_LABELS, _TEXT = "\x02labels\x02", "\x02text\x02"


def literal_prompt(template: str | None, source: object) -> Prompt:
    """The general prompt in a chat template, if there is one; `source` names its model for messages.

    Raises ModelError where the template fails or drops a part of the prompt.
    """
    if not template:
        return GENERAL_PROMPT
    general = GENERAL_PROMPT
    question = f"{general.before_labels}{_LABELS}{general.before_text}{_TEXT}"
    try:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        rendered = environment.from_string(template).render(
            messages=[{"role": "user", "content": question}],
            add_generation_prompt=True,
            enable_thinking=False,
            bos_token="",
            eos_token="",
            raise_exception=_refuse,
        )
        before_labels, rest = rendered.split(_LABELS)
        before_text, after_text = rest.split(_TEXT)
    except (TemplateError, ValueError, TypeError, OverflowError) as error:
        raise ModelError(
            f"{source}: its chat template cannot be used ({error}); export the model with genner"
        ) from error
    return Prompt(before_labels, before_text, after_text)


def _refuse(message: str) -> None:
    raise TemplateError(message)
