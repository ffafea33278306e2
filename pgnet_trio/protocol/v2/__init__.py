"""Protocol 2, the wire of pgnet_trio, for both sides: WebSocket subprotocol ``pgnet.2.1``.

Every message is a binary message of WebSocket. The first two are a Noise handshake. Each later one
is a frame: a msgpack array of envelopes, encrypted as one or more Noise messages.

::

    client                                          server
    e                                  --------->
                                       <---------   e, ee, s, es, and in it [hello]
    [hello, log-in]                    --------->
                                       <---------   [welcome, ...]        or [refusal]
    [requests, acknowledgement, ...]   <-------->   [state, responses, pushes, ...]
    [goodbye]                          <-------->   [goodbye]             for good

    [hello, resume]                    --------->   instead of a log-in, over a new connection
                                       <---------   [resumed, ...]        or [session gone]
    [log-in]                           --------->   after "session gone"

Where the link is safe by itself (memory) there is no handshake, and frames are bare msgpack.

Where to look:

- `envelopes`: what can stand in a frame.
- `states`: which envelope may come when, and the numbers of the protocol.
- `server` and `client`: the two endpoints; `endpoint`: what both have in common. They last as long
  as one connection.
- `server_delivery` and `client_delivery`: the two ends of a session, which outlives connections.

All of it is Sans-I/O.
"""

from __future__ import annotations

from pgnet_trio.protocol.v2.client import ClientProtocol
from pgnet_trio.protocol.v2.server import ServerProtocol
from pgnet_trio.protocol.v2.states import (
    CLIENT_TRANSITIONS,
    COUNTED,
    MAX_FRAME_SIZE,
    MIN_FRAME_SIZE,
    SERVER_TRANSITIONS,
    SUBPROTOCOL,
    SUBPROTOCOL_2_1,
    SUBPROTOCOLS,
    TAKEN_OVER,
    TOKEN_BYTES,
    State,
    prologue,
    prove,
)

__all__ = [
    "CLIENT_TRANSITIONS",
    "COUNTED",
    "MAX_FRAME_SIZE",
    "MIN_FRAME_SIZE",
    "SERVER_TRANSITIONS",
    "SUBPROTOCOL",
    "SUBPROTOCOLS",
    "SUBPROTOCOL_2_1",
    "TAKEN_OVER",
    "TOKEN_BYTES",
    "ClientProtocol",
    "ServerProtocol",
    "State",
    "prologue",
    "prove",
]
