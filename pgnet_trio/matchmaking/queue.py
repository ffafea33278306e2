"""What a game's class declares of its queues, and the check of that."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from pgnet_trio.author_classes import declared
from pgnet_trio.codec import check_model
from pgnet_trio.errors import CodecError
from pgnet_trio.matchmaking.tickets import Rule, Ticket
from pgnet_trio.matchmaking.widening import Widening

__all__ = ["DECLARATION", "MAX_QUEUES", "MAX_SIZE", "Queue", "Rating", "queues_of"]

DECLARATION = "matchmaking"
"""The attribute of a game's class that declares its queues."""

MAX_SIZE = 1000
"""Players in one match: more than any game has."""

MAX_QUEUES = 100
"""Queues of one class."""

Rating: TypeAlias = Literal[True] | str | Callable[[str], float | Awaitable[float]]
"""Where the rating of a user comes from: the results of their games in this queue, a property that
their program sends, or a function of their username, which may be async."""


@attrs.frozen(kw_only=True)
class Queue:
    """A queue of users who look for a game, declared by a game's class as its `matchmaking`.

    Without a *rule*, two users can meet if what they look for is the same, all *properties* of it.
    With ratings, they are apart by *within* at most, at first; the longer one of them waits, the
    more that is, and after *wait* seconds it is any distance.

    Args:
        size: How many users a match has, 2 at least.
        min_size: How many are enough once one of them has waited for *wait* seconds; None for
            *size*.
        rating: Where a user's rating comes from. True: the server keeps one for each user, 1500 at
            first, and `room.report` of a game of this queue changes it; this needs the package
            openskill (``pip install 'pgnet_trio[ratings]'``). A function of the username, which may
            be async. The name of a property, of which the players' own programs say what they like.
            None: nobody has one.
        within: How far apart two ratings may be at first, in their own unit.
        wait: Seconds after which ratings do not count any more, and *min_size* is enough.
        confirm: Seconds in which all users of a match have to confirm that they are there. Their
            clients do so by themselves, unless they are told not to.
        properties: An attrs model of what users may look for; what does not fit is refused. None
            takes any plain data.
        rule: Says instead of all this what makes a match: see `Rule`. It is called when somebody
            comes or goes and, while somebody waits, every *every* seconds.
        every: Seconds from one call of *rule* to the next.
        options: Returns the options of the table for a match, which are ``room.options`` there, as
            plain data. Called with its tickets. None for ``{"queue": "the queue's name"}``.

    Raises:
        TypeError: An argument is of another type.
        ValueError: An argument makes no sense.
    """

    size: int = 2
    min_size: int | None = None
    rating: Rating | None = None
    within: float = 100.0
    wait: float = 30.0
    confirm: float = 10.0
    properties: type[Any] | None = None
    rule: Rule | None = None
    every: float = 1.0
    options: Callable[[Sequence[Ticket]], Mapping[str, Any]] | None = None

    def __attrs_post_init__(self) -> None:
        _check_int("size", self.size, 2, MAX_SIZE)
        if self.min_size is not None:
            _check_int("min_size", self.min_size, 1, self.size)
        _check_rating(self.rating)
        _check_number("within", self.within, "units of the rating")
        _check_number("wait", self.wait, "seconds")
        _check_number("confirm", self.confirm, "seconds", above=0)
        _check_number("every", self.every, "seconds", above=0)
        for name, value in (("rule", self.rule), ("options", self.options)):
            if not (value is None or callable(value)):
                raise TypeError(f"Queue({name}=…): expected a function or None, got {value!r}.")
        _check_model(self.properties)

    @property
    def widening(self) -> Widening:
        """The rule where there is no other."""
        least = self.size if self.min_size is None else self.min_size
        return Widening(self.size, least, self.within, self.wait)


def queues_of(game: object) -> Mapping[str, Queue]:
    """Return the queues that a class of games declares, by their names.

    Args:
        game: The class; or what else makes the games, which may have the attribute too.

    Returns:
        The queues; a single one that is no mapping has an empty name. An attribute of this name
        that holds no queue is the author's own, and declares none.

    Raises:
        TypeError: The declaration has the wrong shape.
    """
    return declared(game, DECLARATION, Queue, most=MAX_QUEUES, refused="admin")


def _check_int(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int:
        raise TypeError(f"Queue({name}=…): expected an int, got {value!r}.")
    if not least <= value <= most:
        raise ValueError(f"Queue({name}=…): expected {least} to {most}, got {value!r}.")


def _check_number(name: str, value: object, unit: str, *, above: float | None = None) -> None:
    if type(value) not in (int, float):
        raise TypeError(f"Queue({name}=…): expected a number of {unit}, got {value!r}.")
    assert isinstance(value, int | float)
    if not (0 <= value < math.inf) or value == above:
        least = "0 or more" if above is None else f"more than {above:g}"
        raise ValueError(f"Queue({name}=…): expected {least} {unit}, got {value!r}.")


def _check_rating(rating: object) -> None:
    if rating is None or rating is True or callable(rating):
        return
    if isinstance(rating, str) and rating:
        return
    raise TypeError(
        "Queue(rating=…): expected True, a function that returns the rating of a username, the "
        f"name of a property, or None; got {rating!r}."
    )


def _check_model(model: object) -> None:
    if model is None:
        return
    if not (isinstance(model, type) and attrs.has(model)):
        raise TypeError(f"Queue(properties=…): expected an attrs class or None, got {model!r}.")
    try:
        check_model(model, may_be_early=True)
    except CodecError as error:
        raise TypeError(f"Queue(properties=…): {error}") from None
