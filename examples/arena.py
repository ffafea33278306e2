"""Arena: everybody runs for the same gems, in real time.

python examples/arena.py                        you against bots, in a window, with no server
python examples/arena.py serve                  hosts it; with --globally for other machines too
python examples/arena.py play ann               in another terminal, as ann
python examples/arena.py play bob 192.0.2.7     from another machine, if that is where it is
python examples/arena.py --headless 5           only bots and no window, for five seconds

The arrow keys or WASD steer. G shows the ghosts: where the server has everybody (red), and where
you are without smoothing (green) and as others see you (blue). Without a server, N changes the
network. The window needs pygame-ce: pip install pygame-ce
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import random
import sys
from typing import TYPE_CHECKING

import attrs
import trio

from pgnet_trio import (
    DEFAULT_PORT,
    Client,
    Game,
    PGNetError,
    Server,
    enable_logging,
)
from pgnet_trio.testing import NETWORKS, Conditions, SimulatedNetwork

if TYPE_CHECKING:
    import pygame

    from pgnet_trio.client import GamePlay
    from pgnet_trio.netcode import Frame

WIDTH, HEIGHT = 800, 600
RADIUS = 16
SPEED = 240  # pixels a second
GEMS = 12
TICKS = 20  # a second
FRAMES = 60  # a second
FAR = Conditions(latency=0.125)  # there and back in 250 ms
COLORS = ["#e4572e", "#17bebb", "#ffc914", "#76b041", "#a06cd5", "#f28fb1", "#5b8def", "#c9b79c"]


@attrs.frozen
class Steer:
    """Where a player wants to go in one tick."""

    x: float
    y: float


@attrs.define
class Runner:
    x: float
    y: float
    color: str
    gems: int = 0


@attrs.frozen
class Field:
    """What everybody sees."""

    runners: dict[str, Runner]
    gems: list[tuple[int, int]]


def step(runner: Runner, steer: Steer, dt: float) -> None:
    """Move a runner: the server does, and each client does in advance.

    The page has the same rule in JavaScript. With + - * / and sqrt, both get the same, to the bit.
    """
    # At most at full speed, whatever the player's program says.
    length = max(1.0, math.sqrt(steer.x * steer.x + steer.y * steer.y))
    runner.x = min(max(runner.x + steer.x / length * SPEED * dt, RADIUS), WIDTH - RADIUS)
    runner.y = min(max(runner.y + steer.y / length * SPEED * dt, RADIUS), HEIGHT - RADIUS)


class Arena(Game):
    update_rate = TICKS
    sync_rate = TICKS
    max_players = 32
    inputs = Steer

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.runners: dict[str, Runner] = {}
        self.gems = [self.pick_place() for _ in range(GEMS)]

    def user_joined(self, username: str) -> None:
        colors = [runner.color for runner in self.runners.values()]
        color = min(COLORS, key=colors.count)
        self.runners[username] = Runner(*self.pick_place(), color)

    def user_left(self, username: str) -> None:
        del self.runners[username]

    def update(self) -> None:
        for name, runner in self.runners.items():
            steer = self.room.next_input(name)
            if steer is not None:
                step(runner, steer, self.room.dt)
            for number, gem in enumerate(self.gems):
                if math.dist(gem, (runner.x, runner.y)) < RADIUS + 6:
                    runner.gems += 1
                    self.gems[number] = self.pick_place()

    def view(self) -> Field:
        return Field(self.runners, self.gems)

    def pick_place(self) -> tuple[int, int]:
        room = self.room.random
        return room.randint(RADIUS, WIDTH - RADIUS), room.randint(RADIUS, HEIGHT - RADIUS)


async def run_bot(client: Client) -> None:
    """Play without a person: run for a gem until it is gone, then for another one."""
    gem = (0, 0)
    async with client:
        await client.join_game("arena")
        async for field in client.states(Field):
            me = field.runners[client.username]
            if gem not in field.gems:
                gem = random.choice(field.gems)
            client.input(Steer((gem[0] - me.x) / 12, (gem[1] - me.y) / 12))


class Window:
    """Shows the arena, and reads the keys; Trio stays the host of the loop.

    Args:
        client: Who plays.
        network: The network to simulate; None where there is a real one.
    """

    def __init__(self, client: Client, network: SimulatedNetwork | None = None) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame

        self.pygame = pygame
        self.client = client
        self.network = network
        self.networks = [("no network", Conditions()), ("far away", FAR), *NETWORKS.items()]
        self.ghosts = False
        self.field = Field({}, [])

    async def run(self) -> None:
        """Play until the window is closed or the game is over."""
        async with self.client, trio.open_nursery() as nursery:
            if self.client.game is None:  # or else this player's program was started again
                await self.client.join_game("arena")
            nursery.start_soon(self.show_frames, nursery.cancel_scope)
            await self.follow()
            nursery.cancel_scope.cancel()
        if self.client.left is not None:
            print(self.client.left.message)

    async def follow(self) -> None:
        async for field in self.client.states(Field):
            self.field = field

    async def show_frames(self, playing: trio.CancelScope) -> None:
        pygame = self.pygame
        pygame.display.init()
        pygame.font.init()
        try:
            screen = pygame.display.set_mode((WIDTH, HEIGHT))
            pygame.display.set_caption(f"Arena: {self.client.username}")
            font = pygame.font.Font(None, 22)
            print("The window is open.", flush=True)
            play: GamePlay[Runner, Steer] = self.client.play(Runner, step=step, at="runners")
            deadline = trio.current_time()
            while self.take_events():
                self.draw(screen, font, play.frame(Steer(*self.find_direction())))
                pygame.display.flip()
                # The deadlines are absolute: a late frame does not make the next ones late.
                deadline = max(deadline + 1 / FRAMES, trio.current_time())
                await trio.sleep_until(deadline)
            playing.cancel()
        finally:
            pygame.quit()

    def take_events(self) -> bool:
        """Return whether the window stays open."""
        pygame = self.pygame
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                return False
            if event.type == pygame.KEYDOWN and event.key == pygame.K_g:
                self.ghosts = not self.ghosts
            elif event.type == pygame.KEYDOWN and event.key == pygame.K_n and self.network:
                self.networks.append(self.networks.pop(0))
                self.network.set_conditions(self.networks[0][1], self.client.username)
        return True

    def find_direction(self) -> tuple[int, int]:
        pygame = self.pygame
        keys = pygame.key.get_pressed()

        def held(*names: int) -> bool:
            return any(keys[name] for name in names)

        right = held(pygame.K_RIGHT, pygame.K_d) - held(pygame.K_LEFT, pygame.K_a)
        down = held(pygame.K_DOWN, pygame.K_s) - held(pygame.K_UP, pygame.K_w)
        return right, down

    def draw(self, screen: pygame.Surface, font: pygame.font.Font, frame: Frame[Runner]) -> None:
        draw = self.pygame.draw
        screen.fill("#1b1d2a")
        for x, y in self.field.gems:
            draw.polygon(screen, "#8ff7e5", [(x, y - 8), (x + 6, y), (x, y + 8), (x - 6, y)])
        for name, runner in frame.things.items():
            place = (runner.x, runner.y)
            draw.circle(screen, runner.color, place, RADIUS)
            if name == self.client.username:
                draw.circle(screen, "white", place, RADIUS + 3, width=2)
            label = font.render(f"{name} {runner.gems}", True, "white")
            box = label.get_rect(center=(runner.x, runner.y - RADIUS - 10))
            screen.blit(label, box.clamp(screen.get_rect()))
        if self.ghosts:
            self.draw_ghosts(screen, frame)
        if self.ghosts or self.network:
            screen.blit(font.render(self.describe_network(), True, "#8b8fa8"), (10, HEIGHT - 24))

    def draw_ghosts(self, screen: pygame.Surface, frame: Frame[Runner]) -> None:
        mine = self.client.username
        ghosts = [("#ff5050", runner) for runner in frame.server.values()]
        if frame.predicted is not None:
            ghosts.append(("#50ff50", frame.predicted))
        if mine in frame.interpolated:
            ghosts.append(("#5080ff", frame.interpolated[mine]))
        for color, runner in ghosts:
            self.pygame.draw.circle(screen, color, (runner.x, runner.y), RADIUS, width=2)

    def describe_network(self) -> str:
        latency = self.client.latency
        trip = "" if latency is None else f"there and back in {latency.round_trip * 1000:.0f} ms"
        return f"N: {self.networks[0][0]}   G: ghosts   {trip}" if self.network else trip


async def play(name: str, address: str | None, bots: int) -> None:
    if address is not None:
        await Window(Client.remote(address=address, username=name)).run()
        return
    # All in this program, so that the window can show what any network does.
    network = SimulatedNetwork()
    server = Server(Arena, port=None)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        for number in range(bots):
            bot = f"bot{number}"
            nursery.start_soon(run_bot, Client(network.connector(server, bot), username=bot))
        await Window(Client(network.connector(server, name), username=name), network).run()
        nursery.cancel_scope.cancel()


async def play_headless(bots: int, seconds: float) -> None:
    async with trio.open_nursery() as nursery:
        server = Server(Arena, port=0)
        address = f"localhost:{await nursery.start(server.serve)}"
        for number in range(bots):
            nursery.start_soon(run_bot, Client.remote(address=address, username=f"bot{number}"))
        async with Client.remote(address=address, username="eve") as eve:
            await eve.join_game("arena", spectate=True)
            await eve.wait_state(Field, lambda field: len(field.runners) == bots)
            count = 0
            with trio.move_on_after(seconds):
                async for _ in eve.states(Field):
                    count += 1
            scores = [f"{name} {it.gems}" for name, it in eve.get_state(Field).runners.items()]
        print(f"{count / seconds:.0f} states a second. Gems: {', '.join(scores)}")
        nursery.cancel_scope.cancel()


async def serve(port: int, listen_globally: bool) -> None:
    # With the same key after a restart, the players' programs come back by themselves.
    server = Server(Arena, port=port, listen_globally=listen_globally, key_file="arena.key")
    async with trio.open_nursery() as nursery:
        actual_port = await nursery.start(server.serve)
        print(f"The arena is open on port {actual_port}. Ctrl-C ends it.", flush=True)


def main() -> None:
    enable_logging(level="WARNING")  # a mistake in the rules shows, with its traceback
    parser = argparse.ArgumentParser(description="Everybody runs for the same gems.")
    parser.add_argument("--bots", type=int, default=4, help="how many, without a server (4)")
    parser.add_argument("--headless", type=float, metavar="SECONDS", help="only bots, no window")
    commands = parser.add_subparsers(dest="command")
    hosting = commands.add_parser("serve", help="host the game")
    hosting.add_argument("--port", type=int, default=DEFAULT_PORT)
    hosting.add_argument("--globally", action="store_true", help="for other machines too")
    joining = commands.add_parser("play", help="play on a server")
    joining.add_argument("name")
    joining.add_argument("address", nargs="?", default="localhost")
    options = parser.parse_args()
    with_window = options.command != "serve" and options.headless is None
    if with_window and importlib.util.find_spec("pygame") is None:
        sys.exit("The window needs pygame-ce, which this installs: pip install pygame-ce")
    problem = None
    try:
        if options.command == "serve":
            trio.run(serve, options.port, options.globally)
        elif options.command == "play":
            trio.run(play, options.name, options.address, 0)
        elif options.headless is not None:
            trio.run(play_headless, options.bots, options.headless)
        else:
            trio.run(play, "you", None, options.bots)
    except* KeyboardInterrupt:
        pass
    except* PGNetError as errors:
        problem = str(find_first(errors))
    sys.exit(problem)


def find_first(error: BaseException) -> BaseException:
    """Give the first error of a group, or of the groups in it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    main()
