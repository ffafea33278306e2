#!/usr/bin/env bash
# msgspec 0.23.0 decodes straight into attrs 26.1.0 classes, and runs their validators and
# __attrs_post_init__. One expects it to fill the class as its own __init__ does. Converters are
# not run, not even over a default, so that validators see what they never see otherwise; an alias
# is not the key, the attribute's name is; what has init=False is taken from the message and
# overwrites what the class sets itself; and a field with a leading underscore is read but never
# written, so that what was encoded and decoded again has lost it. None of this is an error.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check msgspec==0.23.0 attrs==26.1.0
cat >check.py <<'PY'
import importlib.metadata
import sys

import attrs
import msgspec

for name in ("msgspec", "attrs"):
    print(name, importlib.metadata.version(name))


@attrs.define
class Player:
    name: str = attrs.field(default=" guest ", converter=str.strip)
    points: int = attrs.field(default=0, alias="score")
    rank: int = attrs.field(default=1, init=False)
    _seed: int = 7


def decoded(message):
    player = msgspec.json.decode(message, type=Player)
    return player.name, player.points, player.rank, player._seed


made = Player(name=" Ada ", score=3, seed=8)
print("made by its class:", made)
seen = {
    "a name to be stripped": decoded(b'{"name": " Ada "}'),
    "the default name": decoded(b"{}"),
    "the alias": decoded(b'{"score": 3}'),
    "init=False": decoded(b'{"rank": 99}'),
    "there and back": decoded(msgspec.json.encode(made)),
}
for what, player in seen.items():
    print(f"{what}: {player}")
stated = [
    (" Ada ", 0, 1, 7),
    (" guest ", 0, 1, 7),
    (" guest ", 0, 1, 7),
    (" guest ", 0, 99, 7),
    ("Ada", 3, 1, 7),
]
if list(seen.values()) != stated or Player().name != "guest":
    sys.exit(f"CHANGED: {stated} was stated")
print("AS STATED: converters, aliases, init=False and private fields are not as in __init__")
PY
timeout 60 venv/bin/python check.py
