#!/usr/bin/env bash
# Two MessagePack messages arrive in one piece, and a program decodes it as one. One expects the
# error that msgpack 1.2.4 and msgspec 0.23.0 raise about what is left over. ormsgpack 1.13.1
# returns the first message and says nothing of the second, nor how much it has read: of a client
# that batches its moves only the first ever counts, and a fault in how messages are told apart is
# never noticed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ormsgpack==1.13.1 msgpack==1.2.4 msgspec==0.23.0
cat >check.py <<'PY'
import importlib.metadata
import sys

import msgpack
import msgspec
import ormsgpack

for name in ("ormsgpack", "msgpack", "msgspec"):
    print(name, importlib.metadata.version(name))
two = ormsgpack.packb({"move": 1}) + ormsgpack.packb({"move": 2})


def attempt(decode):
    try:
        return decode(two)
    except (msgpack.ExtraData, msgspec.DecodeError) as error:
        return type(error).__name__


seen = {
    "ormsgpack": attempt(ormsgpack.unpackb),
    "msgpack": attempt(msgpack.unpackb),
    "msgspec": attempt(msgspec.msgpack.decode),
}
for name, result in seen.items():
    print(f"{name}: {result}")
if seen != {"ormsgpack": {"move": 1}, "msgpack": "ExtraData", "msgspec": "DecodeError"}:
    sys.exit("CHANGED: this is not what the top of this script says")
print("AS STATED: the second message is gone without an error")
PY
timeout 60 venv/bin/python check.py
