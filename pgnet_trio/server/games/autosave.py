"""The task that saves games every so often."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from pgnet_trio.errors import StorageError

if TYPE_CHECKING:
    from pgnet_trio.server.context import Host

__all__ = ["autosave"]

logger = logging.getLogger("pgnet_trio.server")


# Ctrl-C here would end the rooms before their last save; it goes to whoever runs the server.
@trio.lowlevel.enable_ki_protection
async def autosave(host: Host, interval: float) -> None:
    """Save what has changed, every *interval* seconds, until cancelled.

    A save that fails is logged, and made up for by the next one.
    """
    while True:
        await trio.sleep(interval)
        try:
            late = await host.save()
        except StorageError as error:
            logger.error("Saving failed, and is tried again in %g s: %s", interval, error)
            continue
        if late:
            logger.warning("These games did not give a save string in time: %s", ", ".join(late))
