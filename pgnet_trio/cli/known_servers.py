"""Trust on first use, as in ssh: a file with the keys of the servers that the user accepted."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import trio
from platformdirs import user_data_path

from pgnet_trio.client.address import Address, parse_addresses
from pgnet_trio.client.server_key import ServerKey, fetch_server_key, fingerprint
from pgnet_trio.errors import CryptoError, PGNetError
from pgnet_trio.foreign_text import printable
from pgnet_trio.messages import DEFAULT_PORT

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = [
    "KnownServer",
    "KnownServers",
    "KnownServersError",
    "UnknownServer",
    "add_options",
    "public_key",
    "server_name",
    "server_names",
    "trusted_key",
]


class KnownServersError(PGNetError):
    """The file with the known servers cannot be used; the message says which and why."""


class UnknownServer(PGNetError):
    """The server's key is another one than the known one, or unknown; nothing secret was sent."""


@attrs.frozen
class KnownServer:
    """A line of the file.

    Attributes:
        pubkey: The server's public key in base64.
        line: The number of the line, from 1.
    """

    pubkey: str
    line: int


def server_name(address: Address, /) -> str:
    """Return a server's name in the file: ``host:port``, and the path where a URL has one."""
    resource = "" if address.resource == "/" else address.resource
    return f"{address}{resource}".replace(" ", "%20")


def server_names(addresses: str, /) -> list[str]:
    """Return the names of the servers at one or several addresses.

    Raises:
        AddressError: One of the addresses is none.
    """
    return [server_name(address) for address in parse_addresses(addresses, DEFAULT_PORT)]


