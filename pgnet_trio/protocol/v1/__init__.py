"""Protocol 1, the wire of PGNet 0.2, for both sides.

Every message is a text message of WebSocket: a packet of the client or a response of the server, as
JSON.

::

    client                                          server
    packet key_trade {pubkey}          --------->                      in the clear
                                       <---------   response {pubkey}  in the clear
    packet handshake {username, ...}   --------->                      from here on in a box
                                       <---------   response OK, or BAD and disconnecting
    packet                             --------->
                                       <---------   response           one for each, in order

The server never says anything unasked. Where the link is safe without a box (memory), the
conversation starts with the third message.

Where to look:

- `states`: which message may come when.
- `server` and `client`: the two endpoints; `endpoint`: what both have in common.

Both endpoints are Sans-I/O: messages go in by `receive` and come out by `next_message`. Nothing
here waits, reads a clock, or knows what carries the messages.
"""

from __future__ import annotations

from pgnet_trio.protocol.v1.client import ClientProtocol
from pgnet_trio.protocol.v1.server import ServerProtocol
from pgnet_trio.protocol.v1.states import (
    CLIENT_TRANSITIONS,
    SERVER_TRANSITIONS,
    MessageKind,
    State,
)

__all__ = [
    "CLIENT_TRANSITIONS",
    "SERVER_TRANSITIONS",
    "ClientProtocol",
    "MessageKind",
    "ServerProtocol",
    "State",
]
