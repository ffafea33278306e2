"""A question that is open while its game goes from process to process, and what is answered."""

from __future__ import annotations

import signal
from pathlib import Path

import attrs
import pytest
import trio

from pgnet_trio import Client, Packet, Status
from tests.cluster.test_terminals import cluster, servers

__all__ = ["cluster"]

GAME = """\
import attrs

from pgnet_trio import Game, Response


@attrs.frozen
class Pick:
    number: int


@attrs.frozen
class Picked:
    word: str


@attrs.frozen
class Saved:
    words: tuple[str, ...] = ()


class Words(Game):
    persistent = True

    def __init__(self, name, save_string=None):
        self.words = (self.room.saved(Saved) or Saved()).words

    def get_save_string(self):
        return Saved(self.words)

    def handle_game_packet(self, packet):
        return Response("words", {"words": list(self.words)})

    async def run(self):
        while True:
            await self.room.wait_players(1)
            picked = await self.room.ask("ann", Pick(len(self.words)), Picked)
            self.words += (picked.word,)
"""


@attrs.frozen
class Pick:
    """What ann is asked."""

    number: int


@attrs.frozen
class Picked:
    """What she says."""

    word: str


class Trail:
    """Where a client was sent, one address after the other."""

    def __init__(self, client: Client) -> None:
        self._went_on, self._addresses = trio.open_memory_channel[str](10)
        client.on_status = self._note

    def _note(self, status: str) -> None:
        if status.startswith("Goes on at "):
            self._went_on.send_nowait(status.removeprefix("Goes on at ").rstrip("."))

    async def next(self) -> str:
        with trio.fail_after(60):
            return await self._addresses.receive()


@pytest.mark.no_cover
async def test_an_answer_counts_once_whenever_its_game_moves(cluster: str, tmp_path: Path) -> None:
    await trio.Path(tmp_path / "words.py").write_text(GAME, "utf-8")
    async with servers(3, tmp_path, cluster, game="words.py:Words") as table:
        client = Client.remote(address=",".join(table.addresses), username="ann", password="secret")
        offline: list[bool] = []
        client.on_online = offline.append
        trail = Trail(client)
        async with client:
            await client.join_game("table")
            questions = client.questions(Pick)
            here = await table.where()
            question = await anext(questions)
            table.servers[here].process.send_signal(signal.SIGTERM)
            there = await trail.next()
            assert there != here
            assert question.is_open
            assert (await question.answer(Picked("after"))).status == Status.OK
            question = await anext(questions)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(question.answer, Picked("meanwhile"))
                table.servers[there].process.send_signal(signal.SIGTERM)
            await trail.next()
            assert (await anext(questions)).prompt == Pick(2)
            answered = await client.request(Packet("words"))
            assert answered.payload == {"words": ["after", "meanwhile"]}
            for address in (here, there):
                assert await table.servers[address].exit_status() == 0
            assert offline == []