class KnownServers:
    """The file with the known servers: for each a line with ``host:port`` and its public key.

    Empty lines, and those that begin with ``#``, are the user's own: they stay.

    Args:
        path: The file; `add` makes it and its folder for the first server.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, name: str) -> KnownServer | None:
        """Return what is known of a server; None where it is unknown.

        Raises:
            KnownServersError: The file cannot be read, or is damaged.
        """
        return self._read()[1].get(name)

    def add(self, name: str, pubkey: str) -> None:
        """Remember a server's key, durably.

        Raises:
            KnownServersError: The file cannot be used, or another program has remembered another
                key of this server.
        """
        with self._locked():
            lines, known = self._read()
            if name not in known:
                self._write([*lines, f"{name} {pubkey}"])
            elif known[name].pubkey != pubkey:
                raise KnownServersError(
                    f"{self.path}, line {known[name].line}: another key of {printable(name)} was "
                    "remembered just now; connect again to compare"
                )

    def forget(self, name: str) -> bool:
        """Remove a server; return whether it was known.

        Raises:
            KnownServersError: The file cannot be used.
        """
        if self.find(name) is None:
            return False
        with self._locked():
            lines, known = self._read()
            if name not in known:
                return False
            del lines[known[name].line - 1]
            self._write(lines)
        return True

    def _read(self) -> tuple[list[str], dict[str, KnownServer]]:
        try:
            # People edit it, and some editors begin a file with a byte-order mark.
            text = self.path.read_text("utf-8-sig")
        except FileNotFoundError:
            return [], {}
        except OSError as error:
            raise self._wrong("read", error) from error
        except UnicodeError:
            raise KnownServersError(
                f"{self.path} is damaged: expected text in UTF-8; mend or remove it"
            ) from None
        lines = text.removesuffix("\n").split("\n") if text else []
        known: dict[str, KnownServer] = {}
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, _, pubkey = line.partition(" ")
            try:
                fingerprint(pubkey)
            except CryptoError:
                problem = "expected host:port and a public key"
            else:
                problem = f"{printable(name)} is there twice" if name in known else ""
            if problem:
                raise KnownServersError(
                    f"{self.path}, line {number} is damaged: {problem}; mend or remove it"
                )
            known[name] = KnownServer(pubkey, number)
        return lines, known

    def _write(self, lines: list[str]) -> None:
        # Replace the file that a symbolic link leads to, so that the link stays.
        path = Path(os.path.realpath(self.path))
        try:
            # For its owner only: it says which servers somebody plays on.
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            try:
                with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
                    file.write("".join(f"{line}\n" for line in lines))
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            raise self._wrong("write", error) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other programs from writing during the block; first wait for those that do."""
        path = Path(os.path.realpath(self.path))
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_RDWR | os.O_CREAT
            descriptor = os.open(path.with_name(f".{path.name}.lock"), flags, 0o600)
        except OSError as error:
            raise self._wrong("write", error) from error
        try:
            if sys.platform == "win32":
                msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
            else:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _wrong(self, verb: str, error: OSError) -> KnownServersError:
        return KnownServersError(f"cannot {verb} {self.path}: {error.strerror or error}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that decide which key a server has to have."""
    group = parser.add_argument_group(
        "the server's key",
        "As in ssh, a server that is not known yet is shown with its fingerprint, and remembered "
        "once you accept it; one whose key has changed is refused.",
    )
    choice = group.add_mutually_exclusive_group()
    choice.add_argument(
        "--verify-server-pubkey",
        type=public_key,
        metavar="KEY",
        help="talk only to the server with this public key, whatever is known of it",
    )
    choice.add_argument(
        "--accept-new-key",
        action="store_true",
        help="remember a server that is not known yet without asking, for scripts",
    )
    group.add_argument(
        "--minimum-protocol",
        type=int,
        choices=[1, 2],
        default=1,
        help="2 refuses servers of PGNet, whose protocol has no forward secrecy (default: 1)",
    )
    group.add_argument(
        "--known-servers",
        metavar="FILE",
        help=f"where the known servers are (default: {default_path()})",
    )


def default_path() -> Path:
    """Return where this platform keeps the file with the known servers."""
    return user_data_path("pgnet-trio", appauthor=False) / "known_servers"


def known_servers(options: argparse.Namespace) -> KnownServers:
    """Return the file that the options name."""
    return KnownServers(Path(options.known_servers) if options.known_servers else default_path())


def public_key(text: str, /) -> str:
    """Check a public key for argparse."""
    try:
        fingerprint(text)
    except CryptoError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def trusted_key(options: argparse.Namespace, ask: Callable[[str], str] | None) -> ServerKey:
    """Make sure who the server is, before it gets anything secret.

    Args:
        options: An address, a transport, and the options of `add_options`.
        ask: Asks a person a question; None where there is nobody to ask.

    Returns:
        The key that the server has to have, and the protocol to speak with it.

    Raises:
        UnknownServer: The server's key is not the known one, or the user did not accept it.
        KnownServersError: The file cannot be used.
        ConnectFailed: The server was not reached.
    """
    if options.verify_server_pubkey:
        return ServerKey(options.verify_server_pubkey, 2)
    servers = known_servers(options)
    names = server_names(options.address)
    name = ",".join(names)
    known = {each: found for each in names if (found := servers.find(each)) is not None}
    key = trio.run(_fetch, options)
    for found in known.values():
        _compare(options, servers, name, found, key)
    if len(known) == len(names):
        return key
    if known:
        # They are one server, so the others have this key too, and must have it later.
        _remember(servers, names, key)
        return key
    if key.protocol < options.minimum_protocol:
        raise UnknownServer(f"{printable(name)} speaks only protocol 1, so nothing was sent to it")
    _accept(options, ask, key, printable(name))
    if key.protocol > 1:
        _remember(servers, names, key)
    return key


def _remember(servers: KnownServers, names: list[str], key: ServerKey) -> None:
    for name in names:
        if servers.find(name) is None:
            servers.add(name, key.pubkey)
            print(f"Remembered {printable(name)} in {servers.path}", file=sys.stderr)


async def _fetch(options: argparse.Namespace) -> ServerKey:
    return await fetch_server_key(options.address, transport=options.transport)


def _compare(
    options: argparse.Namespace,
    servers: KnownServers,
    name: str,
    known: KnownServer,
    key: ServerKey,
) -> None:
    name = printable(name)
    forget = f"  pgnet-trio connect --forget {options.address}"
    if options.known_servers:
        forget += f" --known-servers {options.known_servers}"
    if known.pubkey != key.pubkey:
        raise UnknownServer(
            f"the key of {name} has changed, so nothing was sent to it.\n"
            f"  known:  {fingerprint(known.pubkey)}  ({servers.path}, line {known.line})\n"
            f"  now:    {key.fingerprint}\n"
            "Somebody may be between you and the server. Or it has a new key: ask who runs it, by "
            f"another way. If the new one is right, forget the old one first:\n{forget}"
        )
    if key.protocol == 1:
        raise UnknownServer(
            f"{name} spoke protocol 2 before and now speaks only protocol 1, so nothing was sent "
            "to it. Somebody between you and the server may hide the newer one, which protects "
            f"better. If the server is an older one now, forget it first:\n{forget}"
        )


def _accept(
    options: argparse.Namespace, ask: Callable[[str], str] | None, key: ServerKey, name: str
) -> None:
    what = f"{name} is not known yet" if key.protocol > 1 else f"{name} speaks only protocol 1"
    shown = f"{what}; its key has the fingerprint\n  {key.fingerprint}"
    if options.accept_new_key:
        print(f"Accepted without asking: {shown}", file=sys.stderr)
        return
    if ask is None:
        raise UnknownServer(
            f"{shown}\nCompare it with what its host says, and connect once from a terminal to "
            "accept it; or give --verify-server-pubkey KEY, or --accept-new-key."
        )
    print(shown)
    if key.protocol == 1:
        print(
            "Protocol 1 has no forward secrecy, and its keys are not remembered. It may also be "
            "that\nsomebody between you and the server hides the newer protocol."
        )
    print("Compare it with what its host says; `pgnet-trio key` shows it there.")
    question = "Go on? (yes, no, or the fingerprint as you know it) "
    while (answer := ask(question).strip()) not in {"yes", key.fingerprint}:
        if answer == "no":
            raise UnknownServer(f"{name} was not accepted, so nothing was sent to it")
        if answer.startswith("SHA256:"):
            raise UnknownServer("this is another fingerprint, so nothing was sent to the server")
