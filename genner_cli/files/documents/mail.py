"""E-mail (.eml): the body of a message; its headers, and the names of its attachments, are fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from typing import Any

from genner_cli.errors import DataError
from genner_cli.files.documents import WholeFile
from genner_cli.files.documents.html import read_html
from genner_cli.files.records import JOINT

_HEADERS = ("subject", "from", "to", "cc", "date", "message-id")
_FORWARDED = "message/rfc822"
_MALFORMED = (LookupError, ValueError, TypeError, AttributeError, RecursionError)
"""What Python's parser raises for messages that are not as they should be."""


class Mail(WholeFile):
    suffixes = (".eml",)

    def records(self, content: bytes, name: str) -> Iterator[Mapping[str, Any]]:
        """One document: the plain text of a message, or that of its HTML where it has no other, and what is shown below
        it: further texts and forwarded messages."""
        message = message_from_bytes(content, policy=policy.default)
        if not message.keys():
            raise DataError(f"{name}: has no headers, and is not an e-mail; name it .txt if it is text")
        try:
            texts = list(_texts(message))
            fields = _fields(message)
        except _MALFORMED as error:
            raise DataError(f"{name}: is a malformed e-mail ({error}); save it again, or as text") from error
        if not texts:
            raise DataError(f"{name}: has no text, only {message.get_content_type()}; leave it out")
        yield {"text": JOINT.join(texts), **fields}


def _texts(message: EmailMessage) -> Iterator[str]:
    """Of the body, of parts that are shown with it, and of messages that are forwarded in it."""
    body = message.get_body(preferencelist=("plain", "html"))
    if body is not None:
        yield _text(body)
    for part in message.iter_attachments():
        if part.get_content_type() == _FORWARDED:
            yield from _texts(part.get_content())
        elif _is_shown(part):
            yield _text(part)


def _is_shown(part: MIMEPart) -> bool:
    return part.get_content_maintype() == "text" and not part.is_attachment() and not part.get_filename()


def _text(part: MIMEPart) -> str:
    text: str = part.get_content(errors="strict")
    return read_html(text)[1] if part.get_content_subtype() == "html" else text


def _fields(message: EmailMessage) -> dict[str, Any]:
    headers = {key.replace("-", "_"): _writable(str(message[key])) for key in _HEADERS if message[key] is not None}
    others = (part for part in message.iter_attachments() if not _is_shown(part))
    attached = [_writable(part.get_filename() or part.get_content_type()) for part in others]
    return {**headers, **({"attachments": attached} if attached else {})}


def _writable(text: str) -> str:
    """Bytes of a header that are not what it says they are become question marks."""
    return text.encode("utf-8", "replace").decode()


FORMAT = Mail()
