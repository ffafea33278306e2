"""How a line at the prompt becomes a packet, and how packets and values become lines.

A line is ``message;key=value;key2=value2``. A leading ``.`` stands for ``__pgnet__.``, the requests
of the server itself, and a leading ``..`` or ``//`` for one literal dot or slash. ``True``,
``False``, integers and floats are read as such, a value in double quotes is text whatever it looks
like, and an argument that takes a dict is JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from pgnet_trio.codec import decode_json, from_plain
from pgnet_trio.errors import CodecError, PGNetError
from pgnet_trio.messages import SERVER_PREFIX, Packet, Request, Status
from pgnet_trio.standings import LeaderboardPage, PlayedGame

__all__ = [
    "SYNTAX",
    "CommandError",
    "Signatures",
    "as_typed",
    "describe_packet",
    "describe_status",
    "describe_value",
    "parse_packet",
    "shown_payload",
    "split_line",
]

Signatures = Mapping[str, Mapping[str, str]]
"""What a server says of its requests: for each its arguments, and the name of their types."""

_INTEGER = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][+-]?[0-9]+)?")
SYNTAX = "message;key=value;key2=value2"


@attrs.frozen
class _Ban:
    """A ban in the list of them."""

    whom: str
    reason: str
    by: str
    made: datetime
    ends: datetime | None

    @property
    def text(self) -> str:
        by = self.by or "the server"
        until = "" if self.ends is None else f" until {_local(self.ends)}"
        return f"by {by} on {_local(self.made)}{until}{self.reason and ': '}{self.reason}"


@attrs.frozen
class _Deed:
    """An entry of the audit log."""

    number: int
    time: datetime
    by: str
    did: str
    details: str

    @property
    def text(self) -> str:
        return f"{_local(self.time)}, {self.by}: {self.did} {self.details}".rstrip()


class CommandError(PGNetError):
    """A line is not of the form that the prompt understands."""


def split_line(line: str, /) -> tuple[str, list[str]]:
    """Split a line into the whole message of its packet, and its ``key=value`` parts."""
    message, *parts = line.strip().split(";")
    if message.startswith(("..", "//")):
        message = message[1:]
    elif message.startswith("."):
        message = SERVER_PREFIX + message[1:]
    return message, parts


def parse_packet(line: str, signatures: Signatures | None = None, /) -> Packet:
    """Read a line as a packet.

    Args:
        line: The line; see the top of this module.
        signatures: The server's requests, with the types of their arguments. What is to be text
            stays text, even where it looks like a number; what is to be a float becomes no int;
            what is to be a dict is read as JSON.

    Raises:
        CommandError: The line has another form; the message says what is wrong with it.
    """
    message, parts = split_line(line)
    if not message:
        raise CommandError(f"expected {SYNTAX}, got no message before the first ';'")
    types = (signatures or {}).get(message, {})
    payload: dict[str, Any] = {}
    for part in parts:
        key, equals, text = part.partition("=")
        key = key.strip()
        if not equals or not key:
            raise CommandError(f"expected {SYNTAX}, got {part!r} where key=value should be")
        if key in payload:
            raise CommandError(f"expected each key once, got {key!r} twice")
        payload[key] = _parse_value(key, text, types.get(key))
    return Packet(message, payload)


def _parse_value(
    key: str, text: str, type_name: str | None
) -> bool | int | float | str | dict[str, Any]:
    if type_name == "dict":
        return _parse_dict(key, text)
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    word = text.strip()
    if type_name == "str":
        return text
    if word in {"True", "False"}:
        return word == "True"
    if _INTEGER.fullmatch(word) and type_name != "float":
        # Check the length first: Python refuses to read thousands of digits.
        if len(word) <= 20 and -(2**63) <= (number := int(word)) < 2**63:
            return number
        raise CommandError(f'{key}: expected an integer of at most 64 bits; put text in "quotes"')
    if _FLOAT.fullmatch(word) or _INTEGER.fullmatch(word):
        if math.isfinite(value := float(word)):
            return value
        raise CommandError(f'{key}: expected a float that is not too large; put text in "quotes"')
    return text


def _parse_dict(key: str, text: str) -> dict[str, Any]:
    try:
        return decode_json(text, dict)
    except CodecError:
        raise CommandError(f'{key}: expected JSON such as {{"level": 3}}, got {text!r}') from None


def describe_packet(packet: Packet, /) -> str:
    """Return a packet as one line, without its passwords."""
    values = (
        f"{key}=***" if "password" in key.lower() else f"{key}={value!r}"
        for key, value in packet.payload.items()
    )
    return " ".join([packet.message, *values])


def describe_status(status: int, /) -> str:
    """Return the name of a status, or its number."""
    return status.name if isinstance(status, Status) else f"status {status}"


def describe_value(value: object, /) -> str:
    """Return a value of a payload as text, in several lines where it is long and nested."""
    if not isinstance(value, dict | list):
        return str(value)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 70 else json.dumps(value, ensure_ascii=False, indent=4)


def as_typed(message: str) -> str:
    """Return a message as a person types it at the prompt."""
    is_own = message.startswith(SERVER_PREFIX)
    return f".{message.removeprefix(SERVER_PREFIX)}" if is_own else message


def shown_payload(message: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Return what is shown of the answer to a message: shorter, where people can read it so.

    Args:
        message: What was asked for.
        payload: The answer's payload.
    """
    if message == Request.HELP:
        return {as_typed(key): value for key, value in payload.items()}
    try:
        if message == Request.LEADERBOARD and "entries" in payload:
            page = from_plain(payload, LeaderboardPage)
            return {f"{each.rank}. {each.username}": each.score for each in page.entries}
        if message == Request.HISTORY and "games" in payload:
            games = from_plain(payload["games"], list[PlayedGame])
            return {f"{played.number}, {played.name}": _result(played) for played in games}
        if message == Request.BANS and "bans" in payload:
            bans = from_plain(payload["bans"], list[_Ban])
            return {each.whom: each.text for each in bans} | _more(payload)
        if message == Request.AUDIT and "entries" in payload:
            deeds = from_plain(payload["entries"], list[_Deed])
            return {f"{each.number}": each.text for each in deeds} | _more(payload)
    except CodecError:
        # Whatever the server has sent instead.
        pass
    return payload


def _more(payload: dict[str, Any]) -> dict[str, Any]:
    return {"more": True} if payload.get("more") is True else {}


def _local(time: datetime) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M}"


def _result(played: PlayedGame) -> str:
    texts, rank = [], 1
    for group in played.ranks:
        texts += [f"{rank}. {_scored(played, name)}" for name in group]
        rank += len(group)
    ranked = {name for group in played.ranks for name in group}
    texts += [_scored(played, name) for name in played.scores if name not in ranked]
    texts += [
        f"{board}: {name} {score}"
        for board, scores in played.boards.items()
        for name, score in scores.items()
    ]
    return f"{_local(played.ended_at)}, {', '.join(texts)}"


def _scored(played: PlayedGame, name: str) -> str:
    text = f"{name} {played.scores[name]}" if name in played.scores else name
    change = played.ratings.get(name)
    if change is None:
        return text
    return f"{text} (rating {change.before:.0f} to {change.after:.0f})"
