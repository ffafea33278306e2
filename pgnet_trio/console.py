"""Where a prompt reads its lines, and where it shows what happens."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from pgnet_trio.foreign_text import printable
from pgnet_trio.lines import describe_packet, describe_status, describe_value
from pgnet_trio.messages import wall_clock
from pgnet_trio.terminal import standard_input

if TYPE_CHECKING:
    from pgnet_trio.lines import Signatures
    from pgnet_trio.messages import Packet, Response

__all__ = ["PROMPT", "Console", "PlainConsole", "local_time"]

PROMPT = ">> "


class Console(Protocol):
    """What a `DevClient` needs of a console."""

    @property
    def is_interactive(self) -> bool:
        """Whether a person types the lines."""

    async def read_line(self) -> str:
        """Wait for a line; cancellable.

        Raises:
            EOFError: There are no more lines.
            ValueError: A line is too long, or is no text; it is dropped.
        """

    def has_buffered(self) -> bool:
        """Return whether there are lines already that nobody has read."""

    def offer(self, signatures: Signatures) -> None:
        """Take the server's requests and their arguments, to complete what a person types."""

    def show_sent(self, packet: Packet) -> None:
        """Show a packet that is sent now."""

    def show_response(self, response: Response, seconds: float) -> None:
        """Show a response that came now, *seconds* after its packet was sent."""

    def show_note(self, text: str) -> None:
        """Show what happened; also while `read_line` waits."""

    def show_error(self, text: str) -> None:
        """Show what went wrong."""


class PlainConsole:
    """A console on standard input and output, without anything special."""

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
            # End the line of the prompt, so that what is printed next has its own.
            print()
            raise
        finally:
            self._prompting = False

    def has_buffered(self) -> bool:
        """Return whether more of standard input was read already."""
        return standard_input().has_buffered

    def offer(self, signatures: Signatures) -> None:
        """Do nothing: this console completes nothing."""

    def show_sent(self, packet: Packet) -> None:
        """Print the time and the packet."""
        self._print(f"SENT      {local_time()}  {describe_packet(packet)}")

    def show_response(self, response: Response, seconds: float) -> None:
        """Print the time and the whole response."""
        status = describe_status(response.status)
        lines = [f"RECEIVED  {local_time()}  {status}, after {seconds * 1000:.1f} ms"]
        if response.message:
            lines.append(response.message)
        for key, value in response.payload.items():
            lines.append(f"    {key}: {describe_value(value)}".replace("\n", "\n    "))
        self._print("\n".join(lines))

    def show_note(self, text: str) -> None:
        """Print a note; on a terminal, print the prompt again below it."""
        if self._prompting:
            self._print(f"\n* {text}\n{PROMPT}", end="")
        else:
            self._print(f"* {text}")

    def show_error(self, text: str) -> None:
        """Print an error to standard error."""
        print(printable(text), file=sys.stderr, flush=True)

    def _print(self, text: str, *, end: str = "\n") -> None:
        # Flush: a program that reads through a pipe wants each line when it happens.
        print(printable(text), end=end, flush=True)


def local_time() -> str:
    """Return the local time of day, to the millisecond."""
    return wall_clock.get()().astimezone().strftime("%H:%M:%S.%f")[:-3]
