"""Regular expressions with a limit of time, and checks of numbers: the only home of regex, stdnum and phonenumbers.

These are the extra `patterns`, loaded where a pattern needs them. Takes a pattern and a text, gives ranges. Knows
nothing of entities.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from genner_cli.errors import DataError, UsageError
from genner_cli.expressions.checks import EXPRESSIONS, PHONE, accepting, phone_numbers
from genner_cli.types import Pattern, Range

if TYPE_CHECKING:
    from regex import Pattern as Compiled

SECONDS = 5.0
"""Processor time for one expression in one text of up to `CHARACTERS`; a longer text has as much for each of them."""
CHARACTERS = 2**20
Find = Callable[[str], Iterator[Range]]


def finder(pattern: Pattern) -> Find:
    """What finds a pattern's expression or number in a text, from left to right, without overlaps.

    Raises UsageError with the pattern's place for an expression that is wrong or matches nothing at all, for an unknown
    check, and where the extra is not installed. The finder raises DataError at a text that takes too long.
    """
    if pattern.check == PHONE and pattern.expression is None:
        return phone_numbers(pattern)
    accepts = accepting(pattern) if pattern.check else None
    expression = pattern.expression or EXPRESSIONS.get(pattern.check or "")
    if expression is None:
        raise UsageError(f"{pattern.source}: check {pattern.check!r} needs a regex that says where to look; add one")
    compiled = _compiled(pattern, expression)

    def find(text: str) -> Iterator[Range]:
        try:
            yield from _matches(compiled, accepts, text)
        except TimeoutError as error:
            raise DataError(
                f"the regex of {pattern.source} took more than {_seconds(text):.0f} s; make it simpler: nested"
                " repetitions like (a+)+ take exponential time, possessive ones (a++) do not"
            ) from error

    return find


def _compiled(pattern: Pattern, expression: str) -> Compiled[str]:
    try:
        import regex
    except ImportError as error:
        raise UsageError(
            f"{pattern.source}: regular expressions and checks need more packages; install them with: pip install"
            " 'genner[patterns]'"
        ) from error
    try:
        compiled = regex.compile(expression, regex.IGNORECASE if pattern.ignore_case else 0)
        empty = compiled.search("", timeout=SECONDS)
    except (regex.error, OverflowError, RecursionError, MemoryError, TimeoutError) as error:
        raise UsageError(f"{pattern.source}: the regex is wrong ({error}); correct it: {expression}") from error
    if empty:
        raise UsageError(f"{pattern.source}: the regex matches the empty text; write + for *, or make a part required")
    return compiled


def _seconds(text: str) -> float:
    return SECONDS * max(1.0, len(text) / CHARACTERS)


def _matches(compiled: Compiled[str], accepts: Callable[[str], bool] | None, text: str) -> Iterator[Range]:
    """Where the expression stands, without outer white space, and is accepted. Raises TimeoutError."""
    until = time.thread_time() + _seconds(text)
    at = 0
    while at <= len(text):
        left = until - time.thread_time()
        if left <= 0:
            raise TimeoutError
        match = compiled.search(text, at, timeout=left)
        if match is None:
            return
        there = _accepted(compiled, accepts, text, Range(*match.span()))
        if there is not None:
            yield there
            at = max(there.end, match.start() + 1)
        else:
            at = match.start() + 1


def _accepted(compiled: Compiled[str], accepts: Callable[[str], bool] | None, text: str, match: Range) -> Range | None:
    """The match; where it does not pass the check, the longest part of it from its start that does."""
    start, end = match
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    if start == end:
        return None
    if accepts is None:
        return Range(start, end)
    cuts = [end, *(at for at in range(end - 1, start, -1) if not text[at].isalnum())]
    for cut in cuts:
        if accepts(text[start:cut]) and (cut == end or compiled.fullmatch(text, start, cut, timeout=SECONDS)):
            return Range(start, cut)
    return None
