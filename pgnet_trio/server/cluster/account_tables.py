"""What an engine does with its accounts, whatever keeps them; each method in one transaction.

`MemoryAccounts` and `SQLAccounts` have the rows, and the rules stand here once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pgnet_trio.server.attempts import MAX_KNOWN_ADDRESSES
from pgnet_trio.server.cluster.records import Admission, Admitted, Lookup, NotAdmitted
from pgnet_trio.server.cluster.tables import Tables

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.records import Registration, SessionRow
    from pgnet_trio.storage.interface import TokenRecord, UserRecord

__all__ = ["AccountTables"]


class AccountTables(Tables):
    """Who may log in, register and be invited."""

    def look_up(
        self, name: str, code: str, keys: Mapping[str, float], registration_enabled: bool
    ) -> Lookup:
        """See `Engine.look_up`."""
        refusal = self._refusal(name) or self._code_refusal(name, code, registration_enabled)
        return Lookup(
            self.find_user(name),
            tuple(self.tokens_of(name)),
            refusal or "done",
            self._similar(name),
            tuple(self._places(name)),
            {key: self._count(key, window) for key, window in keys.items()},
        )

    def admit(self, admission: Admission, limit: int, operation: bytes) -> Admitted | NotAdmitted:
        """See `Engine.admit`."""
        name, node = admission.username, admission.node
        if node is not None and self._done(operation) is not None:
            # What is asked for once more has been let in.
            return Admitted(self.enter(node, name, admission.session_token, operation))
        if admission.user is not None:
            self._lock_user(name)
            now = self.find_user(name)
            if now != admission.user:
                return NotAdmitted(now)
        entered = None
        if node is not None:
            token, asked = admission.session_token, admission.asked
            entered = self.enter(node, name, token, operation, asked)
        if admission.place:
            self._note_place(name, admission.place)
        if admission.token is not None:
            self.add_token(admission.token, admission.instead_of, limit)
        return Admitted(entered)

    def _note_place(self, name: str, place: str) -> None:
        places = self._places(name)
        if places[-1:] != [place]:
            others = [other for other in places if other != place]
            self._write_place(name, place, others[: max(0, len(others) - MAX_KNOWN_ADDRESSES + 1)])

    def register_user(
        self,
        user: UserRecord,
        code: str,
        registration_enabled: bool,
        counted: Collection[str],
        operation: bytes,
    ) -> Registration:
        """See `Engine.register_user`."""
        if self._done(operation) is not None:
            return "done"
        # Nobody else may register a name that looks like this one meanwhile, nor use this code.
        self._lock_names()
        refusal = self._refusal(user.name) or self._code_refusal(
            user.name, code, registration_enabled
        )
        if refusal is not None:
            return refusal
        if code:
            self._remove_code(code)
        self._write_user(user)
        self.note_failures(counted)
        self._note(operation)
        return "done"

    def _refusal(self, name: str) -> Registration | None:
        if self.find_user(name) is not None:
            return "taken"
        if self._similar(name):
            return "too similar"
        return "leaving" if self.find_session(name) is not None else None

    def _code_refusal(
        self, name: str, code: str, registration_enabled: bool
    ) -> Registration | None:
        if code:
            return None if self._code_is_for(code) in ("", name) else "bad code"
        switch = self.registration()
        enabled = registration_enabled if switch is None else switch
        return None if enabled else "code needed"

    def replace_user(self, old: UserRecord, new: UserRecord) -> bool:
        """See `Engine.replace_user`."""
        self._lock_user(old.name)
        now = self.find_user(old.name)
        if now == new:
            return True
        if now != old:
            return False
        self._write_user(new)
        self._remove_tokens(old.name)
        return True

    def delete_user(
        self, name: str, note: Callable[[SessionRow], bytes] | None, operation: bytes
    ) -> bool:
        """See `Engine.delete_user`."""
        if self._done(operation) is not None:
            return True
        if not self._remove_user(name):
            return False
        # A log-in at the same time was committed before, or will find nobody.
        self.forget_player(name)
        self.forget_user(name)
        session = self.find_session(name)
        if note is not None and session is not None:
            self.send_mail([session.node], note(session), operation + b" mail")
        self._note(operation)
        return True

    def add_invite(self, code: str, username: str) -> Registration:
        """See `Engine.add_invite`."""
        refusal = self._refusal(username) if username else None
        # Who was deleted is gone when the code is used.
        if refusal is None or refusal == "leaving":
            self._write_code(code, username)
            return "done"
        return refusal

    def add_token(self, token: TokenRecord, instead_of: bytes, limit: int) -> None:
        """See `Engine.add_token`."""
        # One at a time for each user, so that there are never too many.
        self._lock_user(token.username)
        if self.find_user(token.username) is None:
            return
        mine = self.tokens_of(token.username)
        rest = [old for old in mine if old.digest not in (instead_of, token.digest)]
        kept = rest[max(0, len(rest) - limit + 1) :]
        self._write_token(token, [old.digest for old in mine if old not in kept])

    def count_failures(self, keys: Collection[str], window: float) -> dict[str, int]:
        """See `Engine.count_failures`."""
        return {key: self._count(key, window) for key in keys}

    # The rows

    @abstractmethod
    def _done(self, operation: bytes) -> Sequence[Any] | None:
        """Return what was noted of a change; None where it was not made."""

    @abstractmethod
    def _note(self, operation: bytes, *result: Any) -> None:
        """Note that a change was made."""

    @abstractmethod
    def _lock_names(self) -> None:
        """Let nobody else register until the transaction ends."""

    @abstractmethod
    def _lock_user(self, name: str) -> None:
        """Let nobody else change a user until the transaction ends."""

    @abstractmethod
    def _similar(self, name: str) -> str:
        """Return the first user whose name differs in upper and lower case only; or empty."""

    @abstractmethod
    def _write_user(self, user: UserRecord) -> None:
        """Add a user, or replace their record."""

    @abstractmethod
    def _remove_user(self, name: str) -> bool:
        """Take a user out, with their tokens and places; return whether there was one."""

    @abstractmethod
    def _places(self, name: str) -> list[str]:
        """Return from where a user is known, the latest last."""

    @abstractmethod
    def _write_place(self, name: str, place: str, gone: Sequence[str]) -> None:
        """Make a place the latest of a user's, and forget others."""

    @abstractmethod
    def _code_is_for(self, code: str) -> str | None:
        """Return the username that an invite code is for, or empty; None where there is none."""

    @abstractmethod
    def _write_code(self, code: str, username: str) -> None:
        """Add an invite code."""

    @abstractmethod
    def _remove_code(self, code: str) -> None:
        """Use an invite code up."""

    @abstractmethod
    def _write_token(self, token: TokenRecord, gone: Sequence[bytes]) -> None:
        """Add a token, and take out those with these digests."""

    @abstractmethod
    def _remove_tokens(self, name: str) -> None:
        """Take out all tokens of a user."""

    @abstractmethod
    def _count(self, key: str, window: float) -> int:
        """Count what was noted for a key in the last so many seconds.

        What is still to come was noted before the clock was set back, and does not count.
        """
