"""What the players of a game see of its state: snapshots, and the patches between them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pgnet_trio.codec import encode_plain, to_plain
from pgnet_trio.errors import CodecError
from pgnet_trio.patch import diff, diff_columns, growth, is_replacement
from pgnet_trio.protocol.v2.envelopes import encode_patch
from pgnet_trio.protocol.v2.states import MAX_ENVELOPE_SIZE
from pgnet_trio.server.room.stats import SeatView

if TYPE_CHECKING:
    from pgnet_trio.game import Game
    from pgnet_trio.server.counters import GameCounters
    from pgnet_trio.server.room.members import Member

__all__ = ["MAX_STATE_SIZE", "UNWATCHABLE", "Snapshot", "Views"]

MAX_STATE_SIZE = MAX_ENVELOPE_SIZE
"""Bytes of one player's state: what a client takes as one message, with room to spare."""

UNWATCHABLE = "This game can be watched no longer."


class Snapshot:
    """A state as somebody may see it, encoded when it is needed, and once for all who get it.

    Args:
        data: The state as plain data, which nobody changes any more.
        earlier: The previous snapshot; None for the first.
        patch: How this one differs from the previous one: what `diff_columns` returns.

    Attributes:
        data: The state.
        largest_size: The most that the encoded state can take, in bytes. It is the size of an
            earlier snapshot plus the patches since: that is cheaper to know than its own size.
        number: How many snapshots there are up to this one.
    """

    __slots__ = (
        "_column_patch",
        "_earlier",
        "_encoded",
        "_envelope",
        "_patch",
        "data",
        "largest_size",
        "number",
    )

    def __init__(self, data: Any, earlier: Snapshot | None = None, patch: Any = None) -> None:
        self.data = data
        self.number: int = 1 if earlier is None else earlier.number + 1
        self._earlier = earlier
        # The envelope with the column patch, for all whose versions are these numbers.
        self._envelope: bytes | None = None
        # The patch for those who do not know columns; None until one of them needs it.
        self._patch: bytes | None = None
        self._column_patch = None if earlier is None else _encode_patch(patch)
        self._encoded: bytes | None = None
        self.largest_size = 0
        if earlier is not None and self._column_patch:
            more = growth(patch)
            if not more:
                # There are no columns in it, so it is for everybody.
                self._patch = self._column_patch
            self.largest_size = earlier.largest_size + len(self._column_patch) + more
        if not 0 < self.largest_size <= MAX_STATE_SIZE:
            self.largest_size = len(self.encoded)

    @property
    def patch_size(self) -> int:
        """How many bytes the patch from the previous snapshot takes; 0 for none."""
        return len(self._column_patch or b"")

    @property
    def encoded(self) -> bytes:
        """The whole state, in msgpack."""
        if self._encoded is None:
            self._encoded = encode_plain(self.data)
        return self._encoded

    @property
    def change(self) -> bytes:
        """What differs from the previous snapshot, or the whole state, in msgpack."""
        return self._column_patch or self.encoded

    def patch_from(self, earlier: Snapshot, base: int, *, columns: bool) -> bytes | None:
        """Return the envelope with the patch from an earlier snapshot to this one.

        See `pgnet_trio.protocol.v2.server_delivery.Snapshot`.
        """
        # Nearly all whose states have had the game's numbers have also seen each of them.
        is_usual = columns and base + 1 == self.number and earlier is self._earlier
        if is_usual and self._envelope is not None:
            return self._envelope
        patch = self._patch_from(earlier, columns)
        if not patch:
            return patch
        envelope = encode_patch(base, base + 1, patch, columns=columns)
        if is_usual:
            self._envelope = envelope
        return envelope

    def _patch_from(self, earlier: Snapshot, columns: bool) -> bytes | None:
        if earlier is not self._earlier:
            return _patch(earlier, self, columns)
        if columns:
            return self._column_patch
        if self._patch is None:
            self._patch = _patch(earlier, self, columns)
        return self._patch

    def forget_earlier(self) -> None:
        """Let go of the previous snapshot; there is a later one now."""
        self._earlier = self._patch = self._column_patch = self._envelope = None


