"""The accounts of an engine in memory, and which changes were made; pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from pgnet_trio.server.admission import MAX_KNOWN_ADDRESSES
from pgnet_trio.server.cluster.records import Admission, Admitted, Lookup, NotAdmitted
from pgnet_trio.server.cluster.rules import MAX_FAILURES_KEPT
from pgnet_trio.server.cluster.tables import Tables

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.records import Registration, SessionRow
    from pgnet_trio.storage.interface import TokenRecord, UserRecord

__all__ = ["MemoryAccounts"]


class MemoryAccounts(Tables):
    """Users, invite codes, tokens and failed log-ins, in dictionaries.

    Args:
        clock: The engine's clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._operations: dict[bytes, tuple[float, tuple[Any, ...]]] = {}
        self._users: dict[str, UserRecord] = {}
        self._invites: dict[str, str] = {}
        self._registration: bool | None = None
        self._tokens: dict[bytes, TokenRecord] = {}
        self._failures: list[tuple[float, str]] = []
        self._places: dict[str, list[str]] = {}

    def _done(self, operation: bytes) -> tuple[Any, ...] | None:
        """Return what was noted of a change; None where it was not made."""
        return self._operations.get(operation, (0, None))[1]

    def _note(self, operation: bytes, *result: Any) -> None:
        self._operations[operation] = self._clock(), result

    def _forget_before(self, operations: float, failures: float) -> None:
        self._operations = {
            key: value for key, value in self._operations.items() if value[0] > operations
        }
        kept = [event for event in self._failures if event[0] > failures]
        self._failures = kept[-MAX_FAILURES_KEPT:]

    def look_up(
        self, name: str, code: str, keys: Mapping[str, float], registration_enabled: bool
    ) -> Lookup:
        """See `Engine.look_up`."""
        session = self.find_session(name)
        node = None
        if session is not None:
            (node,) = (one for one in self.nodes() if one.id == session.node)
        counts: dict[str, int] = {}
        for key, window in keys.items():
            counts |= self.count_failures([key], window)
        return Lookup(
            self.find_user(name),
            tuple(self.tokens_of(name)),
            self._refusal(name) or self._code_refusal(name, code, registration_enabled) or "done",
            self._similar(name),
            tuple(self._places.get(name, ())),
            counts,
            session,
            node,
        )

    def admit(self, admission: Admission, limit: int, operation: bytes) -> Admitted | NotAdmitted:
        """See `Engine.admit`."""
        name, node = admission.username, admission.node
        if node is not None and self._done(operation) is not None:
            return Admitted(self.enter(node, name, admission.session_token, operation))
        if admission.user is not None and self._users.get(name) != admission.user:
            return NotAdmitted(self._users.get(name))
        entered = None
        if node is not None:
            entered = self.enter(node, name, admission.session_token, operation)
        if admission.place:
            others = [place for place in self._places.get(name, ()) if place != admission.place]
            self._places[name] = [*others, admission.place][-MAX_KNOWN_ADDRESSES:]
        if admission.token is not None:
            self.add_token(admission.token, admission.instead_of, limit)
        return Admitted(entered)

    def find_user(self, name: str) -> UserRecord | None:
        """See `Engine.find_user`."""
        return self._users.get(name)

    def usernames(self, after: str, limit: int) -> list[str]:
        """See `Engine.usernames`."""
        return sorted(name for name in self._users if name > after)[:limit]

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
        refusal = self._refusal(user.name) or self._code_refusal(
            user.name, code, registration_enabled
        )
        if refusal is not None:
            return refusal
        self._invites.pop(code, None)
        self._users[user.name] = user
        self.note_failures(counted)
        self._note(operation)
        return "done"

    def _refusal(self, name: str) -> Registration | None:
        if name in self._users:
            return "taken"
        if self._similar(name):
            return "too similar"
        return "leaving" if self.find_session(name) is not None else None

    def _similar(self, name: str) -> str:
        lower = name.lower()
        others = (other for other in self._users if other.lower() == lower and other != name)
        return min(others, default="")

    def _code_refusal(
        self, name: str, code: str, registration_enabled: bool
    ) -> Registration | None:
        if code:
            return None if self._invites.get(code) in ("", name) else "bad code"
        enabled = registration_enabled if self._registration is None else self._registration
        return None if enabled else "code needed"

    def replace_user(self, old: UserRecord, new: UserRecord) -> bool:
        """See `Engine.replace_user`."""
        if self._users.get(new.name) == new:
            return True
        if self._users.get(old.name) != old:
            return False
        self._users[old.name] = new
        self._revoke(old.name)
        return True

    def delete_user(
        self, name: str, note: Callable[[SessionRow], bytes] | None, operation: bytes
    ) -> bool:
        """See `Engine.delete_user`."""
        if self._done(operation) is not None:
            return True
        if self._users.pop(name, None) is None:
            return False
        self._revoke(name)
        self._places.pop(name, None)
        session = self.find_session(name)
        if note is not None and session is not None:
            self.send_mail([session.node], note(session), operation + b" mail")
        self._note(operation)
        return True

    def count_accounts(self) -> tuple[int, int]:
        """See `Engine.count_accounts`."""
        return len(self._users), len(self._invites)

    def _revoke(self, username: str) -> None:
        self._tokens = {
            digest: token for digest, token in self._tokens.items() if token.username != username
        }

    def add_invite(self, code: str, username: str) -> Registration:
        """See `Engine.add_invite`."""
        refusal = self._refusal(username) if username else None
        # Who was deleted is gone when the code is used.
        if refusal is None or refusal == "leaving":
            self._invites[code] = username
            return "done"
        return refusal

    def invites(self) -> dict[str, str]:
        """See `Engine.invites`."""
        return dict(self._invites)

    def registration(self) -> bool | None:
        """See `Engine.registration`."""
        return self._registration

    def set_registration(self, enabled: bool) -> None:
        """See `Engine.set_registration`."""
        self._registration = enabled

    def tokens_of(self, username: str) -> list[TokenRecord]:
        """See `Engine.tokens_of`."""
        mine = (token for token in self._tokens.values() if token.username == username)
        return sorted(mine, key=lambda token: (token.expires, token.digest))

    def add_token(self, token: TokenRecord, instead_of: bytes, limit: int) -> None:
        """See `Engine.add_token`."""
        if token.username not in self._users:
            return
        mine = {one.digest for one in self.tokens_of(token.username)}
        if instead_of in mine:
            del self._tokens[instead_of]
        self._tokens.pop(token.digest, None)
        rest = self.tokens_of(token.username)
        for old in rest[: max(0, len(rest) - limit + 1)]:
            del self._tokens[old.digest]
        self._tokens[token.digest] = token

    def note_failures(self, keys: Collection[str]) -> None:
        """See `Engine.note_failures`."""
        now = self._clock()
        self._failures += [(now, key) for key in keys]

    def count_failures(self, keys: Collection[str], window: float) -> dict[str, int]:
        """See `Engine.count_failures`."""
        now = self._clock()
        counts = dict.fromkeys(keys, 0)
        for when, key in self._failures:
            # One that is still to come was counted before the clock was set back.
            if now - window < when <= now and key in counts:
                counts[key] += 1
        return counts
