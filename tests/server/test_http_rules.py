"""The rules of requests for pages, without any server: whatever comes, they have an answer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgnet_trio.server.http.answers import Answer, encode_head
from pgnet_trio.server.http.files import Folder
from pgnet_trio.server.http.head import MAX_HEAD_SIZE, BadRequest, HeadReader, RequestHead
from pgnet_trio.server.http.origins import OriginRule

GET = b"GET /a%20b?c=d HTTP/1.1\r\nHost: localhost:38929\r\nAccept: */*\r\n\r\n"


def head_of(target: str = "/", **headers: str) -> RequestHead:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestHead(method="GET", target=target, is_old=False, headers=names, forwarded_for=[])


def read(pieces: Sequence[bytes]) -> tuple[RequestHead | int | None, bytes]:
    """What a reader makes of bytes that come in pieces, and what is behind the head."""
    reader = HeadReader()
    head = None
    for number, piece in enumerate(pieces):
        reader.receive(piece)
        try:
            head = reader.take()
        except BadRequest as error:
            return error.status, b""
        if head is not None:
            return head, reader.rest + b"".join(pieces[number + 1 :])
    return head, b""


# A request, as somebody may spoil it.
LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.0",
        b"GET http://localhost/ HTTP/1.1",
        b"HEAD /x HTTP/1.1",
        b"POST / HTTP/1.1",
        b"GET / HTTP/2.0",
        b"Host: localhost",
        b"Host: evil.example",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"Upgrade: websocket",
        b"X: " + b"x" * 9000,
        b" folded",
        b"",
    ]
)
REQUESTS = st.binary(max_size=200) | st.lists(LINES | st.binary(max_size=30), max_size=8).map(
    lambda lines: b"\r\n".join([*lines, b"", b""])
)


@given(REQUESTS.filter(bool), st.data())
@example(GET + b"behind", None)
def test_a_head_is_read_alike_however_it_is_cut(data: bytes, drawn: st.DataObject | None) -> None:
    places = [] if drawn is None else drawn.draw(st.lists(st.integers(1, len(data)), max_size=4))
    cuts = sorted({0, *places, len(data)})
    whole, in_pieces = read([data]), read([data[start:end] for start, end in pairwise(cuts)])
    if isinstance(whole[0], int) and in_pieces[0] is None:
        raise AssertionError("refused only where it came whole")
    if isinstance(whole[0], RequestHead):
        assert in_pieces == whole
        assert len(data) - len(whole[1]) <= MAX_HEAD_SIZE
    elif isinstance(in_pieces[0], int):
        assert in_pieces[0] in {400, 431, 501, 505}


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
@example("http://[::1/x")
@example("http://user@localhost:x/%2e%2e")
@example("//evil.example/")
def test_a_target_has_a_path_or_is_refused(target: str) -> None:
    head = head_of(target, host="localhost")
    assert head.host is not None
    status = 200
    try:
        path = head.path()
        assert path.startswith("/")
        assert not any(ord(char) < 32 for char in path)
    except BadRequest as error:
        status = error.status
    assert status in {200, 400}


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        ("/a%20b?c=d", "localhost", "/a b"),
        ("http://other/x?y", "other", "/x"),
        ("HTTPS://Other:1", "Other:1", "/"),
        ("http://other/http://z/", "other", "/http://z/"),
    ],
)
def test_a_whole_address_says_the_host_too(target: str, host: str, path: str) -> None:
    head = head_of(target, host="localhost")
    assert (head.host, head.path()) == (host, path)


@pytest.mark.parametrize(
    ("accepts", "takes"),
    [
        ("gzip", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("x-gzip", True),
        ("", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip ; q=0.000", False),
        ("gzip;q=0.001", True),
        ("*", False),
    ],
)
def test_what_is_compressed_only_for_those_who_take_it(accepts: str, takes: bool) -> None:
    assert head_of(accept_encoding=accepts).takes_gzip() is takes


@pytest.mark.parametrize(
    ("headers", "keeps"),
    [
        ({}, True),
        ({"connection": "keep-alive"}, True),
        ({"connection": "Upgrade, Close"}, False),
        ({"content_length": "0"}, True),
        ({"content_length": "1"}, False),
        ({"transfer_encoding": "chunked"}, False),
    ],
)
def test_a_connection_is_kept_where_nothing_speaks_against_it(
    headers: dict[str, str], keeps: bool
) -> None:
    assert head_of(**headers).keeps_alive is keeps


@pytest.fixture(scope="module")
def folder() -> Iterator[Folder]:
    with tempfile.TemporaryDirectory() as name:
        site = Path(name, "web")
        (site / ".hidden").mkdir(parents=True)
        for path in ("index.html", ".env", ".hidden/index.html", "../secret", "a/b"):
            (site / path).parent.mkdir(exist_ok=True)
            (site / path).write_text("shown" if path in ("index.html", "a/b") else "secret")
        yield Folder(site)


NAMES = st.sampled_from(
    ["..", ".", "", "a", "b", ".env", ".hidden", "secret", "web", "index.html", "\\..", "a:b", "~"]
)


@given(st.lists(NAMES | st.text(max_size=10), min_size=1, max_size=6))
@example(["..", "secret"])
@example(["", "etc", "passwd"])
@example(["\0"])
@example(["x" * 300])
@example(["\ud800"])
def test_no_path_shows_what_is_hidden_or_outside(folder: Folder, names: list[str]) -> None:
    answer = folder.answer("/" + "/".join(names), head_of())
    assert answer.status in {200, 308, 404}
    assert b"secret" not in answer.body
    assert answer.status != 200 or answer.body == b"shown"
    encode_head(answer, 0.0, keeps_alive=True)


def test_files_that_are_kept_stay_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgnet_trio.server.http.files.MAX_KEPT", 10_000)
    folder = Folder(tmp_path)
    for number in range(20):
        (tmp_path / f"{number}.bin").write_bytes(bytes(900))
    for _ in range(2):
        for number in range(20):
            assert folder.answer(f"/{number}.bin", head_of()).body == bytes(900)
            assert folder.kept_size <= 10_000
    (tmp_path / "0.bin").write_bytes(bytes(9_500))
    assert folder.answer("/0.bin", head_of()).size == 9_500
    (tmp_path / "0.bin").write_bytes(bytes(100))
    folder.answer("/0.bin", head_of())
    assert folder.kept_size == 100


def test_what_many_are_sent_is_in_memory_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgnet_trio.server.http.files.MAX_KEPT", 10_000)
    folder = Folder(tmp_path)
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(bytes(9_000))
    paths = ["/a.bin", "/b.bin"] * 5
    on_their_way = [folder.answer(path, head_of()) for path in paths]
    assert len({id(answer.body) for answer in on_their_way}) == 2
    assert folder.kept_size <= 10_000


HOSTS = st.sampled_from(
    ["localhost", "localhost:80", "127.0.0.1:38929", "evil.example", "good.example", "[::1]", ""]
) | st.text(max_size=20)


@given(HOSTS | st.none(), HOSTS, st.sampled_from(["http://", "https://", "file://", ""]))
def test_a_page_is_taken_only_from_here_or_from_where_it_is_listed(
    host: str | None, authority: str, scheme: str
) -> None:
    rule = OriginRule(["https://good.example"], own_name="table")
    origin = f"{scheme}{authority}"
    assert rule.refuse_handshake(host, None) is None
    if rule.refuse_handshake(host, origin) is None:
        assert rule.refuse_host(host) is None
        assert origin.lower() == "https://good.example" or (
            host is not None
            and scheme in ("http://", "https://")
            and authority.lower().partition(":")[0] == host.lower().partition(":")[0]
        )


@given(st.text(max_size=30))
def test_no_host_is_known_but_addresses_and_names_that_are_listed(host: str) -> None:
    if OriginRule().refuse_host(host) is None:
        name = host.rpartition("]")[0] or host.partition(":")[0]
        assert name.lower().rstrip(".") == "localhost" or any(char.isdigit() for char in name)


def test_an_answer_without_content_says_no_length() -> None:
    head = encode_head(Answer(status=304), 0.0, keeps_alive=True)
    assert b"Content-Length" not in head
    assert b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" in head
