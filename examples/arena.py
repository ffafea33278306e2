"""Arena: everybody runs for the same gems, in real time.

python examples/arena.py                        you against bots, in a window, with no server
python examples/arena.py serve                  hosts it; with --globally for other machines too
python examples/arena.py play ann               in another terminal, as ann
python examples/arena.py play bob 192.0.2.7     from another machine, if that is where it is
python examples/arena.py --headless 5           only bots and no window, for five seconds

The arrow keys or WASD steer, and the space bar shoots: a hit takes a gem. G shows the ghosts: where
the server has everybody (red), and where you are without smoothing (green) and as others see you
(blue). Without a server, N changes the network. The window needs pygame-ce: pip install pygame-ce
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
from pgnet_trio.netcode import PredictedSpawns, Rewind
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
SHOT_SPEED = 500  # pixels a second
SHOT_TIME = 0.8  # seconds that a shot flies
RELOAD = 0.4  # seconds from one shot to the next
COLORS = ["#e4572e", "#17bebb", "#ffc914", "#76b041", "#a06cd5", "#f28fb1", "#5b8def", "#c9b79c"]


@attrs.frozen
class Steer:
    """What a player wants in one tick: to go somewhere, and to shoot."""

    x: float
    y: float
    shots: int = 0  # how many so far: an input that is lost, or played again, changes nothing
    aim_x: float = 0.0
    aim_y: float = 0.0


@attrs.define
class Runner:
    x: float
    y: float
    color: str
    gems: int = 0


@attrs.frozen
class Shot:
    """A shot flies straight on: so where it began is all there is to tell."""

    x: float
    y: float
    across: float  # pixels a second
    down: float
    born: float  # at this time of the room

    def place(self, time: float) -> tuple[float, float]:
        age = time - self.born
        return self.x + self.across * age, self.y + self.down * age


@attrs.frozen
class Field:
    """What everybody sees."""

    runners: dict[str, Runner]
    gems: list[tuple[int, int]]
    shots: dict[str, Shot] = attrs.field(factory=dict)


def step(runner: Runner, steer: Steer, dt: float) -> None:
    """Move a runner: the server does, and each client does in advance.

    The page has the same rule in JavaScript. With + - * / and sqrt, both get the same, to the bit.
    """
    # At most at full speed, whatever the player's program says.
    length = max(1.0, math.sqrt(steer.x * steer.x + steer.y * steer.y))
    runner.x = min(max(runner.x + steer.x / length * SPEED * dt, RADIUS), WIDTH - RADIUS)
    runner.y = min(max(runner.y + steer.y / length * SPEED * dt, RADIUS), HEIGHT - RADIUS)


def shoot(runner: Runner, steer: Steer, time: float) -> Shot:
    """Fire a shot: the server does, and the player's client shows it in advance."""
    length = math.hypot(steer.aim_x, steer.aim_y) or 1.0
    across, down = steer.aim_x / length, steer.aim_y / length
    return Shot(runner.x, runner.y, across * SHOT_SPEED, down * SHOT_SPEED, time)


def is_hit(shot: Shot, since: float, until: float, runner: Runner) -> bool:
    """Return whether a shot meets a runner between two times, of which one may be both."""
    (x, y), (end_x, end_y) = shot.place(since), shot.place(until)
    across, down = end_x - x, end_y - y
    way = across * across + down * down
    share = ((runner.x - x) * across + (runner.y - y) * down) / way if way else 0.0
    share = min(max(share, 0.0), 1.0)  # of the way, where it is nearest
    nearest = x + across * share, y + down * share
    return math.dist(nearest, (runner.x, runner.y)) < RADIUS + 4


class Arena(Game):
    update_rate = TICKS
    sync_rate = TICKS
    max_players = 32
    inputs = Steer
    rewinds = {"runners": Rewind("x", "y")}  # noqa: RUF012 - nobody changes it

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.runners: dict[str, Runner] = {}
        self.gems = [self.pick_place() for _ in range(GEMS)]
        self.shots: dict[str, Shot] = {}
        # How many shots each player has fired, and when the next one may be.
        self.fired: dict[str, tuple[int, float]] = {}
        self.before = 0.0  # the time of the tick before; a busy machine skips some

    def user_joined(self, username: str) -> None:
        colors = [runner.color for runner in self.runners.values()]
        color = min(COLORS, key=colors.count)
        self.runners[username] = Runner(*self.pick_place(), color)
        self.fired[username] = (0, 0.0)

    def user_left(self, username: str) -> None:
        del self.runners[username], self.fired[username]

    def update(self) -> None:
        for name, runner in self.runners.items():
            steer = self.room.next_input(name)
            if steer is not None:
                step(runner, steer, self.room.dt)
                self.fire(name, runner, steer)
            for number, gem in enumerate(self.gems):
                if math.dist(gem, (runner.x, runner.y)) < RADIUS + 6:
                    runner.gems += 1
                    self.gems[number] = self.pick_place()
        for key, shot in [*self.shots.items()]:
            shooter = key.rpartition(":")[0]
            hit = self.find_hit(shooter, shot)
            if hit is not None and hit.gems and shooter in self.runners:
                hit.gems -= 1
                self.runners[shooter].gems += 1
            if hit is not None or self.time > shot.born + SHOT_TIME:
                del self.shots[key]
        self.before = self.time

    @property
    def time(self) -> float:
        """The room's time of this tick."""
        return self.room.tick * self.room.dt

    def fire(self, name: str, runner: Runner, steer: Steer) -> None:
        count, loaded = self.fired[name]
        if steer.shots > count and self.time >= loaded:
            self.shots[f"{name}:{steer.shots}"] = shoot(runner, steer, self.time)
            # A little sooner than a player's program shoots: inputs may come unevenly.
            loaded = self.time + RELOAD - 0.1
        self.fired[name] = (steer.shots, loaded)

    def find_hit(self, shooter: str, shot: Shot) -> Runner | None:
        """Return whom a shot hits, where its player saw them."""
        since, until = max(self.before, shot.born), min(self.time, shot.born + SHOT_TIME)
        for name, runner in self.room.rewind(shooter).runners.items():
            if name != shooter and is_hit(shot, since, until, runner):
                return self.runners.get(name)
        return None

    def view(self) -> Field:
        return Field(self.runners, self.gems, self.shots)

    def pick_place(self) -> tuple[int, int]:
        room = self.room.random
        return room.randint(RADIUS, WIDTH - RADIUS), room.randint(RADIUS, HEIGHT - RADIUS)


