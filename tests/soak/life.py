"""The life that `tests.soak` leads at a server: players, guests, and an admin.

All of it works against a real server in another process and against a simulated one in virtual
time. Whoever sees something that must not be writes it down; the life goes on.
"""

from __future__ import annotations

import random
import traceback
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import attrs
import trio

from pgnet_trio import (
    ADMIN_USERNAME,
    Client,
    ConnectFailed,
    Disconnected,
    Entered,
    LoginRefused,
    Packet,
    PGNetError,
    Push,
    Question,
    Request,
    RequestFailed,
    Response,
    SessionLost,
    StateChanged,
)
from pgnet_trio.typed import model_name
from tests.soak.game import (
    BREAKS,
    PERSISTENT,
    Add,
    Added,
    Break,
    Choice,
    Choose,
    Finish,
    Heard,
    Nudge,
    Said,
    Table,
    kind_of,
)

__all__ = ["GAMES", "Diary", "Ledger", "Life", "World"]

GAMES = {"bank": 2, "vault": 2, "quiz": 3, "frail": 2, "brittle": 2}
"""How many games there are of each kind, at most."""

MAX_PROBLEMS = 50

REFUSALS = (
    "The server is shutting down.",
    "This user is being deleted.",
    "This user was deleted.",
    "has just changed; log in again.",
    "The server is busy",
)
"""How a log-in may be refused that was right."""

NO_ACCOUNT = "new users need an invite code"
"""How a guest may be refused, too: the admin deletes guests, and at times lets nobody register."""

TAKE_OVERS = 3
"""Clients of one user that come one after the other, each in the place of the one before."""

T = TypeVar("T")


class World(Protocol):
    """Where this life takes place.

    Attributes:
        pace: Seconds between two actions of one player, on average.
        patience: Seconds after which an answer counts as lost.
    """

    pace: float
    patience: float

    def client(self, slot: str, username: str, password: str, invite_code: str = "") -> Client:
        """Make a client that connects from this slot."""

    def drop(self, slot: str) -> None:
        """Break the slot's connections."""

    def stall(self, slot: str, *, stalled: bool) -> None:
        """Let nothing pass from and to the slot, or let it pass again; nobody is told."""


@attrs.define
class Diary:
    """What happened.

    Attributes:
        time: Says when.
        counts: How often what was done.
        problems: What must not have been.
    """

    time: Callable[[], str]
    counts: Counter[str] = attrs.field(factory=Counter)
    problems: list[str] = attrs.field(factory=list)

    def note(self, what: str) -> None:
        self.counts[what] += 1

    def wrong(self, text: str) -> None:
        """Write down that something is broken."""
        self.counts["problems"] += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{self.time()}: {text}")


@attrs.define
class Entry:
    """What is known of a persistent game.

    Attributes:
        answered: The highest revision that was answered.
        safe: The highest revision that is certainly in the save file.
        may_be_new: Whether another game may have come in its place.
        was_killed: Whether its server was killed, and it was not seen since.
    """

    birth: str
    life: str
    answered: int = 0
    safe: int = 0
    may_be_new: bool = False
    was_killed: bool = False
    earlier_life: str = ""


