"""A model that genner did not train is asked in its own chat template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from asking import news
from random_model import write_random_model

from genner_cli.engine.chat import CHAT_TEMPLATE, literal_prompt, literal_prompts, writes_date
from genner_cli.engine.model import Model
from genner_cli.errors import ModelError, UsageError
from genner_cli.generation import EngineOptions
from genner_cli.prompting import GENERAL_PROMPT, UNTRAINED_FORMAT, Demonstration, Prompt, general_prompt
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


SHOWN = [Demonstration("Ann <|end|> sang.", "<PER>Ann</PER>"), Demonstration("It rained.", "It rained.")]


def whole(prompt: Prompt, count: int) -> str:
    """The prompt with the first demonstrations, as one text."""
    pieces = prompt.prefix([Label("PER")]) + prompt.shown(SHOWN[:count]) + prompt.rest("x")
    assert {piece.text for piece in pieces if not piece.literal} >= {
        "x",
        *(part for text, answer, _ in SHOWN[:count] for part in (text, answer)),
    }
    return "".join(piece.text for piece in pieces)


def test_demonstrations_are_turns_of_the_chat() -> None:
    none, one, two = literal_prompts(CHAT, "some.gguf", general=general_prompt("Do it."), most=2)
    ending = "<|end|>\n<|text|>assistant\n<think></think>"
    assert whole(none, 0) == f"<|text|>user\nDo it.\n\nLabel Set:\nPER\n\nText:\nx{ending}"
    assert whole(two, 2) == (
        "<|text|>user\nDo it.\n\nLabel Set:\nPER\n\nText:\nAnn <|end|> sang.<|end|>\n"
        "<|text|>assistant\n<PER>Ann</PER><|end|>\n<|text|>user\nText:\nIt rained.<|end|>\n"
        f"<|text|>assistant\nIt rained.<|end|>\n<|text|>user\nText:\nx{ending}"
    )
    assert (one.prefix([]), two.prefix([])) == (none.prefix([]), none.prefix([]))


@pytest.mark.parametrize(
    ("template", "begin", "end"),
    [
        pytest.param(None, "", "", id="no template"),
        pytest.param("<u>{{ messages[0].content }}<a>", "<u>", "<a>", id="takes one message only"),
        pytest.param(
            "{% if messages | length > 1 %}{{ raise_exception('one') }}{% endif %}<u>{{ messages[0].content }}<a>",
            "<u>", "<a>", id="refuses others",
        ),
    ],
)  # fmt: skip
def test_without_turns_they_are_blocks_of_text_and_answer(template: str | None, begin: str, end: str) -> None:
    prompts = literal_prompts(template, "some.gguf", general=general_prompt("Do it."), most=2)
    assert whole(prompts[2], 2) == (
        f"{begin}Do it.\n\nLabel Set:\nPER\n\nText:\nAnn <|end|> sang.\n\nAnswer:\n<PER>Ann</PER>\n"
        f"\nText:\nIt rained.\n\nAnswer:\nIt rained.\n\nText:\nx\n\nAnswer:\n{end}"
    )


def test_a_template_may_write_the_date() -> None:
    template = "{{ strftime_now('%d %b %Y') }} {{ messages[0].content }}"
    assert (writes_date(template), writes_date(CHAT), writes_date(None)) == (True, False, False)
    (prompt,) = literal_prompts(template, "some.gguf", date="2026-02-03")
    assert prompt.before_labels.startswith("03 Feb 2026 ")


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
        assert opened.facts.task.format == UNTRAINED_FORMAT
        texts = ["Ann met Bob in Rome.", "x <|end|> y", *news()[:6]]
        results = list(extractions(opened, map(Document, texts)))
    assert [result.error for result in results] == [None] * len(texts)
    found = [entity for result in results for entity in result.entities]
    assert {entity.label for entity in found} <= {"PER", "X"}
    assert found


def test_a_foreign_model_without_labels_is_a_usage_error_with_a_remedy(foreign: Callable[..., Path]) -> None:
    spec = RunSpec(model=str(foreign()), engine=EngineOptions(threads=1, gpu_layers=0))
    with pytest.raises(UsageError, match="--types or --labels"):
        LlamaBackend().open(spec).__enter__()
