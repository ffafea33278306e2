"""How protocol 2 grows: what was added since ``pgnet.2``, each addition under a name of its own.

Both sides of ``pgnet.2.1`` name in their hello the features that they have. A feature is in use
where both have named it, and nothing of it is sent otherwise: no envelope, no field, no code. So
a side never needs to know which release the other one is, and an addition never breaks anybody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pgnet_trio.errors import ProtocolError

__all__ = [
    "ANNOUNCEMENTS",
    "CODES",
    "COLUMNS",
    "DIRECTORY",
    "FEATURES",
    "GRACE",
    "INVITATIONS",
    "LOST",
    "MATCHMAKING",
    "MAX_FEATURES",
    "MAX_FEATURE_NAME",
    "MOVED",
    "NETCODE",
    "PLAYERS",
    "REJOIN",
    "RESTART",
    "TABLES",
    "TOKEN",
    "agree",
]

ANNOUNCEMENTS = "announcements"
"""What whoever runs the server says to its users comes as a push of the server's own."""

CODES = "codes"
"""Refusals and goodbyes have a code for programs beside their text for people."""

COLUMNS = "columns"
"""Patches may have tables column by column, in an envelope of their own."""

DIRECTORY = "directory"
"""The request for the directory of games takes `after` and `limit`, and its answer says `more`."""

GRACE = "grace"
"""The welcome says how long a session outlives its connection, and how long a client should try to
come back."""

INVITATIONS = "invitations"
"""A player invites a user to their game, who is told so by a push of the server's own."""

LOST = "lost"
"""The server says where it has dropped pushes, of which too many waited, and how many."""

MATCHMAKING = "matchmaking"
"""The server puts those who look for a game into one, and tells them how the search goes."""

MOVED = "moved"
"""The server says that the session goes on at another address; the client connects there at once.
"""

NETCODE = "netcode"
"""The client sends inputs, each for one tick; the server says of which tick a state is, and what
time it is."""

PLAYERS = "players"
"""The push that says who is in the game has a list of the players, in their order, and no map."""

REJOIN = "rejoin"
"""The answer to joining a game tells its options, with which joining may make the game anew."""

RESTART = "restart"
"""The server says that it restarts, instead of a goodbye; the client comes back by itself."""

TABLES = "tables"
"""A game may be created without a name, and is called by a code then; the answer to joining a game
says what it is called, and whether it is unlisted; a client that joins again says so."""

TOKEN = "token"
"""The server gives the client a token, with which it may log in later instead of the password."""

FEATURES: frozenset[str] = frozenset(
    {
        ANNOUNCEMENTS,
        CODES,
        COLUMNS,
        DIRECTORY,
        GRACE,
        INVITATIONS,
        LOST,
        MATCHMAKING,
        MOVED,
        NETCODE,
        PLAYERS,
        REJOIN,
        RESTART,
        TABLES,
        TOKEN,
    }
)
"""The features of this release; docs/protocol.md has a table of them."""

MAX_FEATURES = 64
"""How many features a hello may name: many more than there are, and too few to waste memory."""

MAX_FEATURE_NAME = 40
"""Characters of a feature's name."""


def agree(own: Collection[str], named: Iterable[str] | None) -> frozenset[str]:
    """Return the features that are in use between two sides.

    Args:
        own: What this side has named.
        named: What the other side names in its hello; None where it names nothing. Names that
            this side does not know mean nothing to it.

    Raises:
        ProtocolError: The other side names too many features, or one whose name is too long.
    """
    names = () if named is None else tuple(named)
    if len(names) > MAX_FEATURES:
        raise ProtocolError(f"expected at most {MAX_FEATURES} features, got {len(names)}")
    for name in names:
        if len(name) > MAX_FEATURE_NAME:
            raise ProtocolError(
                f"expected names of features of at most {MAX_FEATURE_NAME} characters, "
                f"got one of {len(name)}"
            )
    found = frozenset(own).intersection(names)
    # Nearly always all of them, and then one object for all connections.
    return FEATURES if found == FEATURES else found
