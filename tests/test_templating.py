"""Chat templates are rendered as transformers renders them, but for the date, which is given."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from jinja2 import TemplateError

from genner_cli.engine.chat import literal_prompt
from genner_cli.engine.templating import render
from genner_cli.errors import ModelError
from genner_cli.prompting import GENERAL_PROMPT

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
DATE = "2026-02-03"
QUESTION = 'Who is "Zoë" <in> d\'Oslo & 🧑🏽‍🚀?'

TEMPLATES = {
    "generation": (
        "{% for m in messages %}{% generation %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endgeneration %}\n"
        "{% endfor %}"
    ),
    "generation keeps what is set in it": (
        "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}{{ messages[0].content }}"
    ),
    "break and continue": (
        "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}"
        "{% endfor %}{{ messages[0]['content'] }}"
    ),
    "tojson": (
        "{{ messages | tojson }}{{ messages[0] | tojson(indent=2) }}{{ 'ë' | tojson(ensure_ascii=True) }}"
        "{{ {'b': 1, 'a': 2} | tojson(sort_keys=True, separators=(',', ':')) }}{{ messages[0].content }}"
    ),
    "special tokens": "{{ bos_token }}[INST] {{ messages[0]['content'] }} [/INST]{{ unk_token }}",
    "blocks are trimmed": (
        "  {% if add_generation_prompt %}\n    {{ messages[0].content }}\n  {% endif %}\n\nassistant\n"
    ),
    "tools and documents": (
        "{% if tools is not none %}T{% endif %}{% if documents %}D{% endif %}{{ messages[0].content }}"
    ),
    "dict and its methods": "{{ dict(a=1) }}{{ dict.fromkeys('ab', 0) }}{{ messages[0].content }}",
    "undefined names are empty": "{{ custom }}{% if date_string is not defined %}-{% endif %}{{ messages[0].content }}",
    "namespaces and macros": (
        "{% set ns = namespace(n=0) %}{% macro turn(m) %}<{{ m.role }}>{{ m.content }}{% endmacro %}"
        "{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ turn(m) }}{{ ns.n }}{% endfor %}"
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_a_template_writes_is_what_transformers_writes(name: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    conversation = [[{"role": "user", "content": QUESTION}]]
    options: dict[str, Any] = {"add_generation_prompt": True, "enable_thinking": False, **SPECIAL}
    expected, _ = render_jinja_template(conversation, chat_template=TEMPLATES[name], **options)
    assert render(TEMPLATES[name], [QUESTION], SPECIAL, DATE) == expected[0]


CHATS = {
    "chatml": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "alternates, and names the assistant otherwise": (
        "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}<{{ 'model' if m.role == 'assistant' else m.role }}>"
        "{{ m.content }}{% generation %}{{ eos_token if m.role == 'assistant' }}{% endgeneration %}{% endfor %}<model>"
    ),
    "marks the last turn": (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if loop.last %} /no_think{% endif %}\n{% endfor %}"
    ),
}


@pytest.mark.parametrize("name", CHATS)
def test_turns_are_written_as_transformers_writes_them(name: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    said = [QUESTION, '{"PER": ["Zoë"]}', "And in Rome?", "Nobody.", "x"]
    roles = ["user", "assistant"] * 3
    turns = [{"role": role, "content": content} for role, content in zip(roles, said, strict=False)]
    options: dict[str, Any] = {"add_generation_prompt": True, "enable_thinking": False, **SPECIAL}
    expected, _ = render_jinja_template([turns], chat_template=CHATS[name], **options)
    assert render(CHATS[name], said, SPECIAL, DATE) == expected[0]


def test_the_date_is_the_one_given() -> None:
    template = "{{ strftime_now('%d %B %Y, %H:%M') }} {{ messages[0].content }}"
    assert render(template, ["x"], {}, DATE) == f"{datetime(2026, 2, 3):%d %B %Y}, 00:00 x"


def test_a_template_that_wants_parts_gets_parts() -> None:
    template = (
        "{% for part in messages[0]['content'] %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}!"
    )
    assert render(template, ["Ada"], {}, DATE) == "Ada!"


def test_what_the_template_says_against_the_message_is_the_error() -> None:
    with pytest.raises(TemplateError, match="system first"):
        render("{{ raise_exception('system first') }}", ["x"], {}, DATE)
    with pytest.raises(ModelError, match=r"some\.gguf.*system first"):
        literal_prompt("{{ raise_exception('system first') }}", "some.gguf")


def test_a_beginning_that_genner_writes_itself_is_not_doubled() -> None:
    template = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"
    prompt = literal_prompt(template, "some.gguf", special=SPECIAL, begins="<s>")
    assert (prompt.before_labels, prompt.after_text) == (GENERAL_PROMPT.before_labels, "</s>")
    assert literal_prompt(template, "some.gguf", special=SPECIAL).before_labels.startswith("<s>")


@pytest.mark.parametrize("template", ["hello", "{{ messages[0].content }}{{ messages[0].content }}"])
def test_a_prompt_left_out_or_repeated_is_a_model_error(template: str) -> None:
    with pytest.raises(ModelError, match=r"some\.gguf"):
        literal_prompt(template, "some.gguf")
