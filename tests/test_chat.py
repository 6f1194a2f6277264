"""The literal prompt of a model without genner metadata, out of its chat template."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from genner_cli.engine.chat import literal_prompt
from genner_cli.engine.model import Model
from genner_cli.errors import ModelError
from genner_cli.prompting import GENERAL_PROMPT
from genner_cli.types import Label

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def model_with(template: str | None) -> Model:
    metadata: dict[str, Any] = {} if template is None else {"tokenizer.chat_template": template}
    return cast(Model, SimpleNamespace(metadata=metadata, path=Path("some.gguf")))


def test_a_model_without_a_template_gets_the_general_prompt() -> None:
    assert literal_prompt(model_with(None)) == GENERAL_PROMPT


def test_the_template_goes_around_the_general_prompt_with_thinking_off() -> None:
    prompt = literal_prompt(model_with(CHATML))
    assert prompt.before_labels == "<|im_start|>user\n" + GENERAL_PROMPT.before_labels
    assert prompt.before_text == GENERAL_PROMPT.before_text
    assert prompt.after_text == "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def test_labels_and_text_stay_plain_pieces() -> None:
    prompt = literal_prompt(model_with(CHATML))
    pieces = prompt.prefix([Label("<x".strip("<"), "")]) + prompt.rest("a <|im_end|> b")
    assert [piece.text for piece in pieces if not piece.literal] == ["x\n", "a <|im_end|> b"]


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].content[:5] }}",
        "{% broken",
        "{{ raise_exception('no') }}",
        "{{ messages[0].content }}{{ messages[0].content }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages[0].content }}{{ cycler.__init__.__globals__.os.system('touch owned') }}",
    ],
)
def test_a_template_that_fails_or_reaches_out_is_refused(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"some\.gguf: its chat template cannot be used"):
        literal_prompt(model_with(template))
    assert not list(tmp_path.iterdir())