async def run_bot(client: Client) -> None:
    """Play without a person: run for a gem until it is gone, then for another one."""
    gem = (0, 0)
    shots = 0
    async with client:
        await client.join_game("arena")
        async for field in client.states(Field):
            me = field.runners[client.username]
            if gem not in field.gems:
                gem = random.choice(field.gems)
            way = (gem[0] - me.x) / 12, (gem[1] - me.y) / 12
            shots += random.random() < 0.02
            client.input(Steer(*way, shots, *way))


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
        self.steer = Steer(0, 0, aim_x=1.0)
        self.shooting = False
        self.loaded = -math.inf  # when the next shot may be fired
        self.spawns: PredictedSpawns[Shot] = PredictedSpawns()  # own shots
        self.spent: set[Shot] = set()  # those of them that have hit on this screen

    async def run(self) -> None:
        """Play until the window is closed or the game is over."""
        async with self.client, trio.open_nursery() as nursery:
            if self.client.game is None:  # or else this player's program was started again
                await self.client.join_game("arena")
            nursery.start_soon(self.show_frames, nursery.cancel_scope)
            async for _ in self.client.states(Field):
                pass  # until the game is over
            nursery.cancel_scope.cancel()
        if self.client.left is not None:
            print(self.client.left.message)

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
                before, self.steer = self.steer, self.find_steer()
                frame = play.frame(self.steer)
                if self.steer.shots > before.shots:
                    self.predict_shot(frame)
                field = self.client.get_state(Field) if frame.server else Field({}, [])
                self.spawns.reconcile(frame.confirmed, field.shots)
                self.draw(screen, font, field, frame)
                self.draw_shots(screen, field, frame, play.play.interpolator.time or 0.0)
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
            elif event.type == pygame.KEYDOWN and event.key == pygame.K_SPACE:
                self.shooting = True  # however short it was
            elif event.type == pygame.KEYDOWN and event.key == pygame.K_n and self.network:
                self.networks.append(self.networks.pop(0))
                self.network.set_conditions(self.networks[0][1], self.client.username)
        return True

    def find_steer(self) -> Steer:
        """Return what the player wants: to shoot the way they run, or have run last."""
        pygame = self.pygame
        keys = pygame.key.get_pressed()

        def held(*names: int) -> bool:
            return any(keys[name] for name in names)

        right = held(pygame.K_RIGHT, pygame.K_d) - held(pygame.K_LEFT, pygame.K_a)
        down = held(pygame.K_DOWN, pygame.K_s) - held(pygame.K_UP, pygame.K_w)
        aim = (right, down) if right or down else (self.steer.aim_x, self.steer.aim_y)
        shots = self.steer.shots
        if (self.shooting or held(pygame.K_SPACE)) and trio.current_time() >= self.loaded:
            self.loaded = trio.current_time() + RELOAD
            shots += 1
        self.shooting = False
        return Steer(right, down, shots, *aim)

    def predict_shot(self, frame: Frame[Runner]) -> None:
        """Show a shot at once, if there is somebody who fires it, and a connection."""
        if frame.me is not None and frame.number is not None:
            key = f"{self.client.username}:{self.steer.shots}"
            self.spawns.add(key, frame.number, shoot(frame.me, self.steer, self.client.server_time))

    def draw(
        self,
        screen: pygame.Surface,
        font: pygame.font.Font,
        field: Field,
        frame: Frame[Runner],
    ) -> None:
        draw = self.pygame.draw
        screen.fill("#1b1d2a")
        for x, y in field.gems:
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

    def draw_shots(
        self, screen: pygame.Surface, field: Field, frame: Frame[Runner], seen: float
    ) -> None:
        """Draw own shots where they are now, and those of others as late as their runners."""
        others = [it for name, it in frame.things.items() if name != self.client.username]
        now = self.client.server_time
        # A hit shows at once too; what it was worth, the server says.
        hits = {shot for shot in self.spawns if any(is_hit(shot, now, now, it) for it in others)}
        self.spent = (self.spent & {*self.spawns}) | hits
        shots = [(shot, now) for shot in self.spawns if shot not in self.spent]
        shots += [(shot, seen) for key, shot in field.shots.items() if key not in self.spawns]
        for shot, time in shots:
            if shot.born <= time <= shot.born + SHOT_TIME:
                self.pygame.draw.circle(screen, "white", shot.place(time), 5)

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
        trip = "" if latency is None else f"there and back in {latency.latest * 1000:.0f} ms"
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
