"""The messages of a game's class as TypeScript, for clients in browsers."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args

import attrs

from pgnet_trio.cli.game_messages import GameMessages, Way, messages_of
from pgnet_trio.codec.checking import model_fields
from pgnet_trio.codec.faults import kind_name
from pgnet_trio.codec.kinds import (
    DICTS,
    LISTS,
    is_below,
    is_model,
    is_union,
    literal_values,
    origin,
    stripped,
)
from pgnet_trio.messages import Response
from pgnet_trio.typed import model_name

if TYPE_CHECKING:
    from pgnet_trio.game import Game

__all__ = ["describe"]

EXACT = 2**53 - 1
"""The largest int that is a number in JavaScript; beyond that it is a bigint."""

_HEAD = """\
// The messages of {game}, written by `pgnet-trio types`. When the game changes, write them anew.
// An integer beyond 2^53 - 1 arrives as a bigint.
"""

# The names that the text itself uses, each with what it is, where that has to be said.
_HELPERS = {
    "Plain": (
        "Anything that can travel.",
        "null | boolean | number | bigint | string | Plain[] | { [key: string]: Plain }",
    ),
    "AnyResponse": (
        "A response of which the game's class does not say what it is.",
        "{ message: string; payload: { [key: string]: Plain } }",
    ),
    "Base64": ("Bytes, as base64 text.", "string"),
    "IsoTime": ("A time with its timezone, as ISO 8601 text.", "string"),
}

_WORDS = """\
any bigint boolean never null number object string symbol undefined unknown void
await break case catch class const continue debugger default delete do else enum export extends
false finally for function if implements import in instanceof interface let new package private
protected public return static super switch this throw true try type typeof var while with yield
Record Partial
"""

_RESERVED = frozenset(_WORDS.split())

_NAMES = {str: "string", bool: "boolean", int: "number", float: "number", NoneType: "null"} | {
    Any: "Plain",
    bytes: "Base64",
    datetime: "IsoTime",
}

_LINE_LENGTH = 100

_PLAIN_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


def describe(game_class: type[Game]) -> str:
    """Return the messages of a game's class, its state, and all that is in them, as TypeScript.

    Raises:
        AuthorCodeError: An annotation of the class names what is not there at run time, or the
            state that it names cannot travel.
    """
    messages = messages_of(game_class)
    types = _Types(f"{game_class.__name__}Messages")
    for kind, way in messages.kinds():
        types.note(kind, way)
    parts = [_messages_text(game_class, messages, types), *types.texts()]
    return "\n".join([_HEAD.format(game=game_class.__name__), *types.helpers(), *parts])


class _Types:
    """The types that messages are made of, by the names that they get in TypeScript.

    Args:
        name: The name that is taken already.
    """

    def __init__(self, name: str) -> None:
        self._ways: dict[Any, set[Way]] = {}
        self._names: dict[tuple[Any, Way], str] = {}
        # Models that are told apart from others in a union, by a field with one value.
        self._alternatives: set[Any] = set()
        self._taken = {name, *_HELPERS, *_RESERVED}
        self._used: set[str] = set()

    def note(self, kind: Any, way: Way) -> None:
        """Note that a type travels, and all types inside it."""
        kind = _resolved(kind, {})
        if is_model(kind):
            ways = self._ways.setdefault(kind, set())
            if way not in ways:
                ways.add(way)
                for _, inner, _ in _fields(kind):
                    self.note(inner, way)
        elif is_below(kind, Enum):
            self._ways.setdefault(kind, set()).add("received")
        elif origin(kind) is not Literal:
            models = [part for part in get_args(kind) if is_model(part)]
            if is_union(kind) and len(models) > 1:
                self._alternatives.update(models)
            for part in get_args(kind):
                if part is not ...:
                    self.note(part, way)

    def name_of(self, kind: Any, way: Way) -> str:
        """Return the name of a model or an enum."""
        ways = self._ways[kind]
        if is_below(kind, Enum) or (len(ways) == 2 and not _may_be_shorter(kind, set())):
            way = "received"
        name = self._names.get((kind, way))
        if name is None:
            suffix = "Input" if way == "sent" and len(ways) == 2 else ""
            wanted = _name_for(kind) + suffix
            name, number = wanted, 2
            while name in self._taken:
                name = f"{wanted}_" if wanted in _RESERVED and number == 2 else f"{wanted}{number}"
                number += 1
            self._taken.add(name)
            self._names[kind, way] = name
        return name

    def text_of(self, kind: Any, way: Way) -> str:
        """Return a type as it is written where it is used."""
        kind = _resolved(kind, {})
        if kind in _NAMES:
            return self.helper(_NAMES[kind])
        if is_model(kind) or is_below(kind, Enum):
            return self.name_of(kind, way)
        arguments = get_args(kind)
        if is_union(kind):
            return _either(self.text_of(part, way) for part in arguments)
        if origin(kind) is Literal:
            return _either(map(_literal, literal_values(kind)))
        if origin(kind) in DICTS:
            key, item = arguments or (str, Any)
            return self._dict_text(key, self.text_of(item, way))
        if origin(kind) is tuple and arguments and arguments[-1] is not ...:
            return f"[{', '.join(self.text_of(part, way) for part in arguments)}]"
        assert origin(kind) in (*LISTS, tuple)
        inner = (*arguments, Any)[0]
        item = self.text_of(inner, way)
        return f"({item})[]" if is_union(inner) or origin(inner) is Literal else f"{item}[]"

    def _dict_text(self, key: Any, item: str) -> str:
        if key is int:
            return f"Record<number, {item}>"
        if key in (str, Any):
            return f"Record<string, {item}>"
        return f"Partial<Record<{self.text_of(key, 'received')}, {item}>>"

    def texts(self) -> list[str]:
        """Return the declarations of all models and enums, each once."""
        found: dict[str, str] = {}
        for kind, ways in self._ways.items():
            for way in sorted(ways):
                name = self.name_of(kind, way)
                if name not in found:
                    found[name] = self._declaration(name, kind, way)
        return list(found.values())

    def _declaration(self, name: str, kind: Any, way: Way) -> str:
        comment = _comment(_docstring(origin(kind)))
        if is_below(kind, Enum):
            return f"{comment}export type {name} = {_enum(kind)};\n"
        lines = []
        for field, inner, has_default in _fields(kind):
            # Left out, a field by which models are told apart would not tell them apart.
            tells_apart = kind in self._alternatives and origin(inner) is Literal
            mark = "?" if has_default and way == "sent" and not tells_apart else ""
            lines.append(f"  {_key(field)}{mark}: {self.text_of(inner, way)};\n")
        if not lines:
            return f"{comment}export type {name} = Record<string, never>;\n"
        return f"{comment}export interface {name} {{\n{''.join(lines)}}}\n"

    def anything(self) -> str:
        """Return the payload of what the class does not say."""
        return f"{{ [key: string]: {self.helper('Plain')} }}"

    def helper(self, name: str) -> str:
        """Return the name of a type that is no model, and note that it is used."""
        self._used |= {name, "Plain"} if name == "AnyResponse" else {name}
        return name

    def helpers(self) -> list[str]:
        """Return the declarations of what is used beside models."""
        return [
            f"/** {comment} */\nexport type {name} = {text};\n"
            for name, (comment, text) in _HELPERS.items()
            if name in self._used
        ]


def _messages_text(game_class: type[Game], messages: GameMessages, types: _Types) -> str:
    def response(kind: Any) -> str:
        if kind is None:
            return '{ message: ""; payload: Record<string, never> }'
        if kind is Response:
            return types.helper("AnyResponse")
        name = model_name(origin(kind))
        return f'{{ message: "{name}"; payload: {types.text_of(kind, "received")} }}'

    def block(models: Mapping[str, Any] | None, way: Way) -> str:
        if models is None:
            return f"Record<string, {types.anything()}>"
        return _block(
            f"    {_key(name)}: {types.text_of(model, way)};\n" for name, model in models.items()
        )

    requests = _block(
        _comment(request.comment, "    ")
        + f"    {_key(name)}: {types.text_of(request.model, 'sent')};\n"
        for name, request in messages.requests.items()
    )
    responses = _block(
        _line(name, map(response, request.answers)) for name, request in messages.requests.items()
    )
    questions = answers = None
    if messages.asks is not None:
        questions = {name: question for name, (question, _) in messages.asks.items()}
        answers = {model_name(answer): answer for _, answer in messages.asks.values()}
    state = "never" if messages.state is None else types.text_of(messages.state, "received")
    return (
        f"{_comment(_docstring(game_class))}export interface {game_class.__name__}Messages {{\n"
        f"  /** What a player may ask of the game, by its message. */\n  requests: {requests};\n"
        f"  /** What each of these is answered with. */\n  responses: {responses};\n"
        f"  /** What the game says unasked. */\n  pushes: {block(messages.pushes, 'received')};\n"
        f"  /** What the game asks a player. */\n  questions: {block(questions, 'received')};\n"
        f"  /** What a player answers. */\n  answers: {block(answers, 'sent')};\n"
        f"  /** What the game shows a player. */\n  state: {state};\n}}\n"
    )


def _line(name: str, responses: Iterable[str]) -> str:
    """Return what a request is answered with: one line, or one for each part."""
    response = _either(responses)
    line = f"    {_key(name)}: {response};\n"
    if len(line) <= _LINE_LENGTH:
        return line
    parts = "".join(f"\n      | {part}" for part in response.split(" | "))
    return f"    {_key(name)}:{parts};\n"


def _block(lines: Iterable[str]) -> str:
    text = "".join(lines)
    return f"{{\n{text}  }}" if text else "Record<never, never>"


def _resolved(kind: Any, variables: dict[Any, Any]) -> Any:
    """Return a type without type variables, and without other names for the same."""
    kind = stripped(variables.get(kind, kind))
    arguments = get_args(kind)
    if not arguments or origin(kind) is Literal:
        return kind
    inner = tuple(part if part is ... else _resolved(part, variables) for part in arguments)
    if is_union(kind):
        return Union[inner]  # noqa: UP007 - put together at run time
    return origin(kind)[inner if len(inner) > 1 else inner[0]]


def _fields(kind: Any) -> list[tuple[str, Any, bool]]:
    """Return the fields of a model: their names, their types, and whether they have defaults."""
    owner = origin(kind)
    if attrs.has(owner):
        optional = {each.name for each in attrs.fields(owner) if each.default is not attrs.NOTHING}
    else:
        optional = {
            each.name
            for each in dataclasses.fields(owner)
            if each.default is not dataclasses.MISSING
            or each.default_factory is not dataclasses.MISSING
        }
    return [
        (name, _resolved(inner, variables), name in optional)
        for name, inner, variables in model_fields(kind, {})
    ]


def _may_be_shorter(kind: Any, seen: set[Any]) -> bool:
    """Return whether a page may leave something out of a model that a server never does."""
    if is_model(kind):
        if kind in seen:
            return False
        seen.add(kind)
        return any(
            has_default or _may_be_shorter(inner, seen) for _, inner, has_default in _fields(kind)
        )
    if origin(kind) is Literal:
        return False
    return any(_may_be_shorter(part, seen) for part in get_args(kind) if part is not ...)


def _name_for(kind: Any) -> str:
    """Return the name of a model with those of its arguments: ``PageOfCard`` for Page[Card]."""
    name = origin(kind).__name__
    arguments = [
        "".join(word[0].upper() + word[1:] for word in re.findall(r"\w+", _short_name(part)))
        for part in get_args(kind)
    ]
    return f"{name}Of{'And'.join(arguments)}" if arguments else str(name)


def _short_name(kind: Any) -> str:
    if get_args(kind) and not is_union(kind) and origin(kind) is not Literal:
        return " of ".join([origin(kind).__name__, *map(_short_name, get_args(kind))])
    if is_union(kind):
        return " or ".join(map(_short_name, get_args(kind)))
    return kind.__name__ if isinstance(kind, type) else kind_name(kind).rpartition(".")[2]


def _enum(kind: type[Enum]) -> str:
    return _either(_literal(member.value) for member in kind)


def _either(texts: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(texts)) or "never"


def _literal(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > EXACT:
        return "bigint"
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _docstring(cls: type) -> str:
    """Return the docstring of a class, unless Python or a library has made it."""
    text = vars(cls).get("__doc__") or ""
    made = text.startswith(f"{cls.__name__}(") or text == "An enumeration."
    return "" if made else text


def _comment(text: str, indent: str = "") -> str:
    lines = [line.rstrip() for line in inspect.cleandoc(text).replace("*/", "*\\/").splitlines()]
    if not lines:
        return ""
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    inner = "".join(f"{indent} * {line}".rstrip() + "\n" for line in lines)
    return f"{indent}/**\n{inner}{indent} */\n"
