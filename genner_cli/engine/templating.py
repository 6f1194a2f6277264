"""A chat template, rendered in a process that can do no harm: the child's side of `chat`.

Takes {"template", "conversations", "special", "date"} as JSON on standard input, gives {"texts"}, one for each
conversation, or {"error"} on standard output. The template is a stranger's program: jinja's sandbox keeps it from
Python, and limits of the system keep the process from opening files and connections, from writing files, and from
taking time and memory without end. It meets the names, tags and filters that transformers gives a template. Knows
nothing of prompts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import cycle
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

ROLES = ("user", "assistant")
SECONDS = 3
WARMING = (
    "{{ 'x' | upper }}{{ strftime_now('%d %b %Y') }}{{ {'a': [1]} | tojson(indent=2) }}{{ nothing }}",
    "{% generation %}{% for i in [1] %}{% break %}{% endfor %}{% endgeneration %}",
    "{{ raise_exception('') }}",
    "{{",
)
"""Templates that make Python and jinja load what they would load later, when no file can be opened any more."""
MEMORY_BYTES = 2**29
MOST_CHARACTERS = 2**20


class _Generation(Extension):
    """`{% generation %}` marks what an assistant wrote, for training elsewhere; here its body is all that matters."""

    tags = {"generation"}  # noqa: RUF012 (jinja reads a set here)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


def render(template: str, messages: Sequence[str], special: Mapping[str, str], date: str) -> str:
    """The template around messages of a user and an assistant in turn, the user's first, with thinking off if it can
    be; raises what jinja raises.

    `special`: texts of the model's special tokens by transformers' names (bos_token ...); `date`: today, ISO 8601. A
    template that takes no plain text gets each message as a list with one part of the type text.
    """
    environment = _environment(datetime.fromisoformat(date)).from_string(template)
    names = {"add_generation_prompt": True, "enable_thinking": False, "tools": None, "documents": None, **special}
    text = error = None
    for contents in (messages, [[{"type": "text", "text": message}] for message in messages]):
        turns = [{"role": role, "content": content} for role, content in zip(cycle(ROLES), contents, strict=False)]
        try:
            text = environment.render(messages=turns, **names)
        except Exception as raised:  # a stranger's program may raise anything
            error = error or raised
        else:
            if all(message in text for message in messages):
                break
    if text is None:
        raise error or TemplateError("it writes nothing")
    if len(text) > MOST_CHARACTERS:
        raise TemplateError(f"it writes {len(text):,} characters")
    return text


def _all(template: str, conversations: Sequence[Sequence[str]], special: Mapping[str, str], date: str) -> list[str]:
    return [render(template, messages, special, date) for messages in conversations]


def _environment(now: datetime) -> ImmutableSandboxedEnvironment:
    """As transformers renders chat templates (`transformers.utils.chat_template_utils`)."""
    extensions = [_Generation, loopcontrols]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _refuse, "strftime_now": now.strftime}
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """Unlike jinja's own filter, it does not escape HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _confine() -> None:
    """No new file or connection, nothing written to a file, little time and memory, from now on.

    Windows has no such limits for a process of its own accord: there, jinja's sandbox and the caller's clock remain.
    """
    if sys.platform == "win32":
        return
    import resource

    limits = {
        resource.RLIMIT_CPU: SECONDS,
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 0,
    }
    for what, most in limits.items():
        with suppress(ValueError, OSError):  # a system may not know a limit; the caller's clock remains
            resource.setrlimit(what, (most, most))


def main() -> None:
    """Renders what stands on standard input."""
    given = json.load(sys.stdin)
    for template in WARMING:
        with suppress(TemplateError):
            render(template, [""], {}, "2000-01-01")
    _confine()
    found: dict[str, Any]
    try:
        found = {"texts": _all(**given)}
    except Exception as error:  # a stranger's program may raise anything
        found = {"error": str(error) or type(error).__name__}
    json.dump(found, sys.stdout)
