"""Numbered requests and pushes over connections that drop: each once, and in order.

``python -m tests.soak.exactly_once`` runs the full forms, the one in virtual time and the one over
real sockets, and prints what they did.
"""

from __future__ import annotations

import argparse
import functools
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import trio

from pgnet_trio import Client, Game, Packet, Response, Server
from pgnet_trio.testing import Record, SimulatedNetwork, hosting, simulate
from tests.kit.hosting import cheap_environment

ROOM_SIZE = 10
WORKERS = 4


class Ledger(Game):
    """Notes every numbered request, and answers each with a numbered push too."""

    requests: defaultdict[str, list[int]]

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.requests = defaultdict(list)

    def handle_game_packet(self, packet: Packet, /) -> Response:
        assert packet.username is not None
        numbers = self.requests[packet.username]
        self.room.push("number", {"number": len(numbers)}, to=packet.username)
        numbers.append(packet.payload["number"])
        return Response("noted", {"number": numbers[-1]})

    def view(self, player: str | None) -> Any:
        return {"noted": 0 if player is None else len(self.requests[player])}


@attrs.frozen
class Report:
    """What happened; times in seconds."""

    clients: int
    requests: int
    drops: int
    early_drops: int
    virtual_time: float
    real_time: float
    trace: str

    def __str__(self) -> str:
        return (
            f"{self.clients} clients: {self.requests} requests carried out and as many pushes "
            f"delivered, each once and in order, across {self.drops} drops, {self.early_drops} of "
            f"them in a handshake; {self.real_time:.1f} s, virtual time {self.virtual_time:.1f} s, "
            f"trace {self.trace}"
        )


async def play(client: Client, count: int, padding: str) -> None:
    """Send numbered requests, and check the answers, the pushes and the last state."""
    numbers = iter(range(count))
    received = []

    async def send() -> None:
        for number in numbers:
            packet = Packet("note", {"number": number, "padding": padding})
            if number % 5 == 4:
                # Nobody waits for these, and they are carried out all the same.
                client.send(packet)
                await trio.sleep(0.01)
            else:
                response = await client.request(packet)
                assert response.payload == {"number": number}

    async with trio.open_nursery() as nursery:
        for _ in range(WORKERS):
            nursery.start_soon(send)
        async for push in client.pushes():
            received.append(push.payload["number"])
            assert received[-1] == len(received) - 1, received[-5:]
            if len(received) == count:
                break
    await client.wait_state(dict, lambda state: state["noted"] == count)


async def run_clients(
    make_client: Callable[[str], Client],
    clients: int,
    requests: int,
    *,
    on_joined: Callable[[], None],
    on_done: Callable[[], None],
    padding: str = "",
) -> None:
    """Run that many clients in rooms of `ROOM_SIZE`, each with its share of the requests.

    Connections must not drop before *on_joined* is called: who has no session yet does not come
    back. *on_done* is called before anybody leaves.
    """
    share = requests // clients
    joined = done = 0
    everybody_joined, everybody_done = trio.Event(), trio.Event()

    async def run_one(number: int) -> None:
        nonlocal joined, done
        async with make_client(f"player{number}") as client:
            await client.join_game(f"room {number // ROOM_SIZE}")
            joined += 1
            if joined == clients:
                on_joined()
                everybody_joined.set()
            await everybody_joined.wait()
            await play(client, share, padding)
            done += 1
            if done == clients:
                on_done()
                everybody_done.set()
            await everybody_done.wait()

    async with trio.open_nursery() as nursery:
        for number in range(clients):
            nursery.start_soon(run_one, number)


