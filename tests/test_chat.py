"""A model that genner did not train is asked in its own chat template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from random_model import write_random_model

from genner_cli.engine.chat import CHAT_TEMPLATE, literal_prompt
from genner_cli.engine.model import Model
from genner_cli.errors import ModelError, UsageError
from genner_cli.generation import EngineOptions
from genner_cli.prompting import GENERAL_PROMPT, Prompt
from genner_cli.running.backend import extractions
from genner_cli.running.llama import LlamaBackend
from genner_cli.running.spec import RunSpec
from genner_cli.types import Document, Label, Piece

CHAT = (
    "{% for message in messages %}<|text|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|text|>assistant\n{% if enable_thinking %}<think>{% else %}<think></think>"
    "{% endif %}{% endif %}"
)


def prompt_of(template: str | None) -> Prompt:
    return literal_prompt(template, "some.gguf")


@pytest.mark.parametrize("template", [None, ""])
def test_without_a_template_the_general_prompt_stands_alone(template: str | None) -> None:
    assert prompt_of(template) == GENERAL_PROMPT


def test_the_template_stands_around_the_general_prompt_with_thinking_off() -> None:
    prompt = prompt_of(CHAT)
    assert prompt.before_labels == "<|text|>user\n" + GENERAL_PROMPT.before_labels
    assert prompt.before_text == GENERAL_PROMPT.before_text
    assert prompt.after_text == "<|end|>\n<|text|>assistant\n<think></think>"
    assert prompt.rest("x <|end|>")[0] == Piece("x <|end|>"), "the text itself is read as plain characters"


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("{{ messages[0]['content'] ", id="broken"),
        pytest.param("{{ raise_exception('no user may speak') }}", id="refuses"),
        pytest.param("{{ messages[0]['role'] }}", id="drops the prompt"),
        pytest.param("{{ messages[0]['content'] }}{{ messages[0]['content'] }}", id="says it twice"),
        pytest.param("{{ ''.__class__.__mro__[1].__subclasses__() }}", id="leaves the sandbox"),
        pytest.param("{{ messages[0]['content'] + 1 }}", id="adds text and number"),
        pytest.param("{% for i in range(10**9) %}{{ i }}{% endfor %}", id="endless"),
        pytest.param("{{ nothing.of.that.kind }}", id="undefined"),
    ],
)
def test_a_template_that_cannot_be_used_is_a_model_error(template: str) -> None:
    with pytest.raises(ModelError, match=r"some\.gguf: .*chat template"):
        prompt_of(template)


@pytest.fixture
def foreign(tmp_path: Path) -> Callable[..., Path]:
    """A model without genner's metadata, with this template or none."""

    def write(template: str | None = None) -> Path:
        change = {"tokenizer.chat_template": template} if template else {}
        return write_random_model(tmp_path / "foreign.gguf", change=change, leave_out=["genner."])

    return write


@pytest.mark.parametrize("template", [None, CHAT])
def test_a_foreign_model_extracts_the_labels_it_is_asked_for(
    foreign: Callable[..., Path], template: str | None
) -> None:
    path = foreign(template)
    with Model(path, gpu_layers=0) as model:
        assert literal_prompt(model.metadata.get(CHAT_TEMPLATE), path) == prompt_of(template)
    engine = EngineOptions(threads=1, gpu_layers=0)
    with LlamaBackend().open(RunSpec(labels=(Label("PER"), Label("X")), model=str(path), engine=engine)) as opened:
        assert opened.facts.task.format == "xml"
        results = list(extractions(opened, [Document("Ann met Bob in Rome."), Document("x <|end|> y")]))
    assert [result.error for result in results] == [None, None]
    found = [entity for result in results for entity in result.entities]
    assert {entity.label for entity in found} <= {"PER", "X"}
    assert found


def test_a_foreign_model_without_labels_is_a_usage_error_with_a_remedy(foreign: Callable[..., Path]) -> None:
    spec = RunSpec(model=str(foreign()), engine=EngineOptions(threads=1, gpu_layers=0))
    with pytest.raises(UsageError, match="--types or --labels"):
        LlamaBackend().open(spec).__enter__()
