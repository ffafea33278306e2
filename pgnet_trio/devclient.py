"""The command-line client: each line is a packet, and each answer is printed.

A line is ``message;key=value;key2=value2``. A leading ``.`` stands for ``__pgnet__.``, the requests
of the server itself, and a leading ``..`` for a literal dot. ``True``, ``False``, integers and
floats are read as such, and a value in double quotes is text whatever it looks like. ``/state``
shows the state of the game, ``/answer message;key=value`` answers its question, and ``quit``
ends it. A request or a command that there is none of is not sent, and what may be meant is shown;
a leading ``//`` stands for a literal slash.

What the game sends unasked is shown as it comes: pushes, questions, who comes, goes, drops and is
back, and why one is out of the game.
"""

from __future__ import annotations

import difflib
import math
import re
import sys
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import trio

from pgnet_trio.errors import Disconnected, PGNetError
from pgnet_trio.lines import (
    SYNTAX,
    CommandError,
    Signatures,
    describe_packet,
    describe_status,
    describe_value,
    parse_packet,
    printable,
    split_line,
)
from pgnet_trio.messages import (
    SERVER_PREFIX,
    Packet,
    Push,
    Request,
    RequestFailed,
    Response,
    Status,
    wall_clock,
)
from pgnet_trio.terminal import standard_input

if TYPE_CHECKING:
    from pgnet_trio.client import Client, Question

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

PROMPT = ">> "

STATE_COMMAND = "/state"
ANSWER_COMMAND = "/answer"
QUIT = "quit"

MAX_NOTE_LENGTH = 2000
"""Characters of a push or a question that are shown; a game may send as much as it likes."""


class Console(Protocol):
    """Where the prompt gets its lines, and where it shows what happens."""

    @property
    def is_interactive(self) -> bool:
        """Whether a person types the lines."""

    async def read_line(self) -> str:
        """Wait for a line; cancellable. Raises EOFError at the end, ValueError for a bad line."""

    def has_buffered(self) -> bool:
        """Whether lines are there already that nobody has read yet."""

    def offer(self, signatures: Signatures) -> None:
        """Take note of the server's requests, to complete them."""

    def show_sent(self, packet: Packet) -> None:
        """Show that a packet is sent now."""

    def show_response(self, response: Response, seconds: float) -> None:
        """Show the answer that came now, *seconds* after its packet was sent."""

    def show_note(self, text: str) -> None:
        """Show what happened meanwhile; also while `read_line` waits."""

    def show_error(self, text: str) -> None:
        """Show what went wrong."""


class PlainConsole:
    """Standard input and output, as they are."""

    def __init__(self) -> None:
        self._prompting = False

    @property
    def is_interactive(self) -> bool:
        """Whether standard input is a terminal."""
        return sys.stdin is not None and sys.stdin.isatty()

    async def read_line(self) -> str:
        """Wait for a line of standard input; a terminal shows a prompt."""
        reader = standard_input()
        if not self.is_interactive:
            return await reader.read_line()
        self._prompting = True
        try:
            print(PROMPT, end="", flush=True)
            return await reader.read_line()
        except BaseException:
            # What comes next begins a line of its own.
            print()
            raise
        finally:
            self._prompting = False

    def has_buffered(self) -> bool:
        """Whether more lines were read from standard input already."""
        return standard_input().has_buffered

    def offer(self, signatures: Signatures) -> None:
        """Do nothing: this completes nothing."""

    def show_sent(self, packet: Packet) -> None:
        """Print the time and the packet."""
        self._print(f"SENT      {local_time()}  {describe_packet(packet)}")

    def show_response(self, response: Response, seconds: float) -> None:
        """Print the time and the whole answer."""
        status = describe_status(response.status)
        lines = [f"RECEIVED  {local_time()}  {status}, after {seconds * 1000:.1f} ms"]
        if response.message:
            lines.append(response.message)
        for key, value in response.payload.items():
            lines.append(f"    {key}: {describe_value(value)}".replace("\n", "\n    "))
        self._print("\n".join(lines))

    def show_note(self, text: str) -> None:
        """Print it; on a terminal above a new prompt."""
        if self._prompting:
            self._print(f"\n* {text}\n{PROMPT}", end="")
        else:
            self._print(f"* {text}")

    def show_error(self, text: str) -> None:
        """Print it to standard error."""
        print(printable(text), file=sys.stderr, flush=True)

    def _print(self, text: str, *, end: str = "\n") -> None:
        # Flushed, for whoever reads it through a pipe while it happens.
        print(printable(text), end=end, flush=True)


def local_time() -> str:
    """Give the time of day where the user is, to the millisecond."""
    return wall_clock.get()().astimezone().strftime("%H:%M:%S.%f")[:-3]


