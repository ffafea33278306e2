"""The accounts of an engine in memory, and which changes were made; pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from pgnet_trio.server.cluster.account_tables import AccountTables
from pgnet_trio.server.cluster.memory_community import MemoryCommunity
from pgnet_trio.server.cluster.rules import MAX_FAILURES_KEPT

if TYPE_CHECKING:
    from pgnet_trio.storage.interface import TokenRecord, UserRecord

__all__ = ["MemoryAccounts"]


class MemoryAccounts(MemoryCommunity, AccountTables):
    """Users, invite codes, tokens and failed log-ins, in dictionaries.

    Args:
        clock: The engine's clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._operations: dict[bytes, tuple[float, tuple[Any, ...]]] = {}
        self._users: dict[str, UserRecord] = {}
        self._invites: dict[str, str] = {}
        self._registration: bool | None = None
        self._tokens: dict[bytes, TokenRecord] = {}
        self._failures: list[tuple[float, str]] = []
        self._known: dict[str, list[str]] = {}
        # When the session of a user was asked for, at the earliest.
        self._asked: dict[str, float] = {}

    def _done(self, operation: bytes) -> tuple[Any, ...] | None:
        return self._operations.get(operation, (0, None))[1]

    def _note(self, operation: bytes, *result: Any) -> None:
        self._operations[operation] = self._clock(), result

    def _forget_before(self, operations: float, failures: float) -> None:
        self._operations = {
            key: value for key, value in self._operations.items() if value[0] > operations
        }
        kept = [event for event in self._failures if event[0] > failures]
        self._failures = kept[-MAX_FAILURES_KEPT:]

    def _lock_names(self) -> None:
        """Do nothing: there is one transaction at a time."""

    def _lock_user(self, name: str) -> None:
        """Do nothing, for the same reason."""

    # Users

    def find_user(self, name: str) -> UserRecord | None:
        """See `Engine.find_user`."""
        return self._users.get(name)

    def usernames(self, after: str, limit: int) -> list[str]:
        """See `Engine.usernames`."""
        return sorted(name for name in self._users if name > after)[:limit]

    def count_accounts(self) -> tuple[int, int]:
        """See `Engine.count_accounts`."""
        return len(self._users), len(self._invites)

    def _similar(self, name: str) -> str:
        lower = name.lower()
        others = (other for other in self._users if other.lower() == lower and other != name)
        return min(others, default="")

    def _write_user(self, user: UserRecord) -> None:
        self._users[user.name] = user

    def _remove_user(self, name: str) -> bool:
        self._remove_tokens(name)
        self._known.pop(name, None)
        self._asked.pop(name, None)
        return self._users.pop(name, None) is not None

    def _places(self, name: str) -> list[str]:
        return self._known.get(name, [])

    def _write_place(self, name: str, place: str, gone: Sequence[str]) -> None:
        others = (other for other in self._places(name) if other not in (place, *gone))
        self._known[name] = [*others, place]

    # Invite codes, and the switch

    def invites(self) -> dict[str, str]:
        """See `Engine.invites`."""
        return dict(self._invites)

    def _code_is_for(self, code: str) -> str | None:
        return self._invites.get(code)

    def _write_code(self, code: str, username: str) -> None:
        self._invites[code] = username

    def _remove_code(self, code: str) -> None:
        del self._invites[code]

    def registration(self) -> bool | None:
        """See `Engine.registration`."""
        return self._registration

    def set_registration(self, enabled: bool) -> None:
        """See `Engine.set_registration`."""
        self._registration = enabled

    # Tokens, and failures

    def tokens_of(self, username: str) -> list[TokenRecord]:
        """See `Engine.tokens_of`."""
        mine = (token for token in self._tokens.values() if token.username == username)
        return sorted(mine, key=lambda token: (token.expires, token.digest))

    def _write_token(self, token: TokenRecord, gone: Sequence[bytes]) -> None:
        for digest in gone:
            del self._tokens[digest]
        self._tokens[token.digest] = token

    def _remove_tokens(self, name: str) -> None:
        self._tokens = {
            digest: token for digest, token in self._tokens.items() if token.username != name
        }

    def note_failures(self, keys: Collection[str]) -> None:
        """See `Engine.note_failures`."""
        now = self._clock()
        self._failures += [(now, key) for key in keys]

    def _count(self, key: str, window: float) -> int:
        now = self._clock()
        return sum(now - window < when <= now and key == each for when, each in self._failures)