class Views:
    """Calls a game's `view`, finds what has changed, and shows it to members.

    Args:
        game: The game, whose class overrides `view`.
        counters: What is counted of the games of its class.

    Attributes:
        failure: What `view` raised for spectators; None for nothing. It costs them their view, and
            not the players their game.
    """

    def __init__(self, game: Game, counters: GameCounters) -> None:
        self._counters = counters
        self._game_name = type(game).__name__
        self._view: Callable[..., Any] = game.view
        self._shared = len(inspect.signature(game.view).parameters) == 0
        # By seat; None holds what spectators see, or what everybody sees of a shared view.
        self._snapshots: dict[str | None, Snapshot] = {}
        self.failure: Exception | None = None

    def refresh(self, viewers: Sequence[Member]) -> list[Member]:
        """Look for changes, and show them to the viewers whom they concern.

        Returns:
            The viewers who were shown something.
        """
        shared = self._shared
        common = self._latest_snapshot(None) if shared and viewers else None
        for_spectators: list[Snapshot | None] = []
        shown = []
        for viewer in viewers:
            if shared:
                snapshot = common
            elif viewer.seat is not None:
                snapshot = self._latest_snapshot(viewer.seat)
            else:
                if not for_spectators:
                    for_spectators.append(self._look_as_spectator(None))
                snapshot = for_spectators[0]
            # A viewer who has just entered may have been shown it before the others.
            if snapshot is not viewer.shown and snapshot is not None:
                # As its `show`, without a call for each viewer.
                viewer.shown = snapshot
                viewer.player.show(snapshot)
                shown.append(viewer)
        return shown

    def changes_for(self, viewers: Sequence[Member]) -> Iterator[tuple[str, bytes]]:
        """Yield who was shown something, and what; a shared view once, for nobody by name."""
        for viewer in viewers[:1] if self._shared else viewers:
            seat = None if self._shared else viewer.seat
            yield seat or "", self._snapshots[seat].change

    def snapshot_for(self, viewer: Member) -> Snapshot | None:
        """Return the whole state as a viewer may see it now; None for nothing."""
        return self._latest_snapshot(None if self._shared else viewer.seat)

    @property
    def size(self) -> int:
        """The most that all states together take when they are encoded, in bytes."""
        return sum(snapshot.largest_size for snapshot in self._snapshots.values())

    @property
    def is_shared(self) -> bool:
        """Whether everybody sees the same."""
        return self._shared

    def seen(self) -> tuple[SeatView, ...]:
        """Return what was shown last, by seat."""
        return tuple(
            SeatView(seat, each.number, len(each.encoded), each.data)
            for seat, each in self._snapshots.items()
        )

    def forget(self, viewer: Member) -> None:
        """Forget what a player saw who is gone."""
        if viewer.seat is not None:
            self._snapshots.pop(viewer.seat, None)

    def _look_as_spectator(self, seat: str | None) -> Snapshot | None:
        try:
            return self._latest_snapshot(seat)
        except Exception as error:
            self.failure = error
            return None

    def _latest_snapshot(self, seat: str | None) -> Snapshot | None:
        """Return the latest snapshot, a new one if something has changed; None for nothing."""
        state = self._view() if self._shared else self._view(seat)
        try:
            data = to_plain(state)
        except CodecError as error:
            raise TypeError(
                f"{self._game_name}.view returned something that cannot travel: {error}"
            ) from None
        before = self._snapshots.get(seat)
        if before is None:
            if data is None:
                return None
            snapshot = Snapshot(data)
            self._counters.states += 1
        else:
            patch = diff_columns(before.data, data)
            if patch is None:
                return before
            snapshot = Snapshot(data, before, patch)
            self._counters.patches += 1
            self._counters.patch_bytes += snapshot.patch_size
            before.forget_earlier()
        if snapshot.largest_size > MAX_STATE_SIZE:
            raise TypeError(
                f"{self._game_name}.view returned a state of {snapshot.largest_size} bytes; "
                f"players can get at most {MAX_STATE_SIZE}. Show less of it."
            )
        self._snapshots[seat] = snapshot
        return snapshot


def _patch(earlier: Snapshot, later: Snapshot, columns: bool) -> bytes | None:
    patch = (diff_columns if columns else diff)(earlier.data, later.data)
    return None if patch is None else _encode_patch(patch)


def _encode_patch(patch: Any) -> bytes:
    return b"" if is_replacement(patch) else encode_plain(patch)
