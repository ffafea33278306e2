#!/usr/bin/env bash
# A program puts the integer 3 into a shared Map or Array of pycrdt 0.14.13. One expects to read 3
# back, as an integer, at least in the same process. It is 3.0, from the next line on: integers
# below 2**53 become floats, larger ones stay integers, and 2**53 itself is an integer where it
# was set and a float at the peer. So `cards[state["next"]]` and `range(state["rounds"])` raise
# TypeError, and an identifier is of one type or the other depending on how large it is. loro
# 1.17.1 gives integers back.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pycrdt==0.14.13 loro==1.17.1
cat >check.py <<'PY'
import importlib.metadata
import sys

import loro
from pycrdt import Array, Doc, Map

for name in ("pycrdt", "loro"):
    print(name, importlib.metadata.version(name))
VALUES = {"rounds": 3, "large": 2**53 - 1, "border": 2**53, "larger": 2**53 + 1, "flag": True}

document = Doc()
document["state"] = state = Map(VALUES)
document["deck"] = deck = Array([7])
ours = {key: type(state[key]).__name__ for key in VALUES}
ours["in an array"] = type(deck[0]).__name__
copy = Doc()
copy.apply_update(document.get_update())
theirs = {key: type(copy.get("state", type=Map)[key]).__name__ for key in VALUES}

other = loro.LoroDoc()
for key, value in VALUES.items():
    other.get_map("state").insert(key, value)
other.commit()
loros = {key: type(value).__name__ for key, value in other.get_deep_value()["state"].items()}

print("pycrdt, in the same document:", ours)
print("pycrdt, at a peer:", theirs)
print("loro:", {key: loros[key] for key in VALUES})
try:
    list(range(state["rounds"]))
except TypeError as error:
    print("range(rounds):", error)
    raised = True
else:
    raised = False

stated = {"rounds": "float", "large": "float", "border": "int", "larger": "int", "flag": "bool"}
if (
    ours != {**stated, "in an array": "float"}
    or theirs != {**stated, "border": "float"}
    or loros != {key: type(value).__name__ for key, value in VALUES.items()}
    or not raised
):
    sys.exit("CHANGED: this is not what the top of this script says")
print("AS STATED: integers come back as floats unless they are large")
PY
timeout 60 venv/bin/python check.py
