"""The literal prompt of a model that carries no genner metadata: its chat template around the general one.

The template is executed in a confined process of its own (`templating`), with placeholders for labels, texts and
answers; what it writes around them becomes the literal parts. Thinking is switched off where the template knows the
switch.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise

from genner_cli.errors import ModelError
from genner_cli.prompting import GENERAL_PROMPT, Prompt, Turn

CHAT_TEMPLATE = "tokenizer.chat_template"
"""The metadata key of a GGUF's chat template."""
CHILD = "from genner_cli.engine.templating import main; main()"
PATIENCE_SECONDS = 60
DAY = "2026-01-01"
"""What chat templates that write a date get where nobody chooses one: the same every day, so that a training, a judging
or a synthesis can be resumed and repeated."""
_LABELS = "\x02labels\x02"
_Messages = Sequence[str]


def writes_date(template: str | None) -> bool:
    """Whether what a chat template writes may depend on the day."""
    return "strftime_now" in (template or "")


def literal_prompt(
    template: str | None, source: object, *, special: Mapping[str, str] | None = None, begins: str = ""
) -> Prompt:
    """The general prompt in a chat template, without demonstrations; see `literal_prompts`."""
    (prompt,) = literal_prompts(template, source, special=special, begins=begins)
    return prompt


def literal_prompts(
    template: str | None,
    source: object,
    *,
    general: Prompt = GENERAL_PROMPT,
    most: int = 0,
    special: Mapping[str, str] | None = None,
    begins: str = "",
    date: str = DAY,
) -> tuple[Prompt, ...]:
    """A prompt in a chat template, if there is one, with 0 to `most` demonstrations; `source` names its model for
    messages.

    Demonstrations are turns of the chat; without a template, or in one that takes no such turns, they are blocks of
    text and answer in one message. `special`: texts of the model's special tokens by transformers' names (bos_token,
    eos_token ...). `begins`: what genner itself puts before every prompt, so that a template which writes it too does
    not double it. `date`: the day that a template may ask for, ISO 8601. Raises ModelError where the template fails,
    has no end, or drops or repeats a part of the prompt.
    """
    if not template:
        return tuple(_split("".join(_block(general, count)), count) for count in range(most + 1))
    layouts = (
        [_turns(general, count) for count in range(most + 1)],
        [_block(general, count) for count in range(most + 1)],
    )
    problem: ValueError | None = None
    for conversations in layouts if most else layouts[:1]:
        try:
            texts = _rendered(template, conversations, special or {}, date)
            return tuple(_split(text.removeprefix(begins), count) for count, text in enumerate(texts))
        except ValueError as error:
            problem = error
    remedy = "leave it out with --no-chat-template"
    raise ModelError(f"{source}: its chat template cannot be used ({problem}); {remedy}") from problem


def _text(number: int) -> str:
    return f"\x02text {number}\x02"


def _answer(number: int) -> str:
    return f"\x02answer {number}\x02"


def _turns(general: Prompt, count: int) -> _Messages:
    """The messages of a chat with this number of demonstrations, the user's and the assistant's in turn."""
    messages = [f"{general.before_labels}{_LABELS}{general.before_text}{_text(0)}"]
    for number in range(count):
        messages += [_answer(number), f"{general.before_text.lstrip()}{_text(number + 1)}"]
    return messages


def _block(general: Prompt, count: int) -> _Messages:
    """The same in one message, up to where the last answer stands."""
    texts = [f"{general.before_text}{_text(number)}{general.after_text}" for number in range(count + 1)]
    answers = [f"{_answer(number)}\n" for number in range(count)]
    shown = "".join(text + answer for text, answer in zip(texts, answers, strict=False))
    return (f"{general.before_labels}{_LABELS}{shown}{texts[-1]}",)


def _split(rendered: str, count: int) -> Prompt:
    """The literal parts around the placeholders. Raises ValueError unless each stands there once, in order."""
    shown = [placeholder for number in range(count) for placeholder in (_text(number), _answer(number))]
    parts = [rendered]
    for placeholder in (_LABELS, *shown, _text(count)):
        halves = parts.pop().split(placeholder)
        if len(halves) != 2:
            raise ValueError("it leaves a message out" if len(halves) < 2 else "it repeats a message")
        parts += halves
    before_labels, before_text, *between, after_text = parts
    turns = tuple(Turn(*pair) for pair in list(pairwise(between))[::2])
    return Prompt(before_labels, before_text, after_text, turns)


def _rendered(template: str, conversations: Sequence[_Messages], special: Mapping[str, str], date: str) -> list[str]:
    """What the template writes for each. Raises ValueError that says why there is nothing."""
    command = (sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{CHILD}")
    given = {"template": template, "conversations": conversations, "special": dict(special), "date": date}
    try:
        done = subprocess.run(
            command, input=json.dumps(given).encode(), capture_output=True, timeout=PATIENCE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"it was not done after {PATIENCE_SECONDS} seconds") from None
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise ValueError("it takes too much time or memory") from None
    if "texts" not in found:
        raise ValueError(found["error"])
    return list(map(str, found["texts"]))
