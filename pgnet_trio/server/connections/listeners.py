"""Opens the ports that a server listens on."""

from __future__ import annotations

import errno

import trio

from pgnet_trio.errors import ServerError

__all__ = ["open_listeners"]

LOOPBACK = ("127.0.0.1", "::1")
ANYWHERE = ("0.0.0.0", "::")  # for listen_globally
TRIES = 20
"""How often the server looks for a port that is free for IPv4 and for IPv6."""

# The errors of machines without IPv6.
NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.ENOPROTOOPT}


async def open_listeners(port: int, *, listen_globally: bool) -> list[trio.SocketListener]:
    """Listen on one port by IPv4 and, where the machine has it, by IPv6.

    Cancellation leaves nothing open.

    Args:
        port: The port; 0 for any that is free.
        listen_globally: Whether to listen on all of the machine's addresses, or on loopback.

    Returns:
        One or two listeners, with the same port.

    Raises:
        ServerError: The port is in use, or may not be listened on.
    """
    hosts = ANYWHERE if listen_globally else LOOPBACK
    for remaining in reversed(range(TRIES)):
        listeners: list[trio.SocketListener] = []
        try:
            number = port
            for host in hosts:
                try:
                    listeners += await trio.open_tcp_listeners(number, host=host)
                except OSError as error:
                    if not listeners or error.errno not in NO_SUCH_FAMILY:
                        raise
                number = listeners[0].socket.getsockname()[1]
        except BaseException as error:
            for listener in listeners:
                with trio.CancelScope(shield=True):
                    await listener.aclose()
            if not isinstance(error, OSError):
                raise
            if port == 0 and error.errno == errno.EADDRINUSE and remaining:
                continue
            raise _explain(port, error) from error
        return listeners
    raise AssertionError("the last try raises")


def _explain(port: int, error: OSError) -> ServerError:
    if error.errno == errno.EADDRINUSE:
        return ServerError(
            f"Port {port} is in use, perhaps by another server; stop that one, or choose another "
            "port (0 takes any that is free)."
        )
    return ServerError(f"Port {port} cannot be listened on: {error}.")
