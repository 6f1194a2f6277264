"""A chat template, rendered in a process that can do no harm: the child's side of `chat`.

Takes {"template", "question"} as JSON on standard input, gives {"text"} or {"error"} on standard output. The template
is a stranger's program: jinja's sandbox keeps it from Python, and limits of the system keep the process from opening
files and connections, from writing files, and from taking time and memory without end. Knows nothing of prompts.
"""

from __future__ import annotations

import json
import resource
import sys
from contextlib import suppress

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS = 3
WARMING = ("{{ 'x' | upper }}", "{{ raise_exception('') }}", "{{")
"""Templates that make Python and jinja load what they would load later, when no file can be opened any more."""
MEMORY_BYTES = 2**29
MOST_CHARACTERS = 2**20


def render(template: str, question: str) -> str:
    """The template around one message of a user, with thinking off if it can be; raises what jinja does."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(template).render(
        messages=[{"role": "user", "content": question}],
        add_generation_prompt=True,
        enable_thinking=False,
        bos_token="",
        eos_token="",
        raise_exception=_refuse,
    )
    if len(text) > MOST_CHARACTERS:
        raise TemplateError(f"it writes {len(text):,} characters")
    return text


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _confine() -> None:
    """No new file or connection, nothing written to a file, little time and memory, from now on."""
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
            render(template, "")
    _confine()
    try:
        found = {"text": render(**given)}
    except Exception as error:  # a stranger's program may raise anything
        found = {"error": str(error) or type(error).__name__}
    json.dump(found, sys.stdout)
