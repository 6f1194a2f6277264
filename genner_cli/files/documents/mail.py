"""E-mail (.eml): the body of a message; its headers, and the names of its attachments, are fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from genner_cli.errors import DataError
from genner_cli.files.documents import WholeFile
from genner_cli.files.documents.html import read_html

_HEADERS = ("subject", "from", "to", "cc", "date", "message-id")
_MALFORMED = (LookupError, ValueError, TypeError, AttributeError)
"""What Python's parser raises for messages that are not as they should be."""


class Mail(WholeFile):
    suffixes = (".eml",)

    def records(self, content: bytes, name: str) -> Iterator[Mapping[str, Any]]:
        """One document: the plain text of a message, or that of its HTML where it has no other."""
        message = message_from_bytes(content, policy=policy.default)
        if not message.keys():
            raise DataError(f"{name}: has no headers, and is not an e-mail; name it .txt if it is text")
        try:
            yield {"text": _body(message, name), **_fields(message)}
        except _MALFORMED as error:
            raise DataError(f"{name}: is a malformed e-mail ({error}); save it again, or as text") from error


def _body(message: EmailMessage, name: str) -> str:
    body = message.get_body(preferencelist=("plain", "html"))
    if body is None:
        raise DataError(f"{name}: has no text, only {message.get_content_type()}; leave it out")
    text: str = body.get_content(errors="strict")
    return read_html(text)[1] if body.get_content_subtype() == "html" else text


def _fields(message: EmailMessage) -> dict[str, Any]:
    headers = {key.replace("-", "_"): _writable(str(message[key])) for key in _HEADERS if message[key] is not None}
    attached = [_writable(part.get_filename() or part.get_content_type()) for part in message.iter_attachments()]
    return {**headers, **({"attachments": attached} if attached else {})}


def _writable(text: str) -> str:
    """Bytes of a header that are not what it says they are become question marks."""
    return text.encode("utf-8", "replace").decode()


FORMAT = Mail()
