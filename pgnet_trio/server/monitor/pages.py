"""The files of the monitor's page, which are in the package as they are."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from starlette.responses import PlainTextResponse, Response

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["FOLDER", "index", "page_file"]

FOLDER = Path(__file__).parent / "page"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@attrs.frozen
class _File:
    content: bytes
    media_type: str
    tag: str


async def index(request: Request) -> Response:
    """Answer with the page itself."""
    return _answer(request, "index.html")


async def page_file(request: Request) -> Response:
    """Answer with one of the files that the page loads."""
    return _answer(request, request.path_params["name"])


def _answer(request: Request, name: str) -> Response:
    file = _files().get(name)
    if file is None:
        return PlainTextResponse("there is no such file\n", 404)
    headers = {"Cache-Control": "no-cache", "ETag": file.tag}
    if request.headers.get("if-none-match") == file.tag:
        return Response(None, 304, headers)
    return Response(file.content, 200, headers, file.media_type)


@cache
def _files() -> dict[str, _File]:
    """Return all files; there are few, and they are small."""
    found = {}
    for path in FOLDER.iterdir():
        if path.suffix in _TYPES:
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            found[path.name] = _File(content, _TYPES[path.suffix], tag)
    return found
