"""Arena: everybody runs for the same gems, in real time.

python examples/arena.py                        you against bots, in a window, with no server
python examples/arena.py serve                  hosts it; with --globally for other machines too
python examples/arena.py play ann               in another terminal, as ann
python examples/arena.py play bob 192.0.2.7     from another machine, if that is where it is
python examples/arena.py --headless 5           only bots and no window, for five seconds

The arrow keys or WASD steer. The window needs pygame-ce: pip install pygame-ce
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
    on,
)

if TYPE_CHECKING:
    import pygame

WIDTH, HEIGHT = 800, 600
RADIUS = 16
SPEED = 240  # pixels a second
GEMS = 12
TICKS = 20  # a second
FRAMES = 60  # a second
COLORS = ["#e4572e", "#17bebb", "#ffc914", "#76b041", "#a06cd5", "#f28fb1", "#5b8def", "#c9b79c"]


@attrs.frozen
class Steer:
    """Where a player wants to go from now on."""

    x: float
    y: float


@attrs.define
class Runner:
    x: int
    y: int
    color: str
    gems: int = 0


@attrs.frozen
class Field:
    """What everybody sees."""

    runners: dict[str, Runner]
    gems: list[tuple[int, int]]


class Arena(Game):
    update_rate = TICKS
    sync_rate = TICKS
    max_players = 32

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.runners: dict[str, Runner] = {}
        self.directions: dict[str, tuple[float, float]] = {}
        self.gems = [self.pick_place() for _ in range(GEMS)]

    def user_joined(self, username: str) -> None:
        colors = [runner.color for runner in self.runners.values()]
        color = min(COLORS, key=colors.count)
        self.runners[username] = Runner(*self.pick_place(), color)
        self.directions[username] = (0, 0)

    def user_left(self, username: str) -> None:
        del self.runners[username], self.directions[username]

    def player_dropped(self, username: str) -> None:
        self.directions[username] = (0, 0)

    @on(Steer)
    def steer(self, player: str, steer: Steer) -> None:
        # At most at full speed, whatever the player's program says.
        length = max(1.0, math.hypot(steer.x, steer.y))
        self.directions[player] = (steer.x / length, steer.y / length)

    def update(self) -> None:
        for name, runner in self.runners.items():
            x, y = self.directions[name]
            runner.x = round(min(max(runner.x + x * SPEED / TICKS, RADIUS), WIDTH - RADIUS))
            runner.y = round(min(max(runner.y + y * SPEED / TICKS, RADIUS), HEIGHT - RADIUS))
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
            client.send(Steer((gem[0] - me.x) / 12, (gem[1] - me.y) / 12))


class Window:
    """Shows the arena, and reads the keys; Trio stays the host of the loop."""

    def __init__(self, client: Client) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame

        self.pygame = pygame
        self.client = client
        # Between two states the runners are drawn on the way from the one before to the latest.
        self.before = self.latest = Field({}, [])
        self.arrived = 0.0

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
            self.before, self.latest, self.arrived = self.latest, field, trio.current_time()

    async def show_frames(self, playing: trio.CancelScope) -> None:
        pygame = self.pygame
        pygame.display.init()
        pygame.font.init()
        try:
            screen = pygame.display.set_mode((WIDTH, HEIGHT))
            pygame.display.set_caption(f"Arena: {self.client.username}")
            font = pygame.font.Font(None, 22)
            print("The window is open.", flush=True)
            direction = (0, 0)
            deadline = trio.current_time()
            while not any(event.type == pygame.QUIT for event in pygame.event.get()):
                if self.find_direction() != direction:
                    direction = self.find_direction()
                    self.client.send(Steer(*direction))
                self.draw(screen, font)
                pygame.display.flip()
                # The deadlines are absolute: a late frame does not make the next ones late.
                deadline = max(deadline + 1 / FRAMES, trio.current_time())
                await trio.sleep_until(deadline)
            playing.cancel()
        finally:
            pygame.quit()

    def find_direction(self) -> tuple[int, int]:
        pygame = self.pygame
        keys = pygame.key.get_pressed()

        def held(*names: int) -> bool:
            return any(keys[name] for name in names)

        right = held(pygame.K_RIGHT, pygame.K_d) - held(pygame.K_LEFT, pygame.K_a)
        down = held(pygame.K_DOWN, pygame.K_s) - held(pygame.K_UP, pygame.K_w)
        return right, down

    def draw(self, screen: pygame.Surface, font: pygame.font.Font) -> None:
        draw = self.pygame.draw
        screen.fill("#1b1d2a")
        for x, y in self.latest.gems:
            draw.polygon(screen, "#8ff7e5", [(x, y - 8), (x + 6, y), (x, y + 8), (x - 6, y)])
        way = min(1.0, (trio.current_time() - self.arrived) * TICKS)
        for name, runner in self.latest.runners.items():
            before = self.before.runners.get(name, runner)
            across = before.x + (runner.x - before.x) * way
            down = before.y + (runner.y - before.y) * way
            draw.circle(screen, runner.color, (across, down), RADIUS)
            if name == self.client.username:
                draw.circle(screen, "white", (across, down), RADIUS + 3, width=2)
            label = font.render(f"{name} {runner.gems}", True, "white")
            place = label.get_rect(center=(across, down - RADIUS - 10))
            screen.blit(label, place.clamp(screen.get_rect()))


async def play(name: str, address: str | None, bots: int) -> None:
    async with trio.open_nursery() as nursery:
        if address is None:
            server = Server(Arena, port=0)
            address = f"localhost:{await nursery.start(server.serve)}"
        for number in range(bots):
            nursery.start_soon(run_bot, Client.remote(address=address, username=f"bot{number}"))
        await Window(Client.remote(address=address, username=name)).run()
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
