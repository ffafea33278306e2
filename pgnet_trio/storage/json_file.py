"""A save file in the format of the original PGNet, written whole at each change."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pgnet_trio.storage.files import (
    SET_ASIDE,
    Signature,
    cannot,
    identity_of,
    is_there,
    keep_under_another_name,
    replace_file,
    signature_of,
)
from pgnet_trio.storage.interface import Changes, SavedGame, SavedState, Store, UserRecord
from pgnet_trio.storage.locks import FileLock, LockedFile, lock_file

__all__ = ["JSONStore", "as_json", "read_json"]

logger = logging.getLogger("pgnet_trio.storage")

MANY_USERS = 5000
"""From so many on, writing all users takes 20 ms of CPU and more, for each that registers."""

_MAY_LOCK = sys.platform != "win32"

ValueT = TypeVar("ValueT")


class JSONStore(Store):
    """Keeps everything in one JSON file, which is replaced by a new one at each change.

    The file has the original's shape: ``{"users": [{"name", "salt", "password"}], "games":
    [{"name", "password", "data"}], "registration": bool, "invite_codes": {code: username}}``.
    As long as nobody has set the registration switch, it is null. A new file is made by the
    first write, and can be read by its owner only. That format has no place for tokens.

    What is locked is a file beside it, with ``.lock`` added to its name, that stays there; and,
    should somebody delete that one, the file itself too, each new one before others can see it.
    (Not on Windows, where a file that is open cannot be replaced.)

    Where somebody deletes or changes the file while it is open, the next write makes it anew, with
    everything in it; what they put there is kept beside it.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        # Through symbolic links, so that they stay, and so that two names are one file.
        self._path = Path(os.path.realpath(path))
        self._lock = FileLock(self._path, stays=True)
        self._file: LockedFile | None = None
        self._saved = SavedState()
        self._content: bytes | None = None
        self._signature: Signature | None = None
        self._warned = False

    def load(self) -> SavedState:
        """Read the file; it is not made before the first write.

        Raises:
            StorageError: It is damaged, of another program, not readable or writable, or in use
                by another server. The file is left as it was.
        """
        if self._lock.held:
            raise RuntimeError(f"the store for {self._path} is open already")
        self._lock.acquire()
        try:
            if not os.access(self._path.parent, os.W_OK):
                raise cannot("use", self._path, "its folder: Permission denied")
            # Before it is read: what changes meanwhile has changed since.
            self._signature = signature_of(self._path)
            if is_there(self._path):
                if not os.access(self._path, os.W_OK):
                    # Replacing it would work all the same.
                    raise cannot("write", self._path, "it is write-protected")
                if _MAY_LOCK:
                    self._file = lock_file(self._path)
                self._content, self._saved = read_json(self._path)
            else:
                self._content, self._saved = None, SavedState()
        except BaseException as error:
            self._unlock()
            if isinstance(error, OSError):
                raise cannot("read", self._path, error) from error
            raise
        self._warn_of_size()
        return _merged(self._saved, Changes())

    def write(self, changes: Changes) -> None:
        """Replace the file by one that has these changes in it.

        Raises:
            StorageError: It could not be written; the file holds what it held, and writing may
                be tried again.
        """
        self._require_open()
        saved = _merged(self._saved, changes)
        self._replace(as_json(saved))
        self._saved = saved
        self._warn_of_size()

    def sync(self) -> None:
        """Make the file anew where somebody deleted or changed it.

        Raises:
            StorageError: It failed.
        """
        self._require_open()
        if self._content is not None and signature_of(self._path) != self._signature:
            self._replace(self._content)

    def _require_open(self) -> None:
        if not self._lock.held:
            raise RuntimeError(f"the store for {self._path} is not open; call load() first")

    def _replace(self, content: bytes) -> None:
        self._lock.renew()
        try:
            self._keep_what_others_wrote()
        except OSError as error:
            raise cannot("write", self._path, error) from error
        try:
            self._put(content)
        except OSError as error:
            self._take_back()
            raise cannot("write", self._path, error) from error
        self._content, self._signature = content, signature_of(self._path)

    def _put(self, content: bytes) -> None:
        """Replace the file by one that is locked before it has the name."""
        drafts: list[LockedFile] = []
        try:
            if _MAY_LOCK:
                replace_file(self._path, content, lambda path: drafts.append(lock_file(path)))
            else:
                replace_file(self._path, content)
        finally:
            for draft in drafts:
                unneeded: LockedFile | None = draft
                # Also where this failed: that may have been after the renaming.
                if self._is_at_path(draft):
                    unneeded, self._file = self._file, draft
                if unneeded is not None:
                    unneeded.unlock()

    def _is_at_path(self, file: LockedFile | None) -> bool:
        with contextlib.suppress(OSError):
            return file is not None and identity_of(self._path) == file.identity
        return False

    def _keep_what_others_wrote(self) -> None:
        found = signature_of(self._path)
        if found == self._signature:
            return
        if found is None:
            logger.warning(
                "%s was deleted while the server ran; it is made anew, with everything in it",
                self._path,
            )
            return
        if _MAY_LOCK and not self._is_at_path(self._file):
            # Another server's, where neither found a file to lock when it started.
            lock_file(self._path).unlock()
        aside = keep_under_another_name(self._path, self._path, SET_ASIDE)
        # Once only, should what follows fail.
        self._signature = signature_of(self._path)
        logger.warning(
            "%s was changed while the server ran; it is made anew, with everything in it, and what "
            "was there is now %s",
            self._path,
            aside.name,
        )

    def _warn_of_size(self) -> None:
        if not self._warned and len(self._saved.users) > MANY_USERS:
            self._warned = True
            logger.warning(
                "%s holds %d users, and all of it is written anew for each that registers. SQLite "
                "does not get slower: `pgnet-trio backup %s %s` makes a save file of it, while no "
                "server runs",
                self._path,
                len(self._saved.users),
                self._path.name,
                self._path.with_suffix(".sqlite").name,
            )

    def _take_back(self) -> None:
        # Where only the last step failed, the new content is there already.
        with contextlib.suppress(OSError):
            if self._content is None:
                self._path.unlink(missing_ok=True)
            elif self._path.read_bytes() != self._content:
                self._put(self._content)
        self._signature = signature_of(self._path)

    def close(self) -> None:
        """Release the file; idempotent. It is released even where this raises.

        Raises:
            StorageError: Somebody deleted or changed the file, and it could not be made anew.
        """
        try:
            if self._lock.held:
                self.sync()
        finally:
            self._unlock()

    def _unlock(self) -> None:
        self._lock.release()
        file, self._file = self._file, None
        if file is not None:
            file.unlock()


