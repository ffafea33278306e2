"""The command-line client: each line is a packet, and each answer is printed.

A line is ``message;key=value;key2=value2``. A leading ``.`` stands for ``__pgnet__.``, the requests
of the server itself, and a leading ``..`` for a literal dot. ``True``, ``False``, integers and
floats are read as such, and a value in double quotes is text whatever it looks like.

``.find_game;queue=ranked;mode=blitz`` looks for a game while lines are read on, with properties
such as the mode, and confirms a match; ``.leave_queue`` gives up.

``/state`` shows the state of the game, ``/answer message;key=value`` answers its question, and
``quit`` ends the prompt. The client does not send a request or a command that does not exist, and
shows what may be meant; a leading ``//`` stands for a literal slash.

The client shows what the game sends unasked as it comes: pushes, questions, who joins, leaves,
drops and is back, why the user is out of the game, and what whoever runs the server announces.
"""

from __future__ import annotations

import difflib
import logging
import math
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.console import PROMPT, Console, PlainConsole, local_time
from pgnet_trio.errors import Disconnected, PGNetError, bare
from pgnet_trio.foreign_text import one_line, printable
from pgnet_trio.lines import (
    SYNTAX,
    CommandError,
    Signatures,
    as_typed,
    describe_packet,
    describe_status,
    describe_value,
    parse_packet,
    shown_payload,
    split_line,
)
from pgnet_trio.messages import (
    Packet,
    Push,
    Request,
    RequestFailed,
    Response,
    Status,
)

if TYPE_CHECKING:
    from pgnet_trio.client import Client, Invitation, Question, Search

__all__ = [
    "PROMPT",
    "CommandError",
    "Console",
    "DevClient",
    "PlainConsole",
    "Signatures",
    "describe_packet",
    "describe_status",
    "describe_value",
    "local_time",
    "parse_packet",
    "printable",
    "run",
    "split_line",
]

logger = logging.getLogger("pgnet_trio.client")

STATE_COMMAND = "/state"
ANSWER_COMMAND = "/answer"
ANSWERS = {"ReadyCheck": f"Ready, or {ANSWER_COMMAND} Ready;ready=False"}
QUIT = "quit"

# As a person asks: properties are arguments of their own, and matches are confirmed unasked.
_SEARCH_SIGNATURES: Signatures = {
    Request.FIND_GAME: {"queue": "str"},
    Request.LEAVE_QUEUE: {},
}

MAX_NOTE_LENGTH = 2000
"""Characters that are shown of a push or a question; a game may send as many as it likes."""


