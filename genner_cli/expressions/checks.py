"""What a number or an address must be like to be one: check digits, lengths, numbering plans.

`luhn`, `iban`, `email` and `phone` know where to look; any other check is a module of python-stdnum by name, such as
`us.ssn` or `isbn`, and needs a regex.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import import_module

from genner_cli.errors import UsageError
from genner_cli.types import Pattern, Range

PHONE = "phone"
EXPRESSIONS = {
    "luhn": r"(?<!\d)\d{4}[ -]?\d{4,6}[ -]?\d{4,5}(?:[ -]?\d{1,4})?(?!\d)",
    "iban": r"(?<![^\W_])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}(?![^\W_])",
    "email": r"(?<![\w.+%'-])[\w.+%'-]{1,64}+@[\w-]+(?:\.[\w-]+)++",
}
"""Where to look for what is checked: for payment cards, bank accounts (ISO 13616), addresses (RFC 5321)."""
_MODULE = re.compile(r"[a-z_]+(\.[a-z0-9_]+)?")
_MOST_EMAIL = 254
_INSTALL = "install it with: pip install 'genner[patterns]'"

Check = Callable[[str], bool]


def accepting(pattern: Pattern) -> Check:
    """The check of a pattern. Raises UsageError for an unknown one, or where its package is not installed."""
    if pattern.check == "email":
        return _is_email
    if pattern.check == PHONE:
        return _phone_check(pattern)
    name = pattern.check or ""
    try:
        if not _MODULE.fullmatch(name):
            raise ModuleNotFoundError(name=f"stdnum.{name}")
        import_module("stdnum")
        valid: Check = import_module(f"stdnum.{name}").is_valid
    except ModuleNotFoundError as error:
        if error.name == "stdnum":
            raise UsageError(f"{pattern.source}: check {name!r} needs python-stdnum; {_INSTALL}") from error
        raise _unknown(pattern) from error
    except AttributeError as error:
        raise _unknown(pattern) from error
    return _is_card if name == "luhn" else valid


def _unknown(pattern: Pattern) -> UsageError:
    known = ", ".join([*EXPRESSIONS, PHONE])
    return UsageError(
        f"{pattern.source}: unknown check {pattern.check!r}; known are {known}, and the modules of python-stdnum by"
        " name, such as us.ssn or isbn"
    )


def _is_card(number: str) -> bool:
    """By the digits alone; zeros pass the check digit, but are nobody's."""
    from stdnum import luhn

    digits = "".join(filter(str.isdigit, number))
    return bool(digits.strip("0")) and luhn.is_valid(digits)


def _is_email(address: str) -> bool:
    local, _, domain = address.rpartition("@")
    labels = domain.split(".")
    dots = local.startswith(".") or local.endswith(".") or ".." in local
    ends = labels[-1].isalpha() or labels[-1].startswith("xn--")
    hyphens = any(not label or label.startswith("-") or label.endswith("-") for label in labels)
    return bool(local) and len(address) <= _MOST_EMAIL and len(labels[-1]) > 1 and ends and not (dots or hyphens)


def phone_numbers(pattern: Pattern) -> Callable[[str], Iterator[Range]]:
    """What finds telephone numbers that exist in a numbering plan: those with a + and a country's number, and with
    `region` those of that country as they are dialled there."""
    _checked_region(pattern)
    import phonenumbers

    def find(text: str) -> Iterator[Range]:
        tries = len(text) + 1  # the package's own limit would end the search in a long text
        for match in phonenumbers.PhoneNumberMatcher(text, pattern.region, max_tries=tries):
            yield Range(match.start, match.end)

    return find


def _phone_check(pattern: Pattern) -> Check:
    _checked_region(pattern)
    import phonenumbers

    def check(number: str) -> bool:
        try:
            return phonenumbers.is_valid_number(phonenumbers.parse(number, pattern.region))
        except phonenumbers.NumberParseException:
            return False

    return check


def _checked_region(pattern: Pattern) -> None:
    """Raises UsageError for a region that has no numbering plan, or without the package."""
    try:
        import phonenumbers
    except ImportError as error:
        raise UsageError(f"{pattern.source}: check 'phone' needs phonenumbers; {_INSTALL}") from error
    if pattern.region is not None and pattern.region not in phonenumbers.SUPPORTED_REGIONS:
        raise UsageError(f"{pattern.source}: region {pattern.region!r} is not a country's code; write two letters: NO")
