"""The options of ``serve`` about the monitor."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from pgnet_trio.cli.passwords import find_secret
from pgnet_trio.errors import PGNetError
from pgnet_trio.server import Monitor
from pgnet_trio.server.monitor_settings import DEFAULT_MONITOR_ADDRESS, monitor_address

__all__ = ["add_monitor_options", "use_monitor"]


def add_monitor_options(option: Callable[..., Any]) -> None:
    """Add the options.

    Args:
        option: Adds one.
    """
    option(
        "--monitor",
        nargs="?",
        const=DEFAULT_MONITOR_ADDRESS,
        type=_address,
        metavar="ADDRESS",
        help="where whoever runs the server looks at it, by Prometheus and by a browser (without "
        f"ADDRESS: {DEFAULT_MONITOR_ADDRESS}); with --workers, each process takes the port after "
        "the one before",
    )
    option(
        "--monitor-token-file",
        metavar="FILE",
        help="what they have to know is the file's first line; without it, whoever uses this "
        "machine may look",
    )
    option(
        "--monitor-write-token-file",
        metavar="FILE",
        help="the same for whoever does something there, such as kick a player; without it, nobody "
        "can",
    )


def use_monitor(settings: dict[str, Any], worker: int | None) -> None:
    """Put a `Monitor` in the place of the options.

    Args:
        settings: The options that were given.
        worker: Which of several processes this is, from 1 on; None where it is alone.

    Raises:
        PGNetError: They do not go together, or a file cannot be read.
    """
    address = settings.pop("monitor", None)
    names = ("monitor_token_file", "monitor_write_token_file")
    token, write_token = (_read_token(settings.pop(name, None)) for name in names)
    if address is None:
        if token or write_token:
            raise PGNetError("--monitor-token-file is for --monitor")
        return
    host, port = monitor_address(address)
    if worker is not None and port:
        port += worker - 1
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        settings["monitor"] = Monitor(
            address,
            token=token,
            write_token=write_token,
            allowed_hosts=settings.get("allowed_hosts", ()),
        )
    except ValueError as error:
        raise PGNetError(f"--monitor: {error}") from error


def _read_token(file: str | None) -> str | None:
    return None if file is None else find_secret(file, "", None)


def _address(text: str) -> str:
    try:
        monitor_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text
