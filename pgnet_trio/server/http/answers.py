"""What a request for a page is answered with, and its bytes. Pure."""

from __future__ import annotations

import functools
import html
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol

import attrs

__all__ = ["STRICT_POLICY", "Answer", "File", "encode_head", "html_answer", "text_answer"]

STRICT_POLICY = (
    "default-src 'self'; base-uri 'none'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; img-src 'self' blob: data:; object-src 'none'"
)
"""What a page may load and reach: what this server has. No script stands in the page itself."""

_ALWAYS = "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"


class File(Protocol):
    """A file that is read bit by bit."""

    def read(self, position: int, size: int, /) -> bytes:
        """Return so many bytes from a position on, at most, and one at least.

        Raises:
            OSError: It cannot be read, or is not what it was.
        """
        ...


@attrs.frozen(kw_only=True)
class Answer:
    """An answer.

    Attributes:
        status: The HTTP status.
        headers: Its headers, without those that `encode_head` adds.
        body: The content, whole.
        file: A file that is the content instead, too long to be read as a whole.
        size: Bytes of the content.
        holds: What stays in memory for as long as the answer does.
        policy: The ``Content-Security-Policy``.
    """

    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    file: File | None = None
    size: int = attrs.field(default=attrs.Factory(lambda self: len(self.body), takes_self=True))
    policy: str = STRICT_POLICY
    holds: object = None


def text_answer(status: int, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer of one line of text."""
    return Answer(
        status=status,
        headers={
            "Content-Type": "text/plain; charset=utf-8",
            "Cache-Control": "no-store",
            **(headers or {}),
        },
        body=f"{text}\n".encode(),
    )


def html_answer(title: str, *paragraphs: str) -> Answer:
    """Return a page of plain text."""
    text = "\n".join(f"<p>{html.escape(each)}</p>" for each in paragraphs)
    page = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<h1>{html.escape(title)}</h1>\n{text}\n</html>\n"
    )
    return Answer(
        headers={"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache"},
        body=page.encode(),
    )


def encode_head(answer: Answer, now: float, *, keeps_alive: bool) -> bytes:
    """Return the head of an answer.

    Args:
        answer: The answer.
        now: The time in seconds since 1970.
        keeps_alive: Whether the client may send another request over the same connection.
    """
    lines = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    # These have no content, and are not to say how long it would be.
    is_bare = answer.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
    length = "" if is_bare else f"Content-Length: {answer.size}\r\n"
    connection = "keep-alive" if keeps_alive else "close"
    return (
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
        f"Date: {_date(int(now))}\r\nConnection: {connection}\r\n{length}{lines}"
        f"Content-Security-Policy: {answer.policy}\r\n{_ALWAYS}\r\n"
    ).encode("latin-1")


@functools.lru_cache(maxsize=1)
def _date(now: int) -> str:
    return formatdate(now, usegmt=True)
