"""Rules that hold for every test: nothing leaves this machine."""

from __future__ import annotations

import ipaddress
import signal
import sys

pytest_plugins = ["pgnet_trio.testing.plugin"]

# Beside addresses that are loopback by their number: names of this machine, no name at all
# (which is this machine too), and the wildcard addresses, on which a connection ends here.
_LOCAL_NAMES = {None, "", "localhost", "0.0.0.0", "::"}


def _is_local(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in _LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def _refuse_the_network(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        # Anything but a tuple is no internet address: a Unix socket, say.
        host = address[0] if isinstance(address, tuple) else None
    else:
        return
    if not _is_local(host):
        raise RuntimeError(f"tests stay on this machine: {event} for {host!r} was refused")


# An audit hook sees every socket of the process, whichever library opened it.
sys.addaudithook(_refuse_the_network)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background without Ctrl-C, and what tests start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
