"""What an engine does with its tables, each method in one transaction; `Engine` says what for.

The methods are here without Trio, threads or connections: `MemoryTables` and `SQLTables` carry them
out, and the engines decide where and when. A method that raises changes nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from pgnet_trio.server.cluster.community_tables import CommunityTables

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.records import (
        Admission,
        Admitted,
        Arrival,
        Claim,
        Entered,
        HandedOver,
        Listing,
        Lookup,
        Mail,
        Moment,
        MovingSession,
        NewRoom,
        Node,
        NotAdmitted,
        Registration,
        RoomSave,
        SessionRow,
        Survey,
    )
    from pgnet_trio.storage.interface import TokenRecord, UserRecord

__all__ = ["Renewal", "Tables"]

Renewal = tuple[int, bool, Mapping[str, int] | None, float]
"""A node's id, whether it is being drained, its rooms where its lease may have lapsed, and the time
by the engine's clock."""


class Tables(CommunityTables):
    """All that the servers of a cluster share; what a server alone has too is in its base."""

    # Nodes

    @abstractmethod
    def register(
        self,
        name: str,
        address: str,
        version: str,
        identity: bytes,
        load: float,
        operation: bytes,
    ) -> Renewal:
        """See `Engine.register`."""

    @abstractmethod
    def renew(self, node: int, load: float, lag: float, *, list_rooms: bool) -> Renewal:
        """See `Engine.renew`."""

    @abstractmethod
    def resign(self, node: int, operation: bytes) -> list[Mail]:
        """See `Engine.resign`."""

    @abstractmethod
    def nodes(self) -> list[Node]:
        """See `Engine.nodes`."""

    @abstractmethod
    def survey(self) -> Survey:
        """See `Engine.survey`."""

    @abstractmethod
    def ask_to_drain(self, node: int) -> None:
        """See `Engine.ask_to_drain`."""

    @abstractmethod
    def tidy(self) -> None:
        """See `Engine.tidy`."""

    # Queues

    @abstractmethod
    def queue_home(self, queue: str) -> Node | None:
        """See `Engine.queue_home`."""

    @abstractmethod
    def claim_queue(self, queue: str, to: int) -> Node:
        """See `Engine.claim_queue`."""

    # Rooms

    @abstractmethod
    def claim(
        self, node: int, name: str, password: str | None, new: NewRoom | None, operation: bytes
    ) -> Claim:
        """See `Engine.claim`."""

    @abstractmethod
    def save(self, saves: Sequence[RoomSave]) -> frozenset[str]:
        """See `Engine.save`."""

    @abstractmethod
    def give_back(self, save: RoomSave, operation: bytes) -> None:
        """See `Engine.give_back`."""

    @abstractmethod
    def end(self, name: str, epoch: int, operation: bytes) -> None:
        """See `Engine.end`."""

    @abstractmethod
    def hand_over(
        self,
        save: RoomSave,
        to: int,
        packed: bytes,
        sessions: Sequence[MovingSession],
        operation: bytes,
    ) -> HandedOver:
        """See `Engine.hand_over`."""

    @abstractmethod
    def next_arrival(self, node: int, after: int) -> Arrival | None:
        """See `Engine.next_arrival`."""

    @abstractmethod
    def accept(self, name: str, epoch: int, told: bytes, operation: bytes) -> None:
        """See `Engine.accept`."""

    @abstractmethod
    def take_back(self, node: int, name: str, operation: bytes) -> int:
        """See `Engine.take_back`."""

    @abstractmethod
    def directory(self, after: str, limit: int) -> list[Listing]:
        """See `Engine.directory`."""

    @abstractmethod
    def is_played(self, name: str) -> bool:
        """See `Engine.is_played`."""

    # Users who are there, and mail

    @abstractmethod
    def enter(
        self,
        node: int,
        username: str,
        token: bytes,
        operation: bytes,
        asked: Moment | None = None,
    ) -> Entered:
        """See `Engine.enter`."""

    @abstractmethod
    def leave(self, username: str, epoch: int) -> None:
        """See `Engine.leave`."""

    @abstractmethod
    def pass_session(self, session: MovingSession, to: int, operation: bytes) -> int:
        """See `Engine.pass_session`."""

    @abstractmethod
    def passed_sessions(self, node: int, after: int, limit: int) -> list[SessionRow]:
        """See `Engine.passed_sessions`."""

    @abstractmethod
    def accept_session(self, username: str, epoch: int, operation: bytes) -> None:
        """See `Engine.accept_session`."""

    @abstractmethod
    def find_session(self, username: str) -> SessionRow | None:
        """See `Engine.find_session`."""

    @abstractmethod
    def online(self, after: str, limit: int) -> list[SessionRow]:
        """See `Engine.online`."""

    @abstractmethod
    def send_mail(self, to: Collection[int], body: bytes, operation: bytes) -> frozenset[int]:
        """See `Engine.send_mail`."""

    @abstractmethod
    def read_mail(self, node: int, done: Collection[int], limit: int) -> list[Mail]:
        """See `Engine.read_mail`."""

    # Accounts

    @abstractmethod
    def look_up(
        self, name: str, code: str, keys: Mapping[str, float], registration_enabled: bool
    ) -> Lookup:
        """See `Engine.look_up`."""

    @abstractmethod
    def admit(self, admission: Admission, limit: int, operation: bytes) -> Admitted | NotAdmitted:
        """See `Engine.admit`."""

    @abstractmethod
    def find_user(self, name: str) -> UserRecord | None:
        """See `Engine.find_user`."""

    @abstractmethod
    def usernames(self, after: str, limit: int) -> list[str]:
        """See `Engine.usernames`."""

    @abstractmethod
    def register_user(
        self,
        user: UserRecord,
        code: str,
        registration_enabled: bool,
        counted: Collection[str],
        operation: bytes,
    ) -> Registration:
        """See `Engine.register_user`."""

    @abstractmethod
    def replace_user(self, old: UserRecord, new: UserRecord) -> bool:
        """See `Engine.replace_user`."""

    @abstractmethod
    def delete_user(
        self, name: str, note: Callable[[SessionRow], bytes] | None, operation: bytes
    ) -> bool:
        """See `Engine.delete_user`."""

    @abstractmethod
    def count_accounts(self) -> tuple[int, int]:
        """See `Engine.count_accounts`."""

    @abstractmethod
    def add_invite(self, code: str, username: str) -> Registration:
        """See `Engine.add_invite`."""

    @abstractmethod
    def invites(self) -> dict[str, str]:
        """See `Engine.invites`."""

    @abstractmethod
    def registration(self) -> bool | None:
        """See `Engine.registration`."""

    @abstractmethod
    def set_registration(self, enabled: bool) -> None:
        """See `Engine.set_registration`."""

    @abstractmethod
    def tokens_of(self, username: str) -> list[TokenRecord]:
        """See `Engine.tokens_of`."""

    @abstractmethod
    def add_token(self, token: TokenRecord, instead_of: bytes, limit: int) -> None:
        """See `Engine.add_token`."""

    @abstractmethod
    def note_failures(self, keys: Collection[str]) -> None:
        """See `Engine.note_failures`."""

    @abstractmethod
    def count_failures(self, keys: Collection[str], window: float) -> dict[str, int]:
        """See `Engine.count_failures`."""
