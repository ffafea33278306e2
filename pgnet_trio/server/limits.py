"""The numbers that keep one client from costing the others anything."""

from __future__ import annotations

import math
from typing import Any

import attrs

from pgnet_trio.protocol.v2 import MIN_FRAME_SIZE

__all__ = ["Limits"]


def _check_whole(limits: Limits, attribute: attrs.Attribute[Any], value: object) -> None:
    least: int = attribute.metadata["least"]
    if value is not None and (type(value) is not int or value < least):
        raise ValueError(
            f"{attribute.name}: expected a whole number of at least {least:,}, or None for no "
            f"limit; got {value!r}"
        )


def _check_number(limits: Limits, attribute: attrs.Attribute[Any], value: object) -> None:
    is_bool = isinstance(value, bool)
    if value is None or (isinstance(value, int | float) and not is_bool and 0 < value < math.inf):
        return
    raise ValueError(
        f"{attribute.name}: expected a number over 0, or None for no limit; got {value!r}"
    )


def _whole(default: int, *, least: int = 1) -> Any:
    return attrs.field(default=default, validator=_check_whole, metadata={"least": least})


def _number(default: float) -> Any:
    return attrs.field(default=default, validator=_check_number)


@attrs.frozen(kw_only=True)
class Limits:
    """What a server allows; None switches a limit off. The defaults follow other servers.

    Args:
        max_message_size: Bytes of one message of a logged-in client (Nakama and Colyseus: 4 KiB,
            websockets: 1 MiB); 1,024 at least, which protocol 2 relies on.
        max_login_message_size: Bytes of one message before log-in, when nobody is known yet;
            1,024 at least, or nobody with a long password could log in.
        login_timeout: Seconds for the handshake and the log-in together (Nakama, websockets).
        ping_interval: Seconds of silence until a client is asked for a sign of life (Nakama: 15,
            websockets: 20).
        keepalive_timeout: Seconds of silence until a client is dropped; more than
            `ping_interval` (Nakama: 25, websockets: 20).
        max_connections: Connections at the same time.
        max_connections_per_address: Connections at the same time from one address.
        max_logins_per_address: Of these, how many that are not logged in yet (OpenSSH's
            MaxStartups and its penalties for each source). As many a second may come from one
            address, with twice that as a burst; others wait.
        max_http_connections: Connections at the same time that ask for pages, which do not count
            as those of players.
        max_http_connections_per_address: Of these, how many from one address. A browser opens six.
        http_keepalive_timeout: Seconds until a connection that asks for pages, and asks no more, is
            closed (uvicorn and Node: 5).
        failed_logins_per_account: Failed log-ins a minute to one account from one address
            (Nakama: 5), and a fourth of what all addresses together may fail from which nobody
            has logged in to that account. A user may also give so many wrong passwords of games.
        failed_logins_per_address: Failed log-ins a minute from one address, by whoever has not
            logged in from there before; and wrong passwords of games.
        registrations_per_address: New users an hour from one address.
        requests_per_second: Requests a second of one user, and a fourth as many for pages from one
            address, with twice that as a burst; what is beyond it waits (Colyseus has the option).
            A request that costs the server more than others counts as several. What a connection
            sends beside requests is limited likewise.
        max_requests_in_flight: Unanswered requests of one user. With protocol 1 what is beyond it
            waits; with protocol 2 it ends the session, and there are at least 64, which clients
            rely on.
        max_bytes_in_flight: Bytes of the unanswered requests of one user. With protocol 1 what is
            beyond it waits; with protocol 2 a request is refused.
        max_unacknowledged_messages: Messages to one user that wait until the client says that it
            has them, while its connection is dropped too (Nakama: 64 messages). Beyond that the
            oldest pushes are dropped, and the client is told how many; where there are none, the
            session ends.
        max_unacknowledged_bytes: The same in bytes (NATS: 64 MiB).
        max_games: Games at the same time, with those in the save file that are not running.
        max_games_per_user: Of these, how many that one user has created in this run.
        max_options_size: Bytes of the options that a game is created with, as they travel.
        empty_games_expire_after: Seconds after which a persistent game that nobody is in is ended,
            and taken out of the save file.

    Raises:
        ValueError: A value is not what is expected.
    """

    max_message_size: int | None = _whole(64 * 1024, least=MIN_FRAME_SIZE)
    max_login_message_size: int | None = _whole(16 * 1024, least=MIN_FRAME_SIZE)
    login_timeout: float | None = _number(10.0)
    ping_interval: float | None = _number(15.0)
    keepalive_timeout: float | None = _number(20.0)
    max_connections: int | None = _whole(10_000)
    max_connections_per_address: int | None = _whole(64)
    max_logins_per_address: int | None = _whole(16)
    max_http_connections: int | None = _whole(1000)
    max_http_connections_per_address: int | None = _whole(64)
    http_keepalive_timeout: float | None = _number(5.0)
    failed_logins_per_account: int | None = _whole(5)
    failed_logins_per_address: int | None = _whole(20)
    registrations_per_address: int | None = _whole(100)
    requests_per_second: float | None = _number(200.0)
    max_requests_in_flight: int | None = _whole(64)
    max_bytes_in_flight: int | None = _whole(1024 * 1024)
    max_unacknowledged_messages: int | None = _whole(4096)
    max_unacknowledged_bytes: int | None = _whole(1024 * 1024)
    max_games: int | None = _whole(1000)
    max_games_per_user: int | None = _whole(8)
    max_options_size: int | None = _whole(1024)
    empty_games_expire_after: float | None = _number(30 * 24 * 3600.0)

    def __attrs_post_init__(self) -> None:
        interval, timeout = self.ping_interval, self.keepalive_timeout
        if interval is not None and timeout is not None and timeout <= interval:
            raise ValueError(
                f"keepalive_timeout: expected more than ping_interval, which is {interval:g} s, "
                f"or a client is dropped before it is asked for a sign of life; got {timeout:g} s"
            )
