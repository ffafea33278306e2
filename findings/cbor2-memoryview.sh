#!/usr/bin/env bash
# A program hands a slice of what it received to cbor2 6.3.0, as a memoryview, so that nothing is
# copied. One expects a byte string, as for bytes and bytearray, or the error that cbor2 5.9.0
# raises. Version 6 takes a memoryview (and an array of bytes) for a sequence, and writes a list
# of numbers: nearly twice as large, and the other end gets a list where bytes were sent. msgpack
# 1.2.4 and msgspec 0.23.0 write bytes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    cbor2==6.3.0 msgpack==1.2.4 msgspec==0.23.0
cat >check.py <<'PY'
import array
import importlib.metadata
import subprocess
import sys

import cbor2
import msgpack
import msgspec

for name in ("cbor2", "msgpack", "msgspec"):
    print(name, importlib.metadata.version(name))
frame = bytes(range(100, 200))
seen = {}
for name, value in {
    "bytes": frame,
    "bytearray": bytearray(frame),
    "memoryview": memoryview(frame),
    "array": array.array("B", frame),
}.items():
    written = cbor2.dumps(value)
    read = cbor2.loads(written)
    seen[name] = (type(read).__name__, len(written))
    print(f"{name} of 100 bytes: {len(written)} bytes, read as {type(read).__name__}")
old = subprocess.run(
    [sys.executable, "-c", "import cbor2; cbor2.dumps(memoryview(b'frame'))"],
    env={"PYTHONPATH": "old"},
    capture_output=True,
    text=True,
)
print("cbor2 5.9.0:", old.stderr.splitlines()[-1])
others = [
    type(msgpack.unpackb(msgpack.packb(memoryview(frame)))).__name__,
    type(msgspec.msgpack.decode(msgspec.msgpack.encode(memoryview(frame)))).__name__,
]
print("memoryview through msgpack and msgspec:", others)
stated = {
    "bytes": ("bytes", 102),
    "bytearray": ("bytes", 102),
    "memoryview": ("list", 202),
    "array": ("list", 202),
}
if seen != stated or others != ["bytes", "bytes"] or "CBOREncodeTypeError" not in old.stderr:
    sys.exit(f"CHANGED: {stated} was stated")
print("AS STATED: a memoryview arrives as a list of numbers")
PY
venv/bin/pip install --quiet --disable-pip-version-check --target old cbor2==5.9.0
timeout 60 venv/bin/python check.py
