"""The header of the PROXY protocol: what proxies send, in any pieces, and what hostile peers do."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.errors import ProtocolError
from pgnet_trio.transport.proxy_protocol import MAX_HEADER_SIZE, ProxyHeader

START = b"\r\n\r\n\0\r\nQUIT\n"

V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6).filter(lambda address: not getattr(address, "ipv4_mapped", None))
PORTS = st.integers(0, 65535)


def v2(command: int = 0x21, family: int = 0x11, block: bytes = b"", length: int = -1) -> bytes:
    """A header of version 2 with what follows its first sixteen bytes."""
    size = len(block) if length < 0 else length
    return START + bytes((command, family)) + size.to_bytes(2) + block


@st.composite
def headers(draw: st.DrawFn) -> tuple[bytes, str | None]:
    """A header that some proxy might send, and the address in it."""
    kind = draw(st.sampled_from(["TCP4", "TCP6", "UNKNOWN", "LOCAL", "other"]))
    six = draw(st.booleans()) if kind in ("LOCAL", "other") else kind == "TCP6"
    source, destination = draw(V6 if six else V4), draw(V6 if six else V4)
    ports = draw(PORTS), draw(PORTS)
    block = source.packed + destination.packed + b"".join(port.to_bytes(2) for port in ports)
    # Additions, such as the name in the client's certificate.
    block += draw(st.binary(max_size=300))
    if kind == "LOCAL":
        return v2(0x20, draw(st.integers(0, 255)), draw(st.binary(max_size=300))), None
    if kind == "other":
        family = draw(st.integers(0, 255).filter(lambda each: each not in (0x11, 0x21)))
        return v2(0x21, family, block), None
    if draw(st.booleans()):
        text = "UNKNOWN" + draw(st.sampled_from(["", " ", " ffff::1 ffff::2 1 2"]))
        if kind != "UNKNOWN":
            text = f"{kind} {source} {destination} {ports[0]} {ports[1]}"
        return f"PROXY {text}\r\n".encode(), None if kind == "UNKNOWN" else str(source)
    if kind == "UNKNOWN":
        return v2(0x21, 0x00, block), None
    return v2(0x21, 0x21 if six else 0x11, block), str(source)


def read(data: bytes, cuts: list[int]) -> tuple[str | None, int | None]:
    """Read what comes in pieces; return the address, and where the header ends."""
    header, before = ProxyHeader(), 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        end = header.receive(data[before:cut]) if cut > before else None
        if end is not None:
            return header.source, before + end
        before = cut
    return header.source, None


CUTS = st.lists(st.integers(0, 5000), max_size=8)


@given(headers(), st.binary(max_size=50), CUTS)
def test_a_header_is_read_to_its_end_in_whatever_pieces_it_comes(
    header: tuple[bytes, str | None], rest: bytes, cuts: list[int]
) -> None:
    data, source = header
    assert read(data + rest, cuts) == (source, len(data))


@given(headers(), st.integers(0, 400))
def test_a_header_that_is_cut_off_names_nobody(header: tuple[bytes, str | None], size: int) -> None:
    data, _ = header
    assert read(data[: min(size, len(data) - 1)], []) == (None, None)


@given(st.binary(max_size=6000) | st.binary(max_size=200).map(lambda rest: b"PROXY " + rest), CUTS)
def test_anything_else_is_refused_or_waited_for_and_not_for_long(
    data: bytes, cuts: list[int]
) -> None:
    try:
        source, end = read(data, cuts)
    except ProtocolError:
        return
    assert end is not None or len(data) < MAX_HEADER_SIZE
    assert source is None or ipaddress.ip_address(source)


@given(headers(), st.data())
def test_a_header_with_a_wrong_byte_names_an_address_or_nobody(
    header: tuple[bytes, str | None], data: st.DataObject
) -> None:
    changed = bytearray(header[0])
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        source, _ = read(bytes(changed), [])
    except ProtocolError:
        return
    assert source is None or str(ipaddress.ip_address(source)) == source


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"GET / HTTP/1.1\r\n", "got b'GET / HTTP/1.1"),
        (b"\x16\x03\x01", "got b'"),
        (b"PROXY TCP4 10.0.0.1 10.0.0.2 1\r\n", "got the line"),
        (b"PROXY TCP4 10.0.0.1  10.0.0.2 1 2\r\n", "got the line"),
        (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 65536\r\n", "got the line"),
        (b"PROXY TCP4 10.0.0.1 10.0.0.2 -1 2\r\n", "got the line"),
        (b"PROXY TCP4 10.0.0.01 10.0.0.2 1 2\r\n", "an address that is none"),
        (b"PROXY TCP4 10.0.0 10.0.0.2 1 2\r\n", "an address that is none"),
        (b"PROXY TCP4 ::1 ::2 1 2\r\n", "got the line"),
        (b"PROXY TCP6 ::1 10.0.0.2 1 2\r\n", "got the line"),
        (b"PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n", "got the line"),
        (b"PROXY UDP4 10.0.0.1 10.0.0.2 1 2\r\n", "got the line"),
        (b"PROXY UNKNOWNS\r\n", "got the line"),
        (b"PROXY TCP4 \xb2.0.0.1 10.0.0.2 1 2\r\n", "got the line"),
        (b"PROXY TCP4 1\n2026-01-01 admin\x1b[2J\r\n", "got the line 'TCP4 1\\n2026"),
        (b"PROXY UNKNOWN " + b"x" * 100, "more than 107 bytes"),
        (v2(0x11), "version 1 and command 1"),
        (v2(0x22), "version 2 and command 2"),
        (v2(length=11), "11 bytes for two addresses of 4"),
        (v2(family=0x21, length=35), "35 bytes for two addresses of 16"),
        (v2(length=MAX_HEADER_SIZE), "which is over 4096"),
    ],
)
def test_what_is_wrong_is_said_at_once(data: bytes, problem: str) -> None:
    with pytest.raises(ProtocolError, match="expected the header of the PROXY protocol") as caught:
        read(data, [])
    assert problem in str(caught.value)
    assert str(caught.value).isprintable()


def test_an_address_of_ipv4_is_one_however_it_is_written() -> None:
    assert read(b"PROXY TCP6 ::ffff:203.0.113.7 ::ffff:10.0.0.1 1 2\r\n", [])[0] == "203.0.113.7"
