"""Answers with the files of a folder, and of nowhere else. Nothing here waits but for the disk."""

from __future__ import annotations

import gzip
import os
import re
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from weakref import WeakValueDictionary

import attrs

from pgnet_trio.server.http.answers import STRICT_POLICY, Answer, text_answer

if TYPE_CHECKING:
    from pgnet_trio.server.http.head import RequestHead

__all__ = ["Folder", "Site"]

MAX_KEPT_FILE = 8 * 1024 * 1024
"""Bytes of a file that is read as a whole, and kept; longer ones are read bit by bit each time."""

MAX_KEPT = 32 * 1024 * 1024
"""Bytes of all files that are kept. The ones that nobody has asked for longest go first."""

LEAST_TO_COMPRESS = 1024
"""Bytes of a file that is worth compressing: below, all of it fits into one packet or two."""

WORTH = 0.9
"""The part of a file that it may have at most when it is compressed, or it is not worth it."""

INDEX = "index.html"

# By suffix, because what the machine itself says of suffixes may be anything.
TYPES = {
    ".avif": "image/avif",
    ".bin": "application/octet-stream",
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".flac": "audio/flac",
    ".gif": "image/gif",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".htm": "text/html; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/vnd.microsoft.icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".m4a": "audio/mp4",
    ".map": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".otf": "font/otf",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ts": "text/plain; charset=utf-8",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}
UNKNOWN_TYPE = "application/octet-stream"

_COMPRESSIBLE = re.compile(
    r"text/.*|application/(json|manifest\+json|wasm|xml)|image/svg\+xml|model/gltf\+json|font/(otf|ttf)"
)
# Names that mean something else to some system: another drive or stream of Windows, say.
_ODD = re.compile(r'[\\:*?"<>|]')

NOT_FOUND = "there is nothing here"
NO_INDEX = f"this site has no {INDEX}"


@attrs.frozen
class Site:
    """The files of a folder, which a server shows to browsers on the game's own port.

    ``index.html`` is what the folder itself shows. Files whose names begin with a dot are not
    shown, nor is anything outside the folder, whatever link leads there. Changes on disk are seen
    at once.

    Args:
        folder: The folder.
        content_security_policy: What browsers let the pages load and reach; by default only what
            this server has, and no script or style that stands in the page itself.

    Raises:
        ValueError: There is no such folder; or the policy is no header.
    """

    folder: Path = attrs.field(converter=Path)
    content_security_policy: str = attrs.field(default=STRICT_POLICY, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not self.folder.is_dir():
            raise ValueError(f"Site: expected a folder, got {str(self.folder)!r}, which is none.")
        policy = self.content_security_policy
        if not isinstance(policy, str) or not re.fullmatch(r"[ -~]+", policy):
            raise ValueError(
                f"Site: content_security_policy: expected one line of text, got {policy!r}."
            )


@attrs.frozen
class _Kept:
    """A file as it was read, and as gzip makes it, where that pays."""

    signature: tuple[int, ...]
    body: bytes
    compressed: bytes | None

    @property
    def size(self) -> int:
        return len(self.body) + len(self.compressed or b"")


class Folder:
    """Answers with the files of a folder. Its methods may be called in any thread.

    Args:
        folder: The folder.
        policy: The ``Content-Security-Policy`` of its pages.

    Attributes:
        kept_size: Bytes of the files that are kept in memory.
    """

    def __init__(self, folder: Path, policy: str = STRICT_POLICY) -> None:
        self._folder = folder
        self._policy = policy
        self._lock = threading.Lock()
        # By the name of the file, the one that was asked for latest at the end.
        self._kept: dict[str, _Kept] = {}
        # Those too that are on their way to somebody: however many read slowly, there is one of
        # each in memory.
        self._alive: WeakValueDictionary[str, _Kept] = WeakValueDictionary()
        self.kept_size = 0

    def answer(self, path: str, head: RequestHead) -> Answer:
        """Return the file at a path, as an answer. This reads from the disk.

        Args:
            path: The path, which begins with a slash.
            head: The request.
        """
        names = path.split("/")[1:]
        wants_folder = names[-1] == ""
        if wants_folder:
            names[-1] = INDEX
        if not all(map(_is_plain, names)):
            return text_answer(404, NOT_FOUND)
        try:
            file = self._resolve(names)
            status = os.stat(file)
            if stat.S_ISDIR(status.st_mode) and not wants_folder:
                _, mark, query = head.target.partition("?")
                there = quote(f"{path}/") + mark + query
                return text_answer(308, f"this is a folder: {there}", {"Location": there})
            if stat.S_ISREG(status.st_mode):
                return self._answer_file(file, status, head)
        except (OSError, ValueError):
            # It is not there, or may not be read, or no file can have that name.
            pass
        return text_answer(404, NO_INDEX if path == "/" else NOT_FOUND)

    def _resolve(self, names: list[str]) -> str:
        """Return where names lead, by whatever links.

        Raises:
            OSError: There is nothing that may be shown.
        """
        # Each time, since the folder itself may be a link that leads to the latest version.
        root = os.path.realpath(self._folder)
        found = os.path.realpath(os.path.join(root, *names), strict=True)
        inside = found.removeprefix(os.path.join(root, ""))
        if inside == found or not all(map(_is_plain, inside.split(os.sep))):
            raise FileNotFoundError(found)
        return found

    def _answer_file(self, file: str, status: os.stat_result, head: RequestHead) -> Answer:
        is_short = status.st_size <= MAX_KEPT_FILE
        kept = self._read(file, status) if is_short else None
        compressed = None if kept is None else kept.compressed
        is_compressed = compressed is not None and head.takes_gzip()
        tag = f"{status.st_mtime_ns:x}-{status.st_size:x}"
        headers = {
            "ETag": f'"{tag}-gzip"' if is_compressed else f'"{tag}"',
            # A browser asks each time whether its copy is the latest.
            "Cache-Control": "no-cache",
        }
        if compressed is not None:
            headers["Vary"] = "Accept-Encoding"
        if _is_known(tag, head.headers.get("if-none-match")):
            return Answer(status=304, headers=headers, policy=self._policy)
        headers["Content-Type"] = _type_of(file)
        if is_compressed and compressed is not None:
            headers["Content-Encoding"] = "gzip"
            return Answer(headers=headers, body=compressed, policy=self._policy, holds=kept)
        if kept is not None:
            return Answer(headers=headers, body=kept.body, policy=self._policy, holds=kept)
        opened = _LongFile(file, _sign(status))
        return Answer(headers=headers, file=opened, size=status.st_size, policy=self._policy)

    def _read(self, file: str, status: os.stat_result) -> _Kept:
        signature = _sign(status)
        with self._lock:
            kept = self._alive.get(file)
        if kept is None or kept.signature != signature:
            body = Path(file).read_bytes()[: status.st_size]
            kept = _Kept(signature, body, _compress(_type_of(file), body))
        with self._lock:
            self._keep(file, kept)
        return kept

    def _keep(self, file: str, kept: _Kept) -> None:
        before = self._kept.pop(file, None)
        self.kept_size += kept.size - (0 if before is None else before.size)
        self._kept[file] = self._alive[file] = kept
        while self.kept_size > MAX_KEPT:
            oldest = next(iter(self._kept))
            self.kept_size -= self._kept.pop(oldest).size


@attrs.frozen
class _LongFile:
    """A file that is opened for each part of it: nothing is left open when a client goes."""

    name: str
    signature: tuple[int, ...]

    def read(self, position: int, size: int, /) -> bytes:
        with open(self.name, "rb") as file:
            if _sign(os.fstat(file.fileno())) != self.signature:
                raise OSError("it was written to while it was sent")
            file.seek(position)
            part = file.read(size)
        if not part:
            raise OSError("it ended before its end")
        return part


def _sign(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file does."""
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _is_plain(name: str) -> bool:
    """Return whether this names a file that may be shown, on any system."""
    return name != "" and not name.startswith(".") and not _ODD.search(name)


def _type_of(file: str) -> str:
    return TYPES.get(os.path.splitext(file)[1].lower(), UNKNOWN_TYPE)


def _is_known(tag: str, if_none_match: str | None) -> bool:
    """Return whether the client has the file already, as it is or compressed."""
    if if_none_match is None:
        return False
    tags = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return not tags.isdisjoint({f'"{tag}"', f'"{tag}-gzip"', "*"})


def _compress(kind: str, body: bytes) -> bytes | None:
    if len(body) < LEAST_TO_COMPRESS or not _COMPRESSIBLE.match(kind):
        return None
    compressed = gzip.compress(body, mtime=0)
    return compressed if len(compressed) < len(body) * WORTH else None
