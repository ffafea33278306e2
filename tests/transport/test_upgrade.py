"""The usual request for a WebSocket, which is read and answered without a library."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from pgnet_trio.server.http.head import HeadReader
from pgnet_trio.server.http.opening import Opening
from pgnet_trio.transport import choose as choose_transport
from pgnet_trio.transport.upgrade import choose, read_upgrade
from tests.kit.transports import REQUEST, UNUSUAL_REQUEST, RawPeer, accept, connected_sockets

pytest.importorskip("websockets")

from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
OURS = ("pgnet.2.1", "pgnet.2")

USUAL = {
    "Host": "game.example:38929",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}
BROWSER = {
    "Host": "game.example",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Accept": "*/*",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Sec-WebSocket-Version": "13",
    "Origin": "https://game.example",
    "Sec-WebSocket-Extensions": "permessage-deflate",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Protocol": "pgnet.2.1, pgnet.2",
    "Connection": "keep-alive, Upgrade",
    "Pragma": "no-cache",
    "Upgrade": "websocket",
}


def request_of(headers: Sequence[tuple[str, str]], line: str = "GET / HTTP/1.1") -> bytes:
    lines = [line, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


def by_library(data: bytes) -> tuple[bytes, list[str], list[str]] | None:
    """What the library answers, what it is offered, and where it was forwarded from.

    None where it does not open a WebSocket.
    """
    offered: list[str] = []

    def select(_: ServerProtocol, names: Sequence[Subprotocol]) -> Subprotocol | None:
        offered.extend(names)
        chosen = choose(OURS, names)
        return None if chosen is None else Subprotocol(chosen)

    protocol = ServerProtocol(select_subprotocol=select)
    protocol.receive_data(data)
    events = protocol.events_received()
    if not events or not isinstance(events[0], Request):
        return None
    protocol.send_response(protocol.accept(events[0]))
    if protocol.state is not State.OPEN:
        return None
    answer = b"".join(protocol.data_to_send())
    return answer, offered, events[0].headers.get_all("X-Forwarded-For")


def without_date(answer: bytes) -> bytes:
    before, _, after = answer.partition(b"Date: ")
    return before + after.partition(b"\r\n")[2]


def check_against_library(data: bytes) -> bool:
    """Whether the request is a usual one, which the library then has to treat in the same way."""
    upgrade = read_upgrade(data)
    if upgrade is None:
        return False
    answer = upgrade.accept(choose(OURS, upgrade.offered), 0.0)
    theirs = by_library(data)
    assert theirs is not None
    assert without_date(answer) == without_date(theirs[0])
    assert list(upgrade.offered) == theirs[1]
    assert upgrade.forwarded_for == theirs[2]
    # Cut anywhere, it would be read by this first.
    reader = HeadReader()
    reader.receive(data)
    head = reader.take()
    assert head is not None
    found = [Opening(data, upgrade), Opening(data, head=head)]
    for name in ("asks_for_websocket", "path", "host", "origin", "forwarded_for"):
        assert getattr(found[0], name) == getattr(found[1], name)
    return True


@pytest.mark.parametrize("headers", [USUAL, BROWSER], ids=["plain", "browser"])
def test_the_usual_requests_are_answered_as_by_the_library(headers: dict[str, str]) -> None:
    assert check_against_library(request_of(list(headers.items())))


def test_the_date_is_the_one_of_the_library() -> None:
    from email.utils import formatdate

    upgrade = read_upgrade(REQUEST)
    assert upgrade is not None
    for now in (0.0, 0.9, 1.0, 1_800_000_000.5):
        assert f"Date: {formatdate(now, usegmt=True)}\r\n".encode() in upgrade.accept(None, now)


NAMES = st.sampled_from(
    [
        *USUAL,
        "connection",
        "UPGRADE",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "Origin",
        "Content-Length",
        "Transfer-Encoding",
        "X-Forwarded-For",
        "x-forwarded-for",
        "X-Other",
    ]
) | st.binary(max_size=5).map(lambda name: name.decode("latin-1"))
VALUES = st.sampled_from(
    [
        *USUAL.values(),
        "upgrade",
        "keep-alive, Upgrade",
        "close",
        "WebSocket",
        "websocket, h2c",
        "pgnet.2.1, pgnet.2",
        "pgnet.2,pgnet.2",
        "other,\tpgnet.2",
        "a,,b",
        "a b",
        '"a"',
        "\xe9",
        " \t x \t",
        "",
        "0",
        "5",
        "chunked",
        "14",
        "AAAAAAAAAAAAAAAAAAAAAB==",
        "AAAAAAAAAAAAAAAAAAAAAA=",
        "203.0.113.7, 10.0.0.1",
        "permessage-deflate; client_max_window_bits",
    ]
) | st.binary(max_size=20).map(lambda value: value.decode("latin-1"))
LINES = st.sampled_from(["GET / HTTP/1.1"] * 6 + ["GET /a?b=c HTTP/1.1"]) | st.sampled_from(
    [
        "GET http://other/ HTTP/1.1",
        "GET * HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.0",
        "POST / HTTP/1.1",
        "get / HTTP/1.1",
        "GET /\xe9 HTTP/1.1",
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A usual request with some headers replaced, removed, doubled or added, and bytes changed."""
    headers = list(draw(st.sampled_from([USUAL, BROWSER])).items())
    for _ in range(draw(st.sampled_from([1, 1, 1, 0, 2, 3]))):
        place = draw(st.integers(0, len(headers)))
        change = draw(st.sampled_from(["add", "replace", "remove", "double", "swap"]))
        if change == "add" or place == len(headers):
            headers.insert(place, (draw(NAMES), draw(VALUES)))
        elif change == "replace":
            headers[place] = (headers[place][0], draw(VALUES))
        elif change == "remove":
            del headers[place]
        elif change == "double":
            headers.append(headers[place])
        else:
            headers.append(headers.pop(place))
    data = request_of(headers, draw(LINES))
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(data)))
        piece = draw(
            st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b"\r\n "])
        )
        data = data[:place] + piece + data[place + draw(st.integers(0, 2)) :]
    return data + draw(st.sampled_from([b""] * 9 + [b"\r\n", b"\x81\x80"]))