class DevClient:
    """Reads lines, sends each as a packet, and shows the responses, and what comes unasked.

    Args:
        client: A client that is not connected yet. This takes over its ``on_connection``,
            ``on_online``, ``on_status``, ``on_game``, ``on_players``, ``on_push``,
            ``on_lost_pushes``, ``on_question``, ``on_state`` and ``on_announcement``.
        console: Where to read and to show; standard input and output if None.
    """

    def __init__(self, client: Client, *, console: Console | None = None) -> None:
        self._client = client
        self._console: Console = PlainConsole() if console is None else console
        self._signatures: dict[str, Mapping[str, str]] = {}
        self._connection = trio.CancelScope()
        self._line_number = 0
        self._all_well = True
        self._players: dict[str, bool] = {}
        self._questions: list[Question[Any]] = []
        self._knows_of_state = False
        self._statuses: set[str] = set()
        # The packet to show as sent once there is a connection again, and when the last was sent.
        self._waiting: Packet | None = None
        self._searching: trio.Nursery | None = None
        self._search: Search | None = None
        self._sent_at = 0.0

    async def run(self) -> int:
        """Connect, and read lines until they end, ``quit`` is one, or the server goes away.

        Cancellation disconnects.

        Returns:
            An exit status: 0 if every line was sent and every answer had the status OK, else 1.

        Raises:
            ConnectFailed: The server was not reached, or did not let the user in; or it has
                another key now than before a drop.
        """
        client = self._client
        client.on_connection = self._on_connection
        client.on_online = self._on_online
        client.on_status = self._on_status
        client.on_game = self._on_game
        client.on_players = self._on_players
        client.on_announcement = self._on_announcement
        client.on_invitation = self._on_invitation
        client.on_push = self._on_push
        client.on_lost_pushes = self._on_lost_pushes
        client.on_question = self._on_question
        client.on_state = self._on_state
        async with client:
            with self._connection:
                if client.protocol == 1:
                    self._console.show_note(
                        "Protocol 1, the original's: what is sent has no forward secrecy, and "
                        "nothing comes unasked but heartbeats."
                    )
                if self._console.is_interactive:
                    self._console.show_note(f".help lists the requests; {QUIT} ends")
                await self._converse_beside_searches()
        if self._connection.cancelled_caught:
            self._all_well = False
            reason = client.close_reason or "no reason was given"
            # Show the status where the reason is only a word for programs.
            is_told = reason in client.status
            self._console.show_error(
                f"The connection ended: {reason}" if is_told else client.status
            )
        return 0 if self._all_well else 1

    def _on_connection(self, connected: bool) -> None:
        if connected:
            return
        if self._client.close_reason:
            self._connection.cancel()
        else:
            self._all_well = False
            self._console.show_error("The server does not know this session any more.")

    def _on_online(self, online: bool) -> None:
        if online and self._waiting is not None:
            self._show_sent(self._waiting)

    def _on_status(self, status: str) -> None:
        # `run` shows why the connection ended.
        if self._client.close_reason:
            return
        # The tries to come back have the same few statuses again and again, one for each address.
        if self._client.online:
            self._statuses.clear()
        if status not in self._statuses:
            self._statuses.add(status)
            self._console.show_note(status)

    def _on_game(self, game: str | None) -> None:
        self._players = {}
        self._questions.clear()
        self._knows_of_state = False
        left = self._client.left
        # Not where the user asked to leave: the response says so already.
        if game is None and left is not None and left.reason != "left":
            message = f": {left.message}" if left.message else ""
            self._console.show_note(f"Out of the game {left.game!r}, {left.reason}{message}")

    def _on_players(self, players: dict[str, bool]) -> None:
        before, self._players = self._players, players
        if not players:
            # This user is out of the game.
            return
        if not before:
            names = (name if online else f"{name} (dropped)" for name, online in players.items())
            self._console.show_note(f"Players: {', '.join(names)}")
            return
        for name, online in players.items():
            if name not in before:
                self._console.show_note(f"{name} has joined")
            elif online != before[name]:
                self._console.show_note(f"{name} {'is back' if online else 'has dropped'}")
        for name in before.keys() - players.keys():
            self._console.show_note(f"{name} has left")

    def _on_push(self, push: Push) -> None:
        self._console.show_note(f"Push: {_describe(Packet(push.message, push.payload))}")

    def _on_announcement(self, text: str) -> None:
        self._console.show_note(f"Announcement: {printable(text[:MAX_NOTE_LENGTH])}")

    def _on_invitation(self, invitation: Invitation) -> None:
        game, game_class = one_line(invitation.game, 60), one_line(invitation.game_class, 60)
        self._console.show_note(
            f"{one_line(invitation.inviter, 60)} invites you to the game {game!r} ({game_class}): "
            f".join_game;name={game};invited=True"
        )

    def _on_lost_pushes(self, count: int) -> None:
        self._console.show_note(f"Pushes lost: {count}, since too many waited")

    def _on_question(self, question: Question[Any]) -> None:
        self._questions = [each for each in self._questions if each.is_open]
        self._questions.append(question)
        seconds = question.seconds_left
        time_left = f", {seconds:.0f} s left" if math.isfinite(seconds) else ""
        self._console.show_note(
            f"Question: {_describe(question.packet)}{time_left}; answer with "
            f"{ANSWER_COMMAND} {ANSWERS.get(question.packet.message, SYNTAX)}"
        )

    def _on_state(self, _: object) -> None:
        # Shown only on request: a state may be long, and there may be thirty a second.
        if not self._knows_of_state:
            self._knows_of_state = True
            self._console.show_note(f"The game has a state; {STATE_COMMAND} shows it")

    async def _ask_for_signatures(self) -> None:
        response = await self._request(Packet(Request.HELP))
        if response.status == Status.OK:
            self._signatures = {
                message: arguments
                for message, arguments in response.payload.items()
                if isinstance(arguments, dict)
            }
            self._signatures.update(_SEARCH_SIGNATURES)
            self._console.offer(self._signatures)

    async def _converse_beside_searches(self) -> None:
        try:
            async with trio.open_nursery() as self._searching:
                await self._ask_for_signatures()
                await self._converse()
                self._searching.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise bare(group) from None

    async def _find_game(self, packet: Packet) -> None:
        """Look for a game, and show how that goes, until there is one."""
        properties = dict(packet.payload)
        queue = str(properties.pop("queue", ""))
        try:
            async with self._client.find_game(queue, properties=properties) as self._search:
                async for search in self._search:
                    self._console.show_note(
                        "A match is found; waiting for the others to confirm it"
                        if search.is_found
                        else f"Looking for a game: place {search.position}, {search.waited:.0f} s"
                    )
        except (RequestFailed, RuntimeError) as error:
            # Another line may be read by now.
            self._all_well = False
            self._console.show_error(str(error))
        except Disconnected as error:
            # Shown where lines are read.
            logger.debug("The search is over: %s", one_line(error))
        finally:
            self._search = None

    def _take_search(self, packet: Packet) -> bool:
        """Begin or end a search, if a line asks for that; return whether it does.

        Raises:
            CommandError: There is no search to end.
        """
        if packet.message == Request.FIND_GAME and self._searching is not None:
            self._show_leaving(packet)
            self._searching.start_soon(self._find_game, packet)
            return True
        if packet.message != Request.LEAVE_QUEUE:
            return False
        if self._search is None or self._search.is_over:
            raise CommandError("you look for no game; .find_game does")
        self._search.cancel()
        self._console.show_note("You look for no game any more")
        return True

    async def _converse(self) -> None:
        leaving = False
        while not leaving:
            try:
                self._line_number += 1
                line = await self._console.read_line()
            except EOFError:
                return
            except ValueError as error:
                self._complain(str(error))
                continue
            if line.strip() == QUIT:
                return
            if line.strip():
                leaving = await self._answer(line)
        # The user asked the server to go: the lines behind that request were not sent.
        if self._console.has_buffered():
            self._line_number += 1
            self._complain("not sent: the server has closed the connection")

    async def _answer(self, line: str) -> bool:
        """Do what a line says, show the response, and return whether the server goes."""
        word, _, rest = line.strip().partition(" ")
        try:
            if word == STATE_COMMAND and not rest:
                self._show_state()
                return False
            question = self._oldest_question() if word == ANSWER_COMMAND else None
            if question is None:
                self._check_word(line)
            packet = parse_packet(line if question is None else rest, self._signatures)
            if self._take_search(packet):
                return False
            self._show_leaving(packet)
            response = await self._request(packet, question)
        except PGNetError as error:
            self._complain(str(error))
            return False
        finally:
            self._waiting = None
        payload = shown_payload(packet.message, response.payload)
        shown = attrs.evolve(response, payload=payload)
        self._console.show_response(shown, trio.current_time() - self._sent_at)
        is_ok = response.status == Status.OK
        self._all_well = self._all_well and is_ok
        return response.disconnecting or (is_ok and packet.message == Request.SHUTDOWN)

    def _check_word(self, line: str) -> None:
        """Refuse a request that the server does not have, or a command that does not exist.

        Raises:
            CommandError: It is one of these; the message says what may be meant.
        """
        word = re.split("[ ;]", line.strip(), maxsplit=1)[0]
        requests = {*self._signatures, *Request}
        if word in (STATE_COMMAND, ANSWER_COMMAND):
            usage = word if word == STATE_COMMAND else f"{word} {SYNTAX}"
            raise CommandError(f"expected {usage}, got {line.strip()[:60]!r}")
        if word.startswith("/"):
            if word.startswith("//"):
                return
            hint = (
                f"the commands are {STATE_COMMAND} and {ANSWER_COMMAND}, and a message to the game "
                "that begins with / is written with //"
            )
        elif word.startswith(".") and not word.startswith(".."):
            # Without a response to `Request.HELP`, nobody knows which requests there are.
            if not self._signatures or split_line(line)[0] in requests:
                return
            if split_line(word)[0] in requests:
                raise CommandError(f"expected {word};key=value, got {line.strip()[:60]!r}")
            hint = ".help lists them"
        else:
            return
        known = [*map(as_typed, requests), STATE_COMMAND, ANSWER_COMMAND, QUIT]
        close = difflib.get_close_matches(word, known, n=1)
        if close:
            hint = f"did you mean {close[0]}?"
        what = "command" if word.startswith("/") else "request"
        raise CommandError(f"there is no such {what}: {word[:60]}; {hint}")

    def _show_leaving(self, packet: Packet) -> None:
        if self._client.online:
            self._show_sent(packet)
            return
        self._waiting = packet
        self._sent_at = trio.current_time()
        self._console.show_note(
            f"The connection is down, and this waits until it is back: {_describe(packet)}"
        )

    def _show_sent(self, packet: Packet) -> None:
        self._waiting = None
        self._console.show_sent(packet)
        self._sent_at = trio.current_time()

    async def _request(self, packet: Packet, question: Question[Any] | None = None) -> Response:
        try:
            if question is None:
                return await self._client.request(packet)
            return await question.answer(packet)
        except RequestFailed as error:
            return error.response
        except Disconnected:
            if self._client.close_reason:
                # End as while a line is awaited, where `run` shows the reason.
                self._connection.cancel()
                await trio.lowlevel.checkpoint()
            raise

    def _oldest_question(self) -> Question[Any]:
        self._questions = [question for question in self._questions if question.is_open]
        if not self._questions:
            raise CommandError("there is no open question to answer")
        return self._questions[0]

    def _show_state(self) -> None:
        anything: Any = Any
        try:
            state = self._client.get_state(anything)
        except RuntimeError as error:
            raise CommandError(str(error)) from None
        self._console.show_note(f"State: {describe_value(state)}")

    def _complain(self, problem: str) -> None:
        self._all_well = False
        place = "" if self._console.is_interactive else f"line {self._line_number}: "
        self._console.show_error(place + problem)


def _describe(packet: Packet) -> str:
    text = describe_packet(packet)
    return text if len(text) <= MAX_NOTE_LENGTH else f"{text[:MAX_NOTE_LENGTH]}..."


async def run(client: Client, console: Console | None = None) -> int:
    """Run a `DevClient`; see `DevClient.run`."""
    return await DevClient(client, console=console).run()


if __name__ == "__main__":
    sys.exit(
        "pgnet_trio.devclient is the prompt of the command pgnet-trio; open it with "
        "`pgnet-trio connect`, or `python -m pgnet_trio connect`."
    )