class DevClient:
    """Reads lines, sends each as a packet, and shows the answers, and what comes unasked.

    Args:
        client: A client that is not connected yet. Its ``on_connection``, ``on_online``,
            ``on_status``, ``on_game``, ``on_players``, ``on_push``, ``on_question`` and
            ``on_state`` are taken over.
        console: Where to read and to show; standard input and output if None.
    """

    def __init__(self, client: Client, *, console: Console | None = None) -> None:
        self._client = client
        self._console: Console = PlainConsole() if console is None else console
        self._signatures: Signatures = {}
        self._connection = trio.CancelScope()
        self._line_number = 0
        self._all_well = True
        self._players: dict[str, bool] = {}
        self._questions: list[Question[Any]] = []
        self._knows_of_state = False
        self._status = ""
        # What is to be shown as sent once there is a connection again, and when that was.
        self._waiting: Packet | None = None
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
        client.on_push = self._on_push
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
                await self._ask_for_signatures()
                await self._converse()
        if self._connection.cancelled_caught:
            self._all_well = False
            reason = client.close_reason or "no reason was given"
            # The reason may be a word for programs, where the status is a sentence.
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
        # A change of game is a change of status too. Of the end, `run` tells.
        if not self._client.close_reason and status != self._status:
            # Of many tries to come back in vain, one is enough.
            self._status = status
            self._console.show_note(status)

    def _on_game(self, game: str | None) -> None:
        self._players = {}
        self._questions.clear()
        self._knows_of_state = False
        left = self._client.left
        # That one left because one asked to is no news.
        if game is None and left is not None and left.reason != "left":
            message = f": {left.message}" if left.message else ""
            self._console.show_note(f"Out of the game {left.game!r}, {left.reason}{message}")

    def _on_players(self, players: dict[str, bool]) -> None:
        before, self._players = self._players, players
        if not players:
            # It is this user who is out of the game.
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

    def _on_question(self, question: Question[Any]) -> None:
        self._questions.append(question)
        seconds = question.seconds_left
        time_left = f", {seconds:.0f} s left" if math.isfinite(seconds) else ""
        self._console.show_note(
            f"Question: {_describe(question.packet)}{time_left}; answer with "
            f"{ANSWER_COMMAND} {SYNTAX}"
        )

    def _on_state(self, _: object) -> None:
        # Each of them may be long, and there may be thirty a second.
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
            self._console.offer(self._signatures)

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
        # The server goes because it was asked to; what else was to be sent is not.
        if self._console.has_buffered():
            self._line_number += 1
            self._complain("not sent: the server has closed the connection")

    async def _answer(self, line: str) -> bool:
        """Do what a line says, show the answer, and return whether the server goes."""
        word, _, rest = line.strip().partition(" ")
        try:
            if word == STATE_COMMAND and not rest:
                self._show_state()
                return False
            question = self._oldest_question() if word == ANSWER_COMMAND else None
            if question is None:
                self._check_word(line)
            packet = parse_packet(line if question is None else rest, self._signatures)
            self._show_leaving(packet)
            response = await self._request(packet, question)
        except PGNetError as error:
            self._complain(str(error))
            return False
        finally:
            self._waiting = None
        shown = response
        if packet.message == Request.HELP:
            # As they are typed here.
            payload = {_typed(key): value for key, value in response.payload.items()}
            shown = attrs.evolve(response, payload=payload)
        self._console.show_response(shown, trio.current_time() - self._sent_at)
        is_ok = response.status == Status.OK
        self._all_well = self._all_well and is_ok
        return response.disconnecting or (is_ok and packet.message == Request.SHUTDOWN)

    def _check_word(self, line: str) -> None:
        """Refuse a request that the server does not have, and a command that there is not.

        Raises:
            CommandError: It is such a one; the message says what may be meant.
        """
        word = re.split("[ ;]", line.strip(), maxsplit=1)[0]
        requests = {*self._signatures, *Request}
        if word in (STATE_COMMAND, ANSWER_COMMAND):
            usage = word if word == STATE_COMMAND else f"{word} {SYNTAX}"
            raise CommandError(f"expected {usage}, got {line.strip()[:60]!r}")
        if word.startswith("/"):
            if word.startswith("//"):
                return
            hint = "a message to the game that begins with / is written with //"
        elif word.startswith(".") and not word.startswith(".."):
            # Without an answer to `Request.HELP` nobody knows what there is.
            if not self._signatures or split_line(line)[0] in requests:
                return
            hint = ".help lists them"
        else:
            return
        known = [*map(_typed, requests), STATE_COMMAND, ANSWER_COMMAND, QUIT]
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
                # Ends here, as at the prompt.
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


def _typed(message: str) -> str:
    """Give a message as it is typed at the prompt."""
    is_own = message.startswith(SERVER_PREFIX)
    return f".{message.removeprefix(SERVER_PREFIX)}" if is_own else message


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