class Ledger:
    """What was answered and saved of persistent games, and so has to be there after a restart.

    Those that break are left out: they go back to their last save by themselves, at any time.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def saw(self, game: str, added: Added) -> str | None:
        """Take an answer in; return what is wrong with it."""
        if kind_of(game) not in PERSISTENT - BREAKS:
            return None
        entry = self._entries.get(game)
        if entry is None:
            self._entries[game] = Entry(added.birth, added.life, added.revision)
        elif added.life == entry.life:
            if not entry.was_killed:
                entry.answered = max(entry.answered, added.revision)
        elif added.life != entry.earlier_life:
            return self._saw_another(game, entry, added)
        return None

    def _saw_another(self, game: str, entry: Entry, added: Added) -> str | None:
        is_new = added.birth != entry.birth
        problem = None
        if is_new and not entry.may_be_new:
            problem = f"{game} is another game than before, and nobody destroyed it"
        elif not is_new and added.revision <= entry.safe:
            problem = f"{game} is at revision {added.revision} after {entry.safe} was saved"
        self._entries[game] = Entry(
            added.birth,
            added.life,
            added.revision,
            0 if is_new else entry.safe,
            earlier_life=entry.life,
        )
        return problem

    def before_save(self) -> Callable[[], None]:
        """Note what a save has to cover; return what to call when it was answered."""
        covered = [(entry, entry.answered) for entry in self._entries.values()]

        def saved() -> None:
            for entry, answered in covered:
                entry.safe = max(entry.safe, answered)

        return saved

    def destroying(self, game: str) -> None:
        """Note that a game is to be destroyed."""
        entry = self._entries.get(game)
        if entry is not None:
            entry.may_be_new = True

    def restarted(self, *, in_order: bool) -> None:
        """Note that the server is about to end, and to start again."""
        for entry in self._entries.values():
            if in_order:
                entry.safe = entry.answered
                continue
            # A save by the next server covers what that one has loaded, and no more.
            entry.answered = entry.safe
            entry.was_killed = True
            if not entry.safe:
                entry.may_be_new = True


class Admin:
    """The one admin client, which others have their admin work done by."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._client: Client | None = None
        self._changed = trio.lowlevel.ParkingLot()
        self._chance = random.Random(f"{life.seed} admin")
        self._leaving = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Be logged in, and do chores, until `leave`."""
        life = self._life
        started = False
        while not self._leaving.is_set():
            try:
                client = life.world.client("admin", ADMIN_USERNAME, life.admin_password)
                async with client:
                    await client.request(Packet(Request.SET_REGISTRATION, {"set_as": True}))
                    self._client = client
                    self._changed.unpark_all()
                    if not started:
                        task_status.started()
                        started = True
                    await self._do_chores()
            except (ConnectFailed, Disconnected) as error:
                life.check_refusal(ADMIN_USERNAME, error)
                await trio.sleep(life.world.pace)
            finally:
                self._client = None

    def leave(self) -> None:
        """Log out soon."""
        self._leaving.set()

    async def request(self, message: str, **payload: Any) -> Response:
        """Have something done, however long it takes; raises RequestFailed."""
        while True:
            while self._client is None:
                await self._changed.park()
            try:
                response = await self._life.answered(
                    message, self._client.request(Packet(message, payload))
                )
                return response.raise_for_status()
            except Disconnected:
                await trio.sleep(self._life.world.pace)

    async def forget(self, username: str) -> None:
        """Have a user deleted, who may be deleted already by a request whose answer was lost."""
        try:
            await self.request(Request.DELETE_USER, username=username)
        except RequestFailed as error:
            if "There is no user" not in str(error):
                self._life.diary.wrong(f"{username} could not be deleted: {error}")

    async def _do_chores(self) -> None:
        life, chance = self._life, self._chance
        while not self._leaving.is_set():
            with trio.move_on_after(life.world.pace * chance.uniform(2, 10)):
                await self._leaving.wait()
                return
            chore = chance.choices(
                (self._save, self._debug, self._destroy, self._refuse_strangers),
                (6, 3, 1, 1),
            )[0]
            life.diary.note(chore.__name__.strip("_"))
            try:
                await chore()
            except RequestFailed as error:
                life.diary.note(f"refused: {error}"[:70])

    async def _save(self) -> None:
        saved = self._life.ledger.before_save()
        await self._ask(Request.SAVE)
        saved()

    async def _debug(self) -> None:
        payload = (await self._ask(Request.DEBUG)).payload
        users = {ADMIN_USERNAME, *payload["all_users"]}
        strangers = set(payload["connected_users"]) - users
        if strangers:
            self._life.diary.wrong(f"{strangers} are connected and no users")

    async def _destroy(self) -> None:
        game = self._life.any_game(self._chance)
        self._life.ledger.destroying(game)
        await self._ask(Request.DESTROY_GAME, name=game)

    async def _refuse_strangers(self) -> None:
        await self._ask(Request.SET_REGISTRATION, set_as=False)
        try:
            async with self._life.world.client("admin", "stranger", "none"):
                self._life.diary.wrong("a stranger was let in while registration was off")
        except LoginRefused:
            pass
        except ConnectFailed:
            # The server is on its way out.
            pass
        await self._ask(Request.SET_REGISTRATION, set_as=True)

    async def _ask(self, message: str, **payload: Any) -> Response:
        assert self._client is not None
        request = self._client.request(Packet(message, payload))
        return (await self._life.answered(message, request)).raise_for_status()


class Life:
    """Everybody who is at the server, or will be.

    Args:
        world: Where the server is.
        diary: What happens is written there.
        players: How many have an account; a third as many guests come and go with an invite.
        seed: Decides what they do.
        admin_password: The admin's.
    """

    def __init__(
        self,
        world: World,
        diary: Diary,
        *,
        players: int,
        seed: int,
        admin_password: str,
    ) -> None:
        self.world = world
        self.diary = diary
        self.ledger = Ledger()
        self.seed = seed
        self.admin_password = admin_password
        self.admin = Admin(self)
        self.ebb = trio.Event()
        self.players = [Player(self, f"player{n}", is_guest=False) for n in range(players)]
        self.players += [Player(self, f"guest{n}", is_guest=True) for n in range(players // 3)]
        self._away: set[str] = set()

    @property
    def usernames(self) -> list[str]:
        """Those who keep their accounts."""
        return [player.slot for player in self.players if not player.is_guest]

    @property
    def slots(self) -> list[str]:
        """Where clients connect from."""
        return ["admin", *(player.slot for player in self.players)]

    async def flow(self, seconds: float) -> None:
        """Have everybody come, live for so long, and go again."""
        self.ebb = trio.Event()
        self.admin = Admin(self)
        async with trio.open_nursery() as nursery:
            await nursery.start(self.admin.run)
            async with trio.open_nursery() as playing:
                for player in self.players:
                    playing.start_soon(self._play, player)
                await trio.sleep(seconds)
                self.ebb.set()
                # Twice, since who waits in vain has written that down after the first.
                playing.cancel_scope.deadline = trio.current_time() + 2 * self.world.patience + 5
            if playing.cancel_scope.cancelled_caught:
                self.diary.wrong(f"{sorted(self._away)} do not come to an end")
            self.admin.leave()
            nursery.cancel_scope.deadline = trio.current_time() + 2 * self.world.patience + 5
        if nursery.cancel_scope.cancelled_caught:
            self.diary.wrong("the admin does not come to an end")

    async def _play(self, player: Player) -> None:
        self._away.add(player.slot)
        await player.run()
        self._away.discard(player.slot)

    async def gather(self) -> None:
        """Have all persistent games there, and nobody in them; and no unused invites."""
        await self._use_up_invites()
        async with self._as_admin() as client:
            for kind in sorted(PERSISTENT):
                for number in range(GAMES[kind]):
                    await client.join_game(f"{kind} {number}")
                    await client.leave_game()

    async def clear(self) -> None:
        """Destroy all games, use up all invites, and delete all accounts."""
        await self._use_up_invites()
        async with self._as_admin() as client:
            for game in await client.get_game_dir():
                response = await client.request(Packet(Request.DESTROY_GAME, {"name": game}))
                response.raise_for_status()
            for username in self.usernames:
                packet = Packet(Request.DELETE_USER, {"username": username})
                (await client.request(packet)).raise_for_status()

    async def _use_up_invites(self) -> None:
        """Use those that nobody knows of: a kill came between the save file and the answer."""
        async with self._as_admin() as admin:
            codes = (await admin.request(Packet(Request.DEBUG))).payload["invite_codes"]
            for code, invited in codes.items():
                username = invited or "latecomer"
                async with self.world.client("admin", username, code, code):
                    self.diary.note("leftover invites")
                packet = Packet(Request.DELETE_USER, {"username": username})
                (await admin.request(packet)).raise_for_status()

    @asynccontextmanager
    async def _as_admin(self) -> AsyncIterator[Client]:
        with trio.fail_after(2 * self.world.patience):
            async with self.world.client("admin", ADMIN_USERNAME, self.admin_password) as client:
                yield client

    def any_game(self, chance: random.Random) -> str:
        """Name some game, which there may be or not."""
        kind = chance.choice(sorted(GAMES))
        return f"{kind} {chance.randrange(GAMES[kind])}"

    async def answered(self, what: str, answer: Awaitable[T]) -> T:
        """Wait for an answer; one that does not come ends like a session that was lost."""
        with trio.move_on_after(self.world.patience):
            return await answer
        self.diary.wrong(f"{what}: no answer within {self.world.patience:g} s")
        raise Disconnected("the answer did not come")

    def check_refusal(self, who: str, error: Exception) -> None:
        """Write down a log-in that was refused without a reason."""
        right = (*REFUSALS, NO_ACCOUNT) if who.startswith("guest") else REFUSALS
        if isinstance(error, LoginRefused) and not any(each in str(error) for each in right):
            self.diary.wrong(f"{who} was not let in: {error}")
        else:
            self.diary.note(type(error).__name__)

    async def rest(self, seconds: float) -> None:
        """Sleep, but not beyond the ebb."""
        with trio.move_on_after(seconds):
            await self.ebb.wait()


class Player:
    """One place that users connect from, one after the other."""

    def __init__(self, life: Life, slot: str, *, is_guest: bool) -> None:
        self.life = life
        self.slot = slot
        self.is_guest = is_guest
        self.chance = random.Random(f"{life.seed} {slot}")
        self._visits = 0

    async def run(self) -> None:
        """Come and go until the ebb."""
        life = self.life
        await life.rest(life.world.pace * self.chance.uniform(0, 5))
        while not life.ebb.is_set():
            if self.is_guest:
                await self._come_as_guest()
            else:
                await self._come(self.slot, self.slot)
            await life.rest(life.world.pace * self.chance.uniform(0, 5))

    async def _come(self, username: str, password: str, code: str = "") -> None:
        life = self.life
        client = life.world.client(self.slot, username, password, code)
        try:
            await Visit(self, client, password).run(take_overs=TAKE_OVERS)
        except (ConnectFailed, Disconnected) as error:
            if not (self.is_guest and "There is no user" in str(error)):
                life.check_refusal(username, error)
            await life.rest(life.world.pace)
        except Exception:
            life.diary.wrong(f"the client of {username} failed: {traceback.format_exc()}")
            await life.rest(life.world.pace)
        finally:
            life.world.stall(self.slot, stalled=False)

    async def _come_as_guest(self) -> None:
        life, admin = self.life, self.life.admin
        self._visits += 1
        username = f"{self.slot}n{self._visits}"
        invited_for = self.chance.choice((username, ""))
        code = (await admin.request(Request.CREATE_INVITE, username=invited_for)).payload["code"]
        life.diary.note("guests")
        if not await self._register(username, code):
            return
        async with trio.open_nursery() as nursery:
            if self.chance.random() < 0.3:
                nursery.start_soon(self._have_deleted, username)
            await self._come(username, code)
            nursery.cancel_scope.cancel()
        # Also one that was deleted may have come back: while registration is on, by logging in.
        await admin.forget(username)

    async def _register(self, username: str, code: str) -> bool:
        """Use the invite, also where the server is killed meanwhile."""
        life = self.life
        for _ in range(100):
            try:
                async with life.world.client(self.slot, username, code, code):
                    return True
            except LoginRefused as error:
                life.check_refusal(username, error)
            except ConnectFailed:
                life.diary.note("ConnectFailed")
            await trio.sleep(life.world.pace)
        life.diary.wrong(f"{username} could not register in many tries")
        return False

    async def _have_deleted(self, username: str) -> None:
        life = self.life
        await trio.sleep(life.world.pace * self.chance.uniform(5, 20))
        life.diary.note("deleted while playing")
        await life.admin.forget(username)


class Visit:
    """One client, from its log-in to its end, and what it has seen so far."""

    def __init__(
        self, player: Player, client: Client, password: str, *, is_heir: bool = False
    ) -> None:
        self.client = client
        self._player = player
        self._life = player.life
        self._chance = player.chance
        self._password = password
        self._is_heir = is_heir
        # Whether the user came into the game by this client, and so has seen all from the start.
        self._joined_here = False
        self._watches = False
        self._counted = ("", 0)
        self._said = ("", 0)
        self._nudged = 0
        self._stream = f"{self._chance.getrandbits(64):x}"
        # By the seat and the number of the question: a game that crashed asks from 1 again, while
        # an answer to it may still be on its way.
        self._sent: dict[tuple[str, int], int] = {}
        self._accepted: set[int] = set()
        self._asked_in = ""
        self._revision = ("", 0)
        self._wants_heir = False
        self._start = trio.current_time()
        self._recent: deque[str] = deque(maxlen=16)

    @property
    def _who(self) -> str:
        return self.client.username

    def _wrong(self, text: str) -> None:
        before = "; ".join(self._recent)
        self._life.diary.wrong(f"{self._who} in {self.client.game}: {text}. Before: {before}")

    def _note(self, what: str) -> None:
        """Remember what was seen or done, to tell of it when something is wrong."""
        self._recent.append(f"{trio.current_time() - self._start:.2f} {what}")

    async def run(self, *, take_overs: int) -> None:
        """Log in, play, and leave."""
        life, client = self._life, self.client
        async with client:
            events = client.events(raise_session_lost=True)
            life.diary.note("log-ins")
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read_all, events, nursery)
                    await self._play(take_overs)
                    nursery.cancel_scope.cancel()
            except* Disconnected as group:
                life.diary.note(f"ended: {client.close_reason or group.exceptions[0]}"[:70])
            if self._wants_heir:
                await self._be_taken_over(take_overs)

    async def _play(self, take_overs: int) -> None:
        life, chance, client = self._life, self._chance, self.client
        actions = {
            self._add: 40,
            self._add_many: 4,
            self._nudge: 12,
            self._look_around: 4,
            self._move_on: 5,
            self._break: 1,
            self._finish: 1,
            self._drop: 4,
            self._stall: 1,
            self._misbehave: 2,
        }
        if self._is_heir:
            # Who comes into a game by this hears of it a moment later.
            await trio.sleep(2 * life.world.pace)
        for _ in range(chance.randrange(10, 60)):
            await life.rest(life.world.pace * chance.uniform(0.2, 1.8))
            if life.ebb.is_set() or client.close_reason:
                return
            if not client.connected:
                # It logs in afresh.
                continue
            if take_overs and chance.random() < 0.02:
                self._wants_heir = True
                return
            action = chance.choices(list(actions), list(actions.values()))[0]
            self._note(action.__name__)
            try:
                if client.game is None:
                    await self._join()
                elif self._watches:
                    await self._look_around()
                    await self._move_on()
                else:
                    await life.answered(f"{self._who} {action.__name__}", action())
            except RequestFailed as error:
                life.diary.note(f"refused: {error}"[:70])
            except SessionLost:
                life.diary.note("sessions lost")

    # What a player does.

    async def _join(self) -> None:
        life, chance = self._life, self._chance
        game = life.any_game(chance)
        watches = chance.random() < 0.1
        self._note(f"join {game}")
        joining = self.client.join_game(game, spectate=watches)
        await life.answered(f"{self._who} joins {game}", joining)
        self._watches = watches
        self._joined_here = True
        life.diary.note("joins")

    async def _add(self) -> None:
        game = self.client.game
        added = await self.client.call(Add(self._chance.randrange(100)), Added)
        self._life.diary.note("requests")
        self._count(added)
        self._see(game, added)

    async def _add_many(self) -> None:
        answers: list[Added] = []
        game = self.client.game

        async def add() -> None:
            try:
                answers.append(await self.client.call(Add(1), Added))
            except (RequestFailed, Disconnected):
                self._life.diary.note("refused of many")
            self._life.diary.note("requests")

        async with trio.open_nursery() as nursery:
            for _ in range(self._chance.randrange(5, 20)):
                nursery.start_soon(add)
        seat, _ = self._counted
        # In the order of the game's turns; a game that was made again, once or more often, begins
        # anew with them.
        seats = list(dict.fromkeys([seat, *(each.seat for each in answers)]))
        for added in sorted(answers, key=lambda each: (seats.index(each.seat), each.revision)):
            self._count(added)
            self._see(game, added)

    def _count(self, added: Added) -> None:
        seat, mine = self._counted
        if added.seat == seat:
            expected = mine + 1
        else:
            expected = 1 if self._joined_here else added.mine
            self._nudged = 0
        if added.mine != expected:
            self._wrong(f"addition {added.mine} of {added.seat} came, expected {expected}")
        self._counted = added.seat, added.mine

    def _see(self, game: str | None, added: Added) -> None:
        if game is not None and game == self.client.game:
            problem = self._life.ledger.saw(game, added)
            if problem:
                self._life.diary.wrong(problem)
        table = self._table()
        # What a turn did to the state comes before its answer.
        if table is not None and table.life == added.life and table.revision < added.revision:
            self._wrong(f"the state is at {table.revision} after an answer at {added.revision}")

    async def _nudge(self) -> None:
        seat, _ = self._counted
        for _ in range(self._chance.randrange(1, 6)):
            if seat and self.client.connected:
                self._nudged += 1
                self.client.send(Nudge(seat, self._stream, self._nudged))
                self._life.diary.note("quiet")

    async def _look_around(self) -> None:
        games = await self._life.answered(f"{self._who} looks", self.client.get_game_dir())
        self._life.diary.note("requests")
        if len(games) > sum(GAMES.values()):
            self._wrong(f"there are {len(games)} games")

    async def _move_on(self) -> None:
        await self._life.answered(f"{self._who} leaves", self.client.leave_game())
        self._life.diary.note("leaves")

    async def _break(self) -> None:
        self._life.diary.note("breaks")
        await self.client.call(Break())

    async def _finish(self) -> None:
        self._life.diary.note("finishes")
        await self.client.call(Finish())

    async def _misbehave(self) -> None:
        response = await self.client.request(Packet("Add", {"amount": "many"}))
        self._life.diary.note("requests")
        if "amount" not in response.message and self.client.game is not None:
            self._life.diary.note(f"refused: {response.message}"[:70])

    async def _drop(self) -> None:
        self._life.diary.note("drops")
        self._life.world.drop(self._player.slot)
        # Some come back with a question that waited, some with a request.
        if self._chance.random() < 0.5:
            await self._add()

    async def _stall(self) -> None:
        world = self._life.world
        self._life.diary.note("stalls")
        world.stall(self._player.slot, stalled=True)
        try:
            await self._life.rest(world.patience * self._chance.uniform(0.02, 0.3))
        finally:
            world.stall(self._player.slot, stalled=False)

    async def _be_taken_over(self, take_overs: int) -> None:
        life, client = self._life, self.client
        was_online = client.online
        if not was_online:
            # It would come back, and find another client in its place.
            client.disconnect()
        gone = trio.Event()

        def note_connection(connected: bool) -> None:
            if not connected:
                gone.set()

        client.on_connection = note_connection
        heir = life.world.client(self._player.slot, self._who, self._password)
        life.diary.note("take-overs")
        try:
            visit = Visit(self._player, heir, self._password, is_heir=True)
            await visit.run(take_overs=take_overs - 1)
        except ConnectFailed as error:
            life.check_refusal(self._who, error)
        else:
            with trio.move_on_after(life.world.patience if was_online else 0) as waiting:
                await gone.wait()
            # One whose connection dropped just then has come back, and taken over itself.
            taken_back = heir.close_reason == "taken over"
            if was_online and not taken_back and waiting.cancelled_caught and client.connected:
                self._wrong("another client took over from it, and it is connected still")
        client.disconnect()

    # What a player gets.

    async def _read_all(self, events: AsyncIterator[Any], nursery: trio.Nursery) -> None:
        while True:
            try:
                await self._read(events, nursery)
                return
            except SessionLost:
                events = self.client.events(raise_session_lost=True)
                # Another client may have had the seat meanwhile, and what came for it.
                self._joined_here = False
                self._counted = self._said = ("", 0)

    async def _read(self, events: AsyncIterator[Any], nursery: trio.Nursery) -> None:
        async for event in events:
            if not isinstance(event, StateChanged):
                self._note(str(event))
            match event:
                case StateChanged():
                    self._check_state()
                case Question():
                    self._check_heard(event)
                    nursery.start_soon(self._answer, event)
                case Push():
                    self._check_push(event)
                case Entered():
                    self._life.diary.note("entered")

    def _table(self) -> Table | None:
        try:
            return self.client.get_state(Table)
        except RuntimeError:
            # Out of the game meanwhile.
            return None

    def _check_state(self) -> None:
        table = self._table()
        if table is None:
            return
        self._life.diary.note("states")
        if table.digest != table.expected_digest():
            self._wrong(f"the state differs from the game's: {table}")
        if table.own not in (None, self._who):
            self._wrong(f"the state is for {table.own}")
        life, revision = self._revision
        if table.life == life and table.revision < revision:
            self._wrong(f"the state went back from {revision} to {table.revision}")
        self._revision = table.life, table.revision

    def _check_push(self, push: Push) -> None:
        self._life.diary.note("pushes")
        if push.message == model_name(Said):
            said = push.read(Said)
            seat, number = self._said
            expected = number + 1
            if said.seat != seat:
                expected = 1 if self._joined_here else said.number
            if said.number != expected:
                self._wrong(f"push {said.number} of {said.seat} came, expected {expected}")
            self._said = said.seat, said.number
        elif push.message == model_name(Heard):
            heard = push.read(Heard)
            if self._sent.pop((heard.seat, heard.number), heard.value) != heard.value:
                self._wrong(f"question {heard.number}: another answer was heard")
            self._accepted.discard(heard.number)

    def _check_heard(self, question: Question[Packet]) -> None:
        choose = question.packet.read(Choose)
        if choose.seat == self._asked_in and self._accepted - {choose.number}:
            self._wrong(f"the answers to {self._accepted} were taken, and never heard of")
        if choose.seat != self._asked_in or self._accepted:
            self._accepted.clear()
            self._sent.clear()
        self._asked_in = choose.seat

    async def _answer(self, question: Question[Packet]) -> None:
        choose = question.packet.read(Choose)
        if self._chance.random() < 0.1:
            # The game has to do without.
            return
        await trio.sleep(self._life.world.pace * self._chance.uniform(0, 2))
        value = self._chance.randrange(1000)
        self._sent[choose.seat, choose.number] = value
        try:
            told = await self._life.answered(f"{self._who} answers", question.answer(Choice(value)))
            told.raise_for_status()
        except PGNetError:
            self._life.diary.note("late answers")
            return
        self._life.diary.note("answers")
        if choose.seat == self._asked_in and (choose.seat, choose.number) in self._sent:
            self._accepted.add(choose.number)
