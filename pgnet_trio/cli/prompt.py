"""The console with completion, history and colours, made with the packages of the extra ``cli``."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import trio
from platformdirs import user_state_path
from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.history import History
from rich.console import Console as RichConsole
from rich.console import RenderableType
from rich.pretty import Pretty
from rich.table import Table
from rich.text import Text

from pgnet_trio.console import PROMPT, local_time
from pgnet_trio.foreign_text import printable
from pgnet_trio.lines import (
    CommandError,
    Signatures,
    describe_packet,
    describe_status,
    parse_packet,
    split_line,
)
from pgnet_trio.messages import SERVER_PREFIX, Packet, Response, Status

if TYPE_CHECKING:
    from prompt_toolkit.document import Document

__all__ = ["LineHistory", "PromptConsole", "RequestCompleter", "is_confidential", "state_folder"]

MAX_HISTORY_LINES = 1000
"""Lines of older sessions that the history keeps."""

COMMANDS = ("/state", "/answer", "/answer Ready")
"""What the prompt does itself, and the answer to the ready check of any game."""

_SECRET_WORDS = re.compile("pass|secret|token|code|key|pin", re.IGNORECASE)


def is_confidential(line: str, signatures: Signatures, /) -> bool:
    """Return whether a line may hold a secret, and so must not be written to disk.

    A password is in an argument of that name, or in one whose name was mistyped.
    """
    try:
        packet = parse_packet(line)
    except CommandError:
        return True
    if any(_SECRET_WORDS.search(word) for word in (packet.message, *packet.payload)):
        return True
    known = signatures.get(packet.message)
    is_unknown = known is None and packet.message.startswith(SERVER_PREFIX)
    return is_unknown or (known is not None and not packet.payload.keys() <= known.keys())


def state_folder() -> Path:
    """Return the folder where this platform keeps what a program remembers of its user."""
    return user_state_path("pgnet-trio", appauthor=False)


class LineHistory(History):
    """Remembers lines, and keeps those without secrets in a file that only its user can read.

    Where the file cannot be read or written, it remembers lines for this session only.

    Args:
        path: The file, one line for each entry; `store_string` makes it and its folder.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.signatures: Signatures = {}
        self._path = path

    def load_history_strings(self) -> Iterable[str]:
        """Return the lines of older sessions, the latest first."""
        try:
            lines = self._path.read_text("utf-8").splitlines()
            if len(lines) > 2 * MAX_HISTORY_LINES:
                lines = lines[-MAX_HISTORY_LINES:]
                self._path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        except (OSError, UnicodeError):
            return []
        return reversed(lines)

    def store_string(self, string: str) -> None:
        """Add a line to the file, if it holds no secret."""
        if is_confidential(string, self.signatures):
            return
        with contextlib.suppress(OSError, UnicodeError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            with open(os.open(self._path, flags, 0o600), "w", encoding="utf-8") as file:
                file.write(f"{string}\n")


class RequestCompleter(Completer):
    """Completes the server's requests and their arguments."""

    def __init__(self) -> None:
        self.signatures: Signatures = {}

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        """Yield what may stand at the cursor."""
        text = document.text_before_cursor
        if ";" not in text:
            yield from self._messages(text)
            return
        message, parts = split_line(text)
        arguments = self.signatures.get(message, {})
        key, equals, value = parts[-1].partition("=")
        if not equals:
            used = {part.partition("=")[0].strip() for part in parts[:-1]}
            for argument, type_name in arguments.items():
                if argument.startswith(key.lstrip()) and argument not in used:
                    yield Completion(f"{argument}=", -len(key.lstrip()), display_meta=type_name)
        elif arguments.get(key.strip()) == "bool":
            for word in ("True", "False"):
                if word.startswith(value):
                    yield Completion(word, -len(value))

    def _messages(self, text: str) -> Iterator[Completion]:
        for message, arguments in sorted(self.signatures.items()):
            line = "." + message.removeprefix(SERVER_PREFIX)
            if text and line.startswith(text):
                yield Completion(line, -len(text), display_meta=" ".join(arguments))
        for command in (*COMMANDS, "quit"):
            if text and command.startswith(text):
                yield Completion(command, -len(text))


class PromptConsole:
    """Reads lines with prompt_toolkit, and shows responses with rich.

    While it is open, everything that the program prints appears above the prompt.

    Args:
        history: Remembers the lines.
    """

    def __init__(self, history: LineHistory) -> None:
        self._history = history
        self._completer = RequestCompleter()
        self._session: PromptSession[str] = PromptSession(
            history=history, completer=self._completer, auto_suggest=AutoSuggestFromHistory()
        )
        self._output = RichConsole(file=sys.stdout, highlight=False)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._interrupted = False
        self._to_show: deque[RenderableType] = deque()
        self._redirections = contextlib.ExitStack()

    def __enter__(self) -> Self:
        lines = _Lines(self)
        self._redirections.enter_context(contextlib.redirect_stdout(lines))
        self._redirections.enter_context(contextlib.redirect_stderr(lines))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._redirections.close()
        self._show_what_waits()

    @property
    def is_interactive(self) -> bool:
        """True: a person types the lines."""
        return True

    async def read_line(self) -> str:
        """Wait for a line. Cancellation ends the prompt at once and drops what was typed.

        Raises:
            EOFError: The user pressed Ctrl-D.
            KeyboardInterrupt: The user pressed Ctrl-C.
        """
        self._interrupted = False
        line: str | None = None
        end: BaseException | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._leave_prompt_when_cancelled)
            # Never abandon the thread: it would go on reading the terminal.
            try:
                line = await trio.to_thread.run_sync(self._prompt)
            except (EOFError, KeyboardInterrupt) as error:
                end = error
            nursery.cancel_scope.cancel()
        self._show_what_waits()
        if line is None:
            await trio.lowlevel.checkpoint_if_cancelled()
            raise end or EOFError
        return line

    def has_buffered(self) -> bool:
        """Return False: a person sees what happened before they type on."""
        return False

    def offer(self, signatures: Signatures) -> None:
        """Complete these requests, beside the commands of the prompt."""
        self._completer.signatures = signatures
        self._history.signatures = signatures

    def show_sent(self, packet: Packet) -> None:
        """Show the time and the packet."""
        self.show(
            Text.assemble(
                (f"{local_time()}  sent      ", "dim"), (printable(describe_packet(packet)), "cyan")
            )
        )

    def show_response(self, response: Response, seconds: float) -> None:
        """Show the time and the whole response."""
        style = "bold green" if response.status == Status.OK else "bold red"
        self.show(
            Text.assemble(
                (f"{local_time()}  received  ", "dim"),
                (describe_status(response.status), style),
                (f"  after {seconds * 1000:.1f} ms", "dim"),
            )
        )
        if response.message:
            self.show(Text(printable(response.message)))
        if response.payload:
            table = Table.grid(padding=(0, 2))
            for key, value in response.payload.items():
                shown = Text(printable(value)) if isinstance(value, str) else Pretty(value)
                table.add_row(Text(f"  {printable(key)}", "cyan"), shown)
            self.show(table)

    def show_note(self, text: str) -> None:
        """Show a note above the prompt."""
        self.show(Text(f"* {printable(text)}", "blue"))

    def show_error(self, text: str) -> None:
        """Show an error above the prompt, in red."""
        self.show(Text(printable(text), "red"))

    def show(self, what: RenderableType) -> None:
        """Show something, above the prompt where there is one."""
        self._to_show.append(what)
        loop = self._loop
        if loop is None:
            self._show_what_waits()
            return
        with contextlib.suppress(RuntimeError):
            # RuntimeError: the prompt has just ended, and `read_line` shows what waits.
            loop.call_soon_threadsafe(run_in_terminal, self._show_what_waits)

    def _show_what_waits(self) -> None:
        while self._to_show:
            self._output.print(self._to_show.popleft())

    async def _leave_prompt_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._interrupted = True
            loop = self._loop
            if loop is not None:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._leave_prompt)

    def _leave_prompt(self) -> None:
        app = self._session.app
        if self._interrupted and app.future is not None and not app.future.done():
            app.exit(exception=EOFError)

    def _prompt(self) -> str:
        def started() -> None:
            self._loop = asyncio.get_running_loop()
            # Catch up: there was no loop yet to tell of a cancellation or of something to show.
            self._loop.call_soon(self._leave_prompt)
            if self._to_show:
                run_in_terminal(self._show_what_waits)

        try:
            return self._session.prompt(PROMPT, pre_run=started)
        finally:
            self._loop = None


class _Lines(io.TextIOBase):
    """Stands in for standard output while the prompt is open."""

    def __init__(self, console: PromptConsole) -> None:
        self._console = console
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._console.show(Text(printable(line)))
        return len(text)
