"""The command-line client: each line is a packet, and each answer is printed.

A line is ``message;key=value;key2=value2``. A leading ``.`` stands for ``__pgnet__.``, the requests
of the server itself, and a leading ``..`` for a literal dot. ``True``, ``False``, integers and
floats are read as such, and a value in double quotes is text whatever it looks like. ``quit``
ends it.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import trio

from pgnet_trio.errors import Disconnected, PGNetError
from pgnet_trio.messages import Packet, Request, Response, Status, wall_clock
from pgnet_trio.terminal import standard_input

if TYPE_CHECKING:
    from pgnet_trio.client import Client

__all__ = [
    "PROMPT",
    "SERVER_PREFIX",
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

SERVER_PREFIX = "__pgnet__."
"""What the messages of the server's own requests begin with; a ``.`` stands for it in a line."""

Signatures = Mapping[str, Mapping[str, str]]
"""What a server says of its requests: for each its arguments, and the name of their types."""

_INTEGER = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][+-]?[0-9]+)?")
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SYNTAX = "message;key=value;key2=value2"


class CommandError(PGNetError):
    """A line is not of the form that the prompt understands."""


def split_line(line: str, /) -> tuple[str, list[str]]:
    """Split a line into the whole message of its packet, and its ``key=value`` parts."""
    message, *parts = line.strip().split(";")
    if message.startswith(".."):
        message = message[1:]
    elif message.startswith("."):
        message = SERVER_PREFIX + message[1:]
    return message, parts


def parse_packet(line: str, signatures: Signatures | None = None, /) -> Packet:
    """Read a line as a packet.

    Args:
        line: The line; see the top of this module.
        signatures: What the server said of its requests. An argument that is text there is text
            here too, even where it looks like a number, and one that is a float is no integer.

    Raises:
        CommandError: The line has another form; the message says what is wrong with it.
    """
    message, parts = split_line(line)
    if not message:
        raise CommandError(f"expected {_SYNTAX}, got no message before the first ';'")
    types = (signatures or {}).get(message, {})
    payload: dict[str, Any] = {}
    for part in parts:
        key, equals, text = part.partition("=")
        key = key.strip()
        if not equals or not key:
            raise CommandError(f"expected {_SYNTAX}, got {part!r} where key=value should be")
        if key in payload:
            raise CommandError(f"expected each key once, got {key!r} twice")
        payload[key] = _parse_value(key, text, types.get(key))
    return Packet(message, payload)


def _parse_value(key: str, text: str, type_name: str | None) -> bool | int | float | str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    word = text.strip()
    if type_name == "str":
        return text
    if word in {"True", "False"}:
        return word == "True"
    if _INTEGER.fullmatch(word) and type_name != "float":
        # The length first: Python refuses to read thousands of digits.
        if len(word) <= 20 and -(2**63) <= (number := int(word)) < 2**63:
            return number
        raise CommandError(f'{key}: expected an integer of at most 64 bits; put text in "quotes"')
    if _FLOAT.fullmatch(word) or _INTEGER.fullmatch(word):
        if math.isfinite(value := float(word)):
            return value
        raise CommandError(f'{key}: expected a float that is not too large; put text in "quotes"')
    return text


def printable(text: str, /) -> str:
    """Make text from elsewhere safe to print: what could steer a terminal becomes an escape."""
    return _STEERING.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def describe_packet(packet: Packet, /) -> str:
    """Say in one line what a packet holds, without its passwords."""
    values = (
        f"{key}=***" if "password" in key.lower() else f"{key}={value!r}"
        for key, value in packet.payload.items()
    )
    return " ".join([packet.message, *values])


def describe_status(status: int, /) -> str:
    """Give the name of a status, or its number."""
    return status.name if isinstance(status, Status) else f"status {status}"


def describe_value(value: object, /) -> str:
    """Give a value of a payload as text, in more than one line where it is long and nested."""
    if not isinstance(value, dict | list):
        return str(value)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 70 else json.dumps(value, ensure_ascii=False, indent=4)


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
    """Reads lines, sends each as a packet, and shows the answers.

    Args:
        client: A client that is not connected yet. Its ``on_connection`` and ``on_status`` are
            taken over.
        console: Where to read and to show; standard input and output if None.
    """

    def __init__(self, client: Client, *, console: Console | None = None) -> None:
        self._client = client
        self._console: Console = PlainConsole() if console is None else console
        self._signatures: Signatures = {}
        self._connection = trio.CancelScope()
        self._line_number = 0
        self._all_well = True

    async def run(self) -> int:
        """Connect, and read lines until they end, ``quit`` is one, or the server goes away.

        Cancellation disconnects.

        Returns:
            An exit status: 0 if every line was sent and every answer had the status OK, else 1.

        Raises:
            ConnectFailed: The server was not reached, or did not let the user in.
        """
        client = self._client
        client.on_connection = self._on_connection
        client.on_status = self._on_status
        async with client:
            with self._connection:
                await self._ask_for_signatures()
                await self._converse()
        if self._connection.cancelled_caught:
            self._all_well = False
            reason = client.close_reason or "no reason was given"
            self._console.show_error(f"The connection ended: {reason}")
        return 0 if self._all_well else 1

    def _on_connection(self, connected: bool) -> None:
        if not connected:
            self._connection.cancel()

    def _on_status(self, status: str) -> None:
        # A change of game is a change of status too. Of the end, `run` tells.
        if not self._client.close_reason:
            self._console.show_note(status)

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
            if line.strip() == "quit":
                return
            if line.strip():
                leaving = await self._answer(line)
        # The server goes because it was asked to; what else was to be sent is not.
        if self._console.has_buffered():
            self._line_number += 1
            self._complain("not sent: the server has closed the connection")

    async def _answer(self, line: str) -> bool:
        """Send a line, show the answer, and return whether the server ends the connection."""
        try:
            packet = parse_packet(line, self._signatures)
            self._console.show_sent(packet)
            sent_at = trio.current_time()
            response = await self._request(packet)
        except PGNetError as error:
            self._complain(str(error))
            return False
        self._console.show_response(response, trio.current_time() - sent_at)
        is_ok = response.status == Status.OK
        self._all_well = self._all_well and is_ok
        return response.disconnecting or (is_ok and packet.message == Request.SHUTDOWN)

    async def _request(self, packet: Packet) -> Response:
        try:
            return await self._client.request(packet)
        except Disconnected:
            # Ends here, as at the prompt.
            self._connection.cancel()
            await trio.lowlevel.checkpoint()
            raise

    def _complain(self, problem: str) -> None:
        self._all_well = False
        place = "" if self._console.is_interactive else f"line {self._line_number}: "
        self._console.show_error(place + problem)


async def run(client: Client, console: Console | None = None) -> int:
    """Run a `DevClient`; see `DevClient.run`."""
    return await DevClient(client, console=console).run()
