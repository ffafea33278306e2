"""Games that misbehave, each at one table while somebody honest plays at another one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from tests.attacks.honest import TABLE, Played, play
from tests.attacks.misbehaving import KINDS, Kind
from tests.attacks.peer import OK, ConnectionEnded, Peer, Refused, SessionOver
from tests.attacks.processes import (
    ORDERLY_END,
    End,
    Place,
    ServerProcess,
    StartFailed,
    running_server,
)

__all__ = ["GameRow", "end", "join", "try_game", "try_games", "user"]

AUTOSAVE = "0.5"
STEP = 1.0
"""Seconds that somebody at the table that misbehaves waits for an answer."""

LOG_IN_TIMEOUT = 5.0
SET_UP_TIMEOUT = 20.0
"""Seconds for a log-in before anything was attacked: the machine may be busy."""

UNTIL_NEXT_TRY = 0.25
"""Seconds until the next log-in of somebody whom the server has told to try again soon."""


LONGEST_PLAY = 60.0

MUCH_LOG = 64 * 1024
"""Bytes of log, more than which one game and those who join it must not write in some seconds."""

ENDS = (ConnectionEnded, SessionOver, Refused, trio.TooSlowError)


@attrs.frozen
class GameRow:
    """What became of a server with one kind of game.

    Attributes:
        lived: Whether the process was there until it was told to end, both times.
        played: How somebody at another table was served.
        directory: Whether the list of games could be had.
        newcomer: Whether somebody could log in meanwhile.
        end: How SIGTERM ended it.
        answered: What the other table counted at last.
        found: What it had counted when the server was started again.
        again: What went wrong at that; empty for nothing.
        sessions_ended: Why sessions ended of those who play it, watch it or look at the list.
        left_over: Whether a table stayed whose creation was refused.
        ended_by_watching: Whether a stranger ended the table by looking at it.
        log_size: Bytes of log, of both runs.
        said: The last line of its log where it did not live.
    """

    kind: str
    item: int
    lived: bool
    played: Played
    directory: bool
    newcomer: bool
    end: End
    answered: int
    found: int | None
    again: str
    sessions_ended: list[str]
    left_over: bool
    ended_by_watching: bool
    log_size: int
    said: str = ""

    @property
    def served(self) -> bool:
        """Whether others could play, look around and log in."""
        return self.played.served and self.directory and self.newcomer

    @property
    def kept(self) -> bool:
        """Whether what others had played was there after a restart."""
        return self.found is not None and self.found >= self.answered

    @property
    def well(self) -> bool:
        """Whether all is as it should be."""
        return (
            self.lived
            and self.served
            and self.kept
            and self.end.orderly
            and not (self.again or self.left_over or self.ended_by_watching)
            and not self.sessions_ended
            and self.log_size < MUCH_LOG
        )

    def as_json(self) -> dict[str, Any]:
        """The row as plain data."""
        verdicts = {"served": self.served, "kept": self.kept, "well": self.well}
        return {**attrs.asdict(self), "orderly": self.end.orderly, **verdicts}

    @staticmethod
    def head() -> list[str]:
        """The heads of the columns."""
        return [
            "kind", "item", "lived", "others served", "p99 ms", "directory", "log-in",
            "SIGTERM", "others' saves", "start again", "table",
            "sessions ended", "log KiB",
        ]  # fmt: skip

    @staticmethod
    def summary(rows: Sequence[GameRow]) -> str:
        """How many rows show what, in words."""
        counts = {
            "ended the server": [not row.lived for row in rows],
            "kept others from playing, the list or a log-in": [
                row.lived and not row.served for row in rows
            ],
            "lost others' saves": [not row.kept for row in rows],
            "did not let SIGTERM end a server that lived": [
                row.lived and not row.end.orderly for row in rows
            ],
            "spoiled the next run": [bool(row.again) for row in rows],
            "left a table behind, or lost one to a stranger": [
                row.left_over or row.ended_by_watching for row in rows
            ],
            "ended sessions": [bool(row.sessions_ended) for row in rows],
            f"wrote {MUCH_LOG // 1024} KiB of log and more": [
                row.log_size >= MUCH_LOG for row in rows
            ],
        }
        return "; ".join(f"{sum(found)} {what}" for what, found in counts.items()) + "."

    def cells(self) -> list[str]:
        """The row as text."""
        lost = "" if self.found is None else f" {self.answered - self.found} of {self.answered}"
        return [
            self.kind,
            str(self.item or ""),
            _yes(self.lived),
            f"{self.played.answered}/{self.played.asked}" + " ENDED" * bool(self.played.ended),
            f"{self.played.p99:,.0f}",
            _yes(self.directory),
            _yes(self.newcomer),
            f"{self.end.how}, {self.end.seconds:.1f} s" + _status(self.end.status),
            "kept" if self.kept else f"LOST{lost}",
            f"NO: {self.again[:60]}" if self.again else "yes",
            "STAYS" if self.left_over else "ENDED BY A LOOK" if self.ended_by_watching else "",
            str(len(self.sessions_ended) or ""),
            f"{self.log_size / 1024:,.0f}",
        ]


def _yes(value: bool) -> str:
    return "yes" if value else "NO"


def _status(status: int | None) -> str:
    return "" if status in (0, None) else f", status {status}"


async def _log_in(peer: Peer) -> None:
    """Log in, as soon as the server is no longer busy with the passwords of others."""
    while True:
        try:
            return await peer.log_in()
        except SessionOver as busy:
            if "try again soon" not in str(busy):
                raise
        await trio.sleep(UNTIL_NEXT_TRY)


@contextlib.asynccontextmanager
async def user(port: int, name: str, timeout: float = SET_UP_TIMEOUT) -> AsyncIterator[Peer]:
    """Log somebody in for the time of the block."""
    peer = Peer(port, name)
    try:
        with trio.fail_after(timeout):
            await _log_in(peer)
        yield peer
    finally:
        peer.drop()


async def end(server: ServerProcess, *peers: Peer, patience: float = ORDERLY_END) -> End:
    """End a server while these are connected, who hang up when it says goodbye."""

    async def hang_up_at_the_end(peer: Peer) -> None:
        with contextlib.suppress(*ENDS):
            while True:
                await peer.receive()
        peer.drop()

    async with trio.open_nursery() as nursery:
        for peer in peers:
            nursery.start_soon(hang_up_at_the_end, peer)
        result = await server.end(patience)
        nursery.cancel_scope.cancel()
    return result


async def join(peer: Peer, name: str, **options: Any) -> bool:
    """Join a game, or make it; returns whether that went well."""
    answer = await peer.request("__pgnet__.join_game", {"name": name, **options})
    return answer.status == OK


async def _torment(
    server: ServerProcess,
    kind: Kind,
    sessions_ended: list[str],
    *,
    turn: trio.Lock | None = None,
    name: str = "bad1",
    insist: bool = False,
) -> bool:
    """Give a game of that kind all occasions to misbehave; each takes `STEP` at most.

    Args:
        server: Where.
        kind: The kind.
        sessions_ended: Why sessions end is noted here.
        turn: Whoever holds it keeps the occasions waiting.
        name: Who plays it.
        insist: Whether to try and join again and again, too.

    Returns:
        Whether there is a table although its creation was refused.
    """
    peer = Peer(server.port, name)
    turn = turn or trio.Lock()
    left_over = False

    async def try_to(what: Callable[[], Awaitable[Any]], seconds: float = STEP) -> None:
        try:
            async with turn:
                with trio.fail_after(seconds):
                    await what()
            return
        except SessionOver as over:
            sessions_ended.append(str(over))
        except ENDS:
            pass
        # Cancelled, it may have sent something in part.
        peer.drop()

    async def create() -> None:
        for number in range(1, kind.tables):
            more = {"name": f"bad {number}", "options": kind.options}
            await peer.request("__pgnet__.create_game", more)
            await peer.request("__pgnet__.leave_game")
        payload = {"name": "bad", "options": kind.options}
        answer = await peer.request("__pgnet__.create_game", payload)
        if answer.status != OK:
            nonlocal left_over
            games = (await peer.request("__pgnet__.game_dir")).payload.get("games", {})
            # Whoever refuses a player may have been there before.
            left_over = "bad" in games and not insist
            await join(peer, "bad")

    async def act() -> None:
        await peer.request("act")

    async def act_typed() -> None:
        await peer.request("Act", {"number": 1})

    async def drop_and_resume() -> None:
        peer.drop()
        if not await peer.resume():
            raise ConnectionEnded("the session is gone")

    async def answer_question() -> None:
        if not kind.asks:
            return
        # Question 1 is the first of a server.
        peer.last_request += 1
        await peer.say([15, peer.last_request, 1, "Act", {"number": 1}])
        await peer.receive()

    async def leave_and_join() -> None:
        await peer.request("__pgnet__.leave_game")
        await join(peer, "bad")

    async def join_again_and_again() -> None:
        while insist:
            if await join(peer, "bad"):
                await peer.request("__pgnet__.leave_game")

    try:
        await try_to(peer.log_in, LOG_IN_TIMEOUT)
        for step in (
            create,
            answer_question,
            drop_and_resume,
            act,
            act_typed,
            leave_and_join,
            join_again_and_again,
        ):
            await try_to(step, STEP * (1 + kind.tables / 10))
            if peer.token and not peer.connected:
                await try_to(peer.come_back, LOG_IN_TIMEOUT)
    finally:
        peer.drop()
    return left_over


async def _look_around(
    server: ServerProcess, sessions_ended: list[str], turn: trio.Lock
) -> tuple[bool, bool, bool]:
    """Have a newcomer log in, look for games, and watch one that nobody leaves meanwhile.

    Returns:
        Whether the first worked, whether the second did, and whether the last ended the game.
    """
    newcomer = directory = ended = False
    try:
        async with user(server.port, "stranger", LOG_IN_TIMEOUT) as peer:
            newcomer = True
            with trio.fail_after(LOG_IN_TIMEOUT):
                for _ in range(2):
                    answer = await peer.request("__pgnet__.game_dir")
                    directory = TABLE in answer.payload.get("games", ())
            async with turn:
                with trio.move_on_after(STEP):
                    answer = await peer.request("__pgnet__.game_dir")
                    if "bad" in answer.payload.get("games", ()):
                        await join(peer, "bad", spectate=True)
                        answer = await peer.request("__pgnet__.game_dir")
                        ended = "bad" not in answer.payload.get("games", ())
    except SessionOver as over:
        sessions_ended.append(str(over))
    except ENDS:
        pass
    return newcomer, directory, ended


async def try_game(
    where: Place,
    kind: Kind,
    *,
    seconds: float,
    save_file: Path,
    patience: float = ORDERLY_END,
    insist: bool = True,
) -> GameRow:
    """Host a game of that kind for so many seconds; then once more, to see what was kept.

    Args:
        where: Where servers run.
        kind: The kind.
        seconds: How long somebody honest plays at least; else until all occasions are over.
        save_file: The save file, which is not there yet.
        patience: Seconds that each signal to end it gets.
        insist: Whether the game gets its occasions the second time, too.
    """
    played = Played(0, 0, 0, 0, 0, 0, "never began")
    newcomer = directory = left_over = ended_by_watching = False
    sessions_ended: list[str] = []
    options = ("--autosave-interval", AUTOSAVE)
    async with running_server(where, *options, kind=kind.name, save_file=save_file) as server:
        async with user(server.port, "honest") as honest:
            await join(honest, TABLE)

            async def play_on() -> None:
                nonlocal played
                played = await play(honest, LONGEST_PLAY, until=over)

            async def look_around() -> None:
                nonlocal newcomer, directory, ended_by_watching
                await trio.sleep(seconds / 2)
                newcomer, directory, ended_by_watching = await _look_around(
                    server, sessions_ended, turn
                )

            async def torment() -> None:
                nonlocal left_over
                left_over = await _torment(server, kind, sessions_ended, turn=turn)

            over, turn = trio.Event(), trio.Lock()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(play_on)
                async with trio.open_nursery() as mischief:
                    mischief.start_soon(trio.sleep, seconds)
                    mischief.start_soon(torment)
                    mischief.start_soon(look_around)
                over.set()
            # A process that is on its way out is not there any more.
            lived = await server.wait(3 * STEP if played.ended else 0) is None
            ending = await end(server, honest, patience=patience)
            lived &= not (played.ended and ending.how == "one signal" and ending.status != 0)
        log_size, said = server.log_size, "" if lived else _last_line(server)
    found, again = None, ""
    try:
        async with running_server(where, *options, kind=kind.name, save_file=save_file) as server:
            async with user(server.port, "honest") as honest:
                with trio.fail_after(LOG_IN_TIMEOUT):
                    await join(honest, TABLE)
                    found = (await honest.request("look")).payload.get("total", 0)
                if insist and not kind.blocks:
                    with trio.move_on_after(LOG_IN_TIMEOUT):
                        await _torment(server, kind, sessions_ended, name="bad2", insist=True)
                    with trio.fail_after(LOG_IN_TIMEOUT):
                        await honest.request("look")
            log_size += server.log_size
    except StartFailed as error:
        again = f"did not start: {_last_words(str(error))}"
    except ENDS as error:
        again = f"{type(error).__name__} {error}"
    return GameRow(
        kind=kind.name,
        item=kind.item,
        lived=lived,
        played=played,
        directory=directory,
        newcomer=newcomer,
        end=ending,
        answered=played.total,
        found=found,
        again=again,
        sessions_ended=sessions_ended,
        left_over=left_over,
        ended_by_watching=ended_by_watching,
        log_size=log_size,
        said=said,
    )


def _last_line(server: ServerProcess) -> str:
    return _last_words(server.log_text)


def _last_words(text: str) -> str:
    return text.strip().rpartition("\n")[2][-200:]


async def try_games(
    where: Place, names: Iterable[str], *, seconds: float
) -> AsyncIterator[GameRow]:
    """Try kinds one after the other."""
    for number, name in enumerate(names):
        save_file = where.folder / f"games{number}.sqlite"
        yield await try_game(where, KINDS[name], seconds=seconds, save_file=save_file)