def read_json(path: Path) -> tuple[bytes, SavedState]:
    """Read a save file.

    Returns:
        What it holds, as it is and as it is read.

    Raises:
        OSError: It cannot be read.
        StorageError: It is damaged, or of another program.
    """
    content = path.read_bytes()
    try:
        return content, _read(content)
    except _WrongContentError as error:
        raise cannot("read", path, f"it is damaged, or of another program: {error}") from error


def as_json(saved: SavedState) -> bytes:
    """Return the content of a save file that holds this."""
    return _text(saved).encode("ascii")


class _WrongContentError(Exception):
    """The content of a file is not as expected; the message says where, and names no secret."""


def _merged(saved: SavedState, changes: Changes) -> SavedState:
    return SavedState(
        users=_changed(saved.users, changes.users),
        games=_changed(saved.games, changes.games),
        registration=(saved.registration if changes.registration is None else changes.registration),
        invite_codes=_changed(saved.invite_codes, changes.invite_codes),
    )


def _changed(
    saved: Mapping[str, ValueT], changes: Mapping[str, ValueT | None]
) -> dict[str, ValueT]:
    return {key: value for key, value in {**saved, **changes}.items() if value is not None}


def _text(saved: SavedState) -> str:
    return json.dumps(
        {
            "users": [
                {"name": user.name, "salt": user.salt, "password": user.password}
                for user in saved.users.values()
            ],
            "games": [
                {"name": game.name, "password": game.password, "data": game.data}
                for game in saved.games.values()
            ],
            "registration": saved.registration,
            "invite_codes": saved.invite_codes,
        },
        indent=4,
    )


def _read(content: bytes) -> SavedState:
    try:
        data = json.loads(content)
    except json.JSONDecodeError as error:
        raise _WrongContentError(
            f"expected JSON; line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except (ValueError, RecursionError):
        # The causes of these may quote the content.
        raise _WrongContentError("expected JSON, and it is none") from None
    top = _fields("the file", data, ("users", "games", "registration", "invite_codes"))
    saved = SavedState()
    for number, item in enumerate(_typed("users", top["users"], list)):
        place = f"users[{number}]"
        user = UserRecord(**_texts(place, _fields(place, item, ("name", "salt", "password"))))
        if user.name in saved.users:
            raise _WrongContentError(f"{place}: there is a user {user.name!r} before this one")
        saved.users[user.name] = user
    for number, item in enumerate(_typed("games", top["games"], list)):
        place = f"games[{number}]"
        fields = _fields(place, item, ("name", "password", "data"))
        if fields["password"] is None:
            # So the original writes it where a game was created without one.
            fields["password"] = ""
        texts = _texts(place, fields)
        game = SavedGame(texts["name"], texts["password"], texts["data"])
        if game.name in saved.games:
            raise _WrongContentError(f"{place}: there is a game {game.name!r} before this one")
        saved.games[game.name] = game
    if top["registration"] is not None:
        saved.registration = _typed("registration", top["registration"], bool)
    codes = _typed("invite_codes", top["invite_codes"], dict)
    for number, username in enumerate(codes.values()):
        _typed(f"invite_codes, number {number + 1}", username, str)
    saved.invite_codes = codes
    return saved


def _typed(place: str, value: Any, kind: type[ValueT]) -> ValueT:
    if not isinstance(value, kind):
        raise _WrongContentError(
            f"{place}: expected a {kind.__name__}, got a {type(value).__name__}"
        )
    return value


def _fields(place: str, value: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    fields = _typed(place, value, dict)
    if set(fields) != set(keys):
        # A key that is not known would be lost at the next write.
        raise _WrongContentError(
            f"{place}: expected exactly the keys {', '.join(keys)}; "
            f"got {', '.join(map(repr, list(fields)[:10])) or 'none'}"
        )
    return fields


def _texts(place: str, fields: dict[str, Any]) -> dict[str, str]:
    return {key: _typed(f"{place}.{key}", value, str) for key, value in fields.items()}
