"""What a game's class declares for play in real time: its inputs, and what it can rewind."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import getattr_static
from types import MappingProxyType
from typing import Any

import attrs

from pgnet_trio.codec import check_model
from pgnet_trio.netcode import Rewind
from pgnet_trio.typed import check_game_message

__all__ = ["inputs_of", "rewinds_of"]


def inputs_of(cls: type) -> type[Any] | None:
    """Return the model of the inputs that a game's class declares; None where it declares none.

    What is no attrs class is an attribute of the author's own.

    Raises:
        TypeError: The model cannot travel.
    """
    declared = getattr_static(cls, "inputs", None)
    if not (isinstance(declared, type) and attrs.has(declared)):
        return None
    try:
        check_game_message(declared.__name__)
        check_model(declared)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{cls.__name__}.inputs: {error}") from None
    return declared


def rewinds_of(cls: type) -> Mapping[str, Rewind]:
    """Return what a game's class declares that `Room.rewind` can rewind.

    What holds no `Rewind` is an attribute of the author's own.

    Raises:
        TypeError: The declaration has the wrong shape.
    """
    declared, where = getattr_static(cls, "rewinds", None), f"{cls.__name__}.rewinds"
    if isinstance(declared, Rewind):
        raise TypeError(
            f"{where}: expected a dict from the names of the game's attributes, as in "
            f'rewinds = {{"ships": {declared!r}}}, got {declared!r} alone'
        )
    values = declared.values() if isinstance(declared, Mapping) else ()
    if not any(isinstance(value, Rewind) for value in values):
        return MappingProxyType({})
    assert isinstance(declared, Mapping)
    for name, value in declared.items():
        if not (isinstance(name, str) and name.isidentifier() and isinstance(value, Rewind)):
            raise TypeError(
                f"{where}: expected names of the game's attributes, each with a Rewind, as in "
                f'rewinds = {{"ships": Rewind("x", "y")}}, got {name!r}: {value!r}'
            )
    return MappingProxyType(dict(declared))