@given(requests())
@example(request_of([*USUAL.items(), ("Sec-WebSocket-Key", KEY)]))
@example(request_of([*USUAL.items(), ("Origin", "a"), ("Origin", "b")]))
@example(request_of([*USUAL.items(), ("Content-Length", "5")]))
@example(request_of([*USUAL.items()][1:]))
@example(request_of([*USUAL.items()], "GET http://other/ HTTP/1.1"))
@example(request_of([*USUAL.items(), ("Transfer-Encoding", "chunked")]))
@example(request_of([*USUAL.items(), ("X-Forwarded-For", "a"), ("x-forwarded-for", " b ")]))
@example(request_of([*USUAL.items(), ("Sec-WebSocket-Protocol", "pgnet.2,\tpgnet.2.1")]))
def test_no_request_is_answered_in_another_way_than_by_the_library(data: bytes) -> None:
    check_against_library(data)


@given(st.binary(max_size=300))
def test_no_bytes_at_all_are_taken_that_the_library_does_not_take(data: bytes) -> None:
    check_against_library(data)
    check_against_library(REQUEST[:-2] + data + b"\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        REQUEST[:-1],
        REQUEST + b"\x81",
        REQUEST.replace(b"\r\n", b"\n"),
        REQUEST[:-2] + b"X: " + b"x" * 4096 + b"\r\n\r\n",
        REQUEST[:-2] + b"X: x\r\n" * 65 + b"\r\n",
        REQUEST[:-2] + b"Content-Length: 0\r\n\r\n",
        UNUSUAL_REQUEST,
        REQUEST[:-2] + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        REQUEST.replace(b"AA==", b"A=="),
        REQUEST.replace(b"AA==", b"AAA="),
        REQUEST.replace(b"AA==", b"AA="),
        REQUEST.replace(b"AA==", b"A\xc3\xa9=="),
        REQUEST[:-2] + b"Folded: a\r\n b\r\n\r\n",
    ],
)
def test_anything_unusual_is_left_to_the_library(data: bytes) -> None:
    assert read_upgrade(data) is None


@pytest.mark.parametrize("places", [[], [1], [20, 21, 90], [len(REQUEST) - 1]])
async def test_the_answer_is_the_same_however_the_request_is_cut(places: list[int]) -> None:
    async with connected_sockets() as (stream, other), trio.open_nursery() as nursery:

        async def serve() -> None:
            async with accept(choose_transport("websockets"), stream):
                await trio.sleep_forever()

        nursery.start_soon(serve)
        raw = RawPeer(other)
        for start, end in pairwise([0, *places, len(REQUEST)]):
            await raw.send(REQUEST[start:end])
            await trio.testing.wait_all_tasks_blocked()
        theirs = by_library(REQUEST)
        assert theirs is not None
        assert without_date(await raw.read_head() + b"\r\n\r\n") == without_date(theirs[0])
        nursery.cancel_scope.cancel()
