"""The class that an author subclasses, and the checks of each subclass."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pgnet_trio.game.backend import current_room
from pgnet_trio.game.checks import check_class
from pgnet_trio.game.room import Room
from pgnet_trio.game.seat_plan import seats_of
from pgnet_trio.messages import Packet, Request, Response, Status, note_code
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.typed import Handler, collect_handlers

__all__ = ["Game"]


class Game:
    """The rules of a game; the server makes one object for each game that is played.

    A game runs in turns. In each turn the game's own task on the server runs one hook or handler to
    its end, so a game needs no locks. Most hooks and all handlers may be ``async def``; the game
    then takes no other turn until they return. `view`, `get_save_string` and `get_lobby_info` are
    plain functions. Methods marked with `on` handle typed messages.

    A hook or handler that raises ends this game and no other: the server logs the exception with
    its traceback, and the players return to the lobby. The save file keeps a persistent game as it
    was last saved. The game comes back from there with the next start of the server or, where
    `on_crash` says so, at once. An `Exception` of `handle_packet`, `handle_game_packet` and
    `handle_heartbeat` is logged as well, but only refuses the packet: the sender gets a response
    with `Status.UNEXPECTED`, and the game goes on as these left it.

    Attributes:
        room: The server's room around the game. ``__init__`` may use it already.
        persistent: Whether the game is saved, and stays when its last user leaves. It may be a
            class attribute, an attribute or a property; the server reads it each time.
        heartbeat_rate: How many times a second clients send a heartbeat; more than 0. The server
            reads it when a user joins.
        update_rate: How many times a second `update` is called; 0 for never.
        sync_rate: How many times a second, at most, the server sends the changes of ticks and of
            messages without an answer. Changes of answered messages and of scripts leave at once.
        input_delay: How many seconds the server may let sockets wait, 0.005 at most, while nothing
            comes from them but `client.send` for such games: inputs come in lots then, which cost
            less. 0 for never. A value that is no number means nothing to the server.
        max_players: How many players may be in the game; None for any number.
        max_request_size: The longest packet in bytes that a player may send, 1,024 at least. None
            for 4 KiB where the class has only handlers of typed messages, and for no limit but the
            server's where it has `handle_packet`. A longer one is refused.
        spectators: Whether users may watch the games of this class: True, False, or None, the
            default, for where `view` does not raise for a spectator. Any other value, and one
            that is not the class's, means nothing to the server.
        players_invite: Whether players may invite others with `Client.invite`: False for no. Any
            other value means yes.
        pushes: The models that games of this class push, as in ``pushes = (Said, Dealt)``: a push
            of anything else raises TypeError. Without such a tuple the class does not say.
        asks: What games of this class ask, as in ``asks = {Choose: Throw}``: each question's model,
            and that of its answer. Another question raises TypeError. Without such a dict the class
            does not say.
        inputs: The model of what a player does in one tick, as in ``inputs = Thrust``: players send
            it with ``client.input(Thrust(...))``, and `update` takes it with `Room.next_input`.
            Anything but an attrs class means nothing to the server.
        rewinds: What `Room.rewind` can rewind, by the names of attributes of the game, as in
            ``rewinds = {"ships": Rewind("x", "y")}``. Anything else means nothing to the server.
        seats: How many seats ``room.seats`` has, or their names, as in ``seats = ("north",
            "south")``. Without either there are as many as `max_players`, or any number.
        matchmaking: The `Queue` in which users look for a game of this class, or several by name,
            as in ``matchmaking = {"ranked": Queue(size=2)}``. Anything else means nothing to the
            server.
        leaderboards: The `Leaderboard` for results of games of this class, or several by name, as
            in ``leaderboards = {"points": Leaderboard("sum")}``; see `Room.report`. Anything else
            means nothing to the server.
        on_crash: What the server does when the game raises: ``"close"`` it, or ``"restart"`` it
            from its last save, with the same players.
        save_version: The version of what `get_save_string` returns. Put it up with a change after
            which the class of before could not load it. A server does not load a save of a higher
            version than its class has, and leaves it as it is.
    """

    update_rate: float = 10
    sync_rate: float = 20
    input_delay: float = 0
    max_players: int | None = None
    max_request_size: int | None = None
    spectators: Any = None
    players_invite: Any = True
    # An author's attribute of such a name may be anything.
    pushes: Any = ()
    asks: Any = MappingProxyType({})
    inputs: Any = None
    rewinds: Any = MappingProxyType({})
    seats: Any = None
    matchmaking: Any = None
    leaderboards: Any = None
    on_crash: Literal["close", "restart"] = "close"
    save_version: int = 0

    _handlers: ClassVar[Mapping[str, Handler]] = MappingProxyType({})
    _room: Room

    if TYPE_CHECKING:
        # Properties for a type checker, so that an author may override them with a property or with
        # a plain attribute. At run time they are plain attributes, which may be assigned.
        @property
        def persistent(self) -> bool:
            """Whether the game is saved, and stays when its last user leaves."""

        @property
        def heartbeat_rate(self) -> float:
            """How many times a second clients send a heartbeat."""

    else:
        persistent = False
        heartbeat_rate = 10

    def __new__(cls, *args: Any, **kwargs: Any) -> Game:
        """Set the game's room before its own ``__init__`` runs."""
        game = super().__new__(cls)
        backend = current_room.get()
        if backend is not None:
            # Before ``__init__``, which may go through the seats.
            backend.declare_seats(seats_of(cls))
        game._room = Room(backend)
        return game

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check what the class declares, so that mistakes show before anybody plays.

        Raises:
            TypeError: The class uses a name of `Game` for something else, or nearly such a name
                for what nothing uses; it cannot be saved; two of its methods handle one model; or
                what it declares in `pushes`, `asks`, `inputs` or `rewinds` has the wrong shape.
        """
        super().__init_subclass__(**kwargs)
        check_class(cls, Game)
        cls._handlers = collect_handlers(cls)

    def __init__(self, name: str, save_string: str | None = None) -> None:
        """Make the game; raise `Reject` to refuse, because of `room.options` say.

        Args:
            name: The game's name in the lobby.
            save_string: What `get_save_string` returned when the game was last saved; None for
                a new game.
        """

    @property
    def room(self) -> Room:
        """The server's room around the game."""
        return self._room

    if not TYPE_CHECKING:

        @room.setter
        def room(self, value: Any) -> None:
            raise AttributeError(
                f"{type(self).__name__}.room: the server's room around the game has this name; "
                "use another one."
            )

    def user_joined(self, username: str, /) -> Any:
        """Called when a user has joined; raise `Reject` to refuse them. May be async.

        Args:
            username: Who joined.
        """
        return None

    # Any arguments, so that type checkers take an override with one argument and with two.
    def user_left(self, *args: Any, **kwargs: Any) -> Any:
        """Called when a user has left, or their session has ended. May be async.

        Override it as ``def user_left(self, username)``, or as
        ``def user_left(self, username, reason)`` to be told why:

        - ``"left"``: they wanted to leave.
        - ``"kicked"``: the game, or whoever runs the server, has put them out.
        - ``"grace_over"``: they did not come back in time after their connection had dropped, or
          their client had to be disconnected.
        - ``"banned"``: they may not come back.
        - ``"deleted"``: their account was deleted; somebody else may have the name next.

        There may be more reasons in a later version.
        """
        return None

    def player_dropped(self, username: str, /) -> Any:
        """Called when a player's connection has dropped; they may come back. May be async.

        Args:
            username: Whose connection dropped.
        """
        return None

    def player_resumed(self, username: str, /) -> Any:
        """Called when a player whose connection had dropped is back. May be async.

        Args:
            username: Who is back.
        """
        return None

    def handle_packet(self, packet: Packet, /) -> Response | Awaitable[Response]:
        """Called with each packet of a user in this game; most games override the next two.

        A typed message for which a method is marked with `on` goes to that method instead.

        Args:
            packet: What the user sent. The server has set its username.

        Returns:
            The answer. One with ``disconnecting=True`` removes the user from the game.
        """
        if packet.message == Request.HEARTBEAT_UPDATE:
            return self.handle_heartbeat(packet)
        return self.handle_game_packet(packet)

    def handle_game_packet(self, packet: Packet, /) -> Response | Awaitable[Response]:
        """Called with each packet that is not a heartbeat.

        Args:
            packet: What the user sent. The server has set its username.

        Returns:
            The answer.
        """
        takes = f"; it takes {', '.join(self._handlers)}" if self._handlers else ""
        response = Response(
            f"{type(self).__name__} does not handle {packet.message[:60]!r}{takes}.",
            status=Status.UNEXPECTED,
        )
        return note_code(response, ReasonCode.UNKNOWN_REQUEST)

    def handle_heartbeat(self, packet: Packet, /) -> Response | Awaitable[Response]:
        """Called with each heartbeat of a user, `heartbeat_rate` times a second.

        Args:
            packet: The heartbeat; its payload is what the client's ``heartbeat_payload``
                returned.

        Returns:
            The answer, which the client passes to its ``on_heartbeat``.
        """
        return Response(f"{type(self).__name__} has nothing to tell in a heartbeat.")

    def view(self, *args: Any, **kwargs: Any) -> Any:
        """Called to get what a player may see of the game; the server sends what has changed.

        Override it as ``def view(self, player)``, where *player* is a name, or None for a
        spectator. Where everybody sees the same, override it as ``def view(self)``.

        Returns:
            An attrs model, plain data, or None for nothing. The server sends nothing else.
        """
        return None

    async def run(self) -> None:
        """Run the game as a script, which waits for players and asks them.

        The game ends when it returns.
        """

    def get_save_string(self) -> Any:
        """Called to save a persistent game: at each autosave, ``save`` request and shutdown.

        Returns:
            What the game needs to go on later: a text, which ``__init__`` gets as *save_string*,
            or an attrs model, which ``self.room.saved(Model)`` returns. A game whose save string
            is empty is not saved.
        """
        return ""

    def get_lobby_info(self) -> str:
        """Called to describe the game in the list of games.

        Returns:
            A text for people who look for a game to join, of at most 1 KiB.
        """
        return ""

    def update(self) -> Any:
        """Called `update_rate` times a second, also while nobody plays. May be async."""
        return None