def check_games(games: Iterable[Ledger], clients: int, requests: int) -> None:
    """Compare what the games noted with what was sent."""
    noted = {name: found for game in games for name, found in game.requests.items()}
    expected = list(range(requests // clients))
    assert noted == {f"player{number}": expected for number in range(clients)}


def run_simulated(clients: int, requests: int, *, seed: int, drop_rate: float) -> Report:
    """Run clients over a simulated network, whose links break in the middle of frames.

    Once in a while a tenth of them is cut between frames too.
    """
    began = time.perf_counter()

    async def main() -> Report:
        network = SimulatedNetwork(seed, latency=0.02, jitter=0.02)
        early = 0
        answers: defaultdict[str, int] = defaultdict(int)

        def count(record: Record, frame: bytes) -> None:
            nonlocal early
            link, direction = record.where[:-3], record.where[-2:]
            if record.what == "receive" and direction == "<-":
                answers[link] += 1
            # The second thing that a server says is that the client is let in.
            if record.what == "cut":
                link = record.where
            early += record.what in ("break", "cut") and answers[link] < 2

        network.on_record = count
        async with hosting(Ledger, network=network, resume_grace=600.0) as server:

            async def cut() -> None:
                while True:
                    await trio.sleep(5)
                    network.drop(share=0.1)

            def worsen() -> None:
                network.conditions.drop_rate = drop_rate
                nursery.start_soon(cut)

            def check() -> None:
                network.conditions.drop_rate = 0.0
                nursery.cancel_scope.cancel()
                check_games(server.games.values(), clients, requests)

            async with trio.open_nursery() as nursery, trio.open_nursery() as players:
                players.start_soon(
                    functools.partial(
                        run_clients,
                        lambda name: server.client(name, reconnect_for=None),
                        clients,
                        requests,
                        on_joined=worsen,
                        on_done=check,
                    )
                )
        return Report(
            clients,
            requests,
            network.dropped,
            early,
            trio.current_time(),
            time.perf_counter() - began,
            network.trace_hash,
        )

    return simulate(main, seed=seed)


class CuttingProxy:
    """Passes bytes on between clients and a server, and cuts each connection somewhere.

    Args:
        port: The server's.
        random: Says where.
        mean: How many bytes a connection carries on average before it is cut.
    """

    def __init__(self, port: int, random: random.Random, mean: int) -> None:
        self.port = 0
        self.cutting = False
        self.drops = 0
        self.early = 0
        self._server_port = port
        self._random = random
        self._mean = mean

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Pass on until cancelled."""
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._carry, [listener])

    async def _carry(self, client: trio.SocketStream) -> None:
        carried = 0
        limit = self._random.expovariate(1 / self._mean)

        async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
            nonlocal carried
            try:
                async for data in source:
                    if self.cutting and carried + len(data) > limit:
                        # In the middle of whatever this is.
                        await sink.send_all(data[: max(0, int(limit) - carried)])
                        self.drops += 1
                        self.early += carried < HANDSHAKE_SIZE
                        nursery.cancel_scope.cancel()
                        return
                    carried += len(data)
                    await sink.send_all(data)
                await sink.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                nursery.cancel_scope.cancel()

        server = await trio.open_tcp_stream("127.0.0.1", self._server_port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(pump, client, server)
            nursery.start_soon(pump, server, client)


HANDSHAKE_SIZE = 700
"""Bytes that the handshakes of WebSocket and Noise take, with the log-in or resume."""


async def run_over_sockets(clients: int, requests: int, *, seed: int, mean: int) -> Report:
    """Run clients over real sockets, through a proxy that cuts."""
    began = time.perf_counter()
    games: list[Ledger] = []

    def make_game(name: str, save_string: str | None = None) -> Ledger:
        games.append(Ledger(name))
        return games[-1]

    server = Server(
        make_game,
        port=0,
        environment=cheap_environment(),
        resume_grace=600.0,
        max_connections_per_address=None,
        max_logins_per_address=None,
    )
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve)
        proxy = CuttingProxy(port, random.Random(seed), mean)
        await nursery.start(proxy.serve)

        def make_client(name: str) -> Client:
            address = f"127.0.0.1:{proxy.port}"
            return Client.remote(address=address, username=name, reconnect_for=None)

        def begin() -> None:
            proxy.cutting = True

        def check() -> None:
            proxy.cutting = False
            check_games(games, clients, requests)

        await run_clients(
            make_client, clients, requests, on_joined=begin, on_done=check, padding="." * 200
        )
        server.shutdown()
        nursery.cancel_scope.cancel()
    seconds = time.perf_counter() - began
    return Report(clients, requests, proxy.drops, proxy.early, 0.0, seconds, "none")


def main() -> None:
    """Run the full forms."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.exactly_once", description=__doc__)
    parser.add_argument("form", choices=["simulated", "sockets", "both"], default="both", nargs="?")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.form != "sockets":
        print(run_simulated(200, 50_000, seed=arguments.seed, drop_rate=0.1))
    if arguments.form != "simulated":
        run = functools.partial(run_over_sockets, 50, 10_000, seed=arguments.seed, mean=6000)
        print(trio.run(run))


if __name__ == "__main__":
    main()
