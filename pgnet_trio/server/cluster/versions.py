"""Which nodes of a cluster can go on with what others have; pure.

A cluster may have nodes of two versions of a game, and of this package, while it is upgraded one
node after the other. Each node says of which it is, as a text in its row that people can read too.
"""

from __future__ import annotations

import functools
import re

import attrs

__all__ = ["NodeVersion"]

_TEXT = re.compile(r"(?P<package>\S*)(?: formats (?P<formats>\S+))?(?: game (?P<game>.*))?")
_GAME = re.compile(r"(?P<name>.*?)(?: (?P<saves>[0-9]{1,9}))?")


@attrs.frozen
class NodeVersion:
    """Of which version a node is.

    Attributes:
        package: The version of this package.
        formats: The versions of what servers pack up for each other, as ``1.1``; nodes of other
            ones can read nothing that this one packs up.
        game: The name of the class of its games; empty where it does not say.
        saves: The version of their saves, see `Game.save_version`; None where it does not say.
    """

    package: str
    formats: str = ""
    game: str = ""
    saves: int | None = None

    def encode(self) -> str:
        """Return the text that stands for it."""
        text = self.package
        if self.formats:
            text += f" formats {self.formats}"
        if self.game:
            text += f" game {self.game}"
            if self.saves is not None:
                text += f" {self.saves}"
        return text

    @classmethod
    def decode(cls, text: str) -> NodeVersion:
        """Return what a text stands for; of another one, as much as can be read."""
        return _decoded(text)

    def reads(self, other: NodeVersion) -> bool:
        """Return whether this node can read what the other one packs up."""
        return self.formats == other.formats

    def loads(self, saves: int) -> bool:
        """Return whether this node can load a save of some version."""
        return self.saves is None or self.saves >= saves

    def takes_over(self, other: NodeVersion) -> bool:
        """Return whether this node can go on with a game of the other one, players and all."""
        is_same = not (self.game and other.game) or self.game == other.game
        return is_same and self.reads(other) and self.loads(other.saves or 0)


# There are as many texts as versions: a few.
@functools.lru_cache(maxsize=64)
def _decoded(text: str) -> NodeVersion:
    found = _TEXT.fullmatch(text)
    if found is None:
        return NodeVersion(text)
    game = _GAME.fullmatch(found["game"] or "")
    assert game is not None
    saves = None if game["saves"] is None else int(game["saves"])
    return NodeVersion(found["package"], found["formats"] or "", game["name"], saves)
