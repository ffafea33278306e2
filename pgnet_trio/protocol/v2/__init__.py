"""Protocol 2, the wire of pgnet_trio, for both sides: WebSocket subprotocol ``pgnet.2``.

Every message is WebSocket binary. The first two are the messages of a Noise handshake; from then
on each is a frame: Noise messages around a msgpack array of envelopes.

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

Where the link is safe by itself (memory) the handshake is left out, and frames are bare msgpack.

Both classes are Sans-I/O, and last as long as one connection; what has to outlive it is in
`ServerDelivery` and `ClientDelivery`.
"""

from __future__ import annotations

from pgnet_trio.protocol.v2.client import ClientProtocol
from pgnet_trio.protocol.v2.server import ServerProtocol
from pgnet_trio.protocol.v2.states import (
    CLIENT_STEPS,
    COUNTED,
    MAX_FRAME_SIZE,
    MIN_FRAME_SIZE,
    SERVER_STEPS,
    SUBPROTOCOL,
    TAKEN_OVER,
    TOKEN_BYTES,
    State,
    prologue,
    prove,
)

__all__ = [
    "CLIENT_STEPS",
    "COUNTED",
    "MAX_FRAME_SIZE",
    "MIN_FRAME_SIZE",
    "SERVER_STEPS",
    "SUBPROTOCOL",
    "TAKEN_OVER",
    "TOKEN_BYTES",
    "ClientProtocol",
    "ServerProtocol",
    "State",
    "prologue",
    "prove",
]
