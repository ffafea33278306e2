#!/usr/bin/env bash
# A page sends `Date.now()`, or another whole number beyond 32 bits, to a server in Python. One
# expects MessagePack's 64-bit integer, as @msgpack/msgpack 3.1.3 writes it. msgpackr 2.1.4 writes
# every whole number from 2**32 on, and below -2**31, as a float: msgspec 0.23.0 refuses the
# message where an integer is declared, and elsewhere a float comes in, which is no index and
# nothing for range(). Small numbers are integers, so tests with small numbers pass.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts msgpackr@2.1.4 @msgpack/msgpack@3.1.3
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check msgspec==0.23.0
cat >check.cjs <<'JS'
const { readFileSync } = require("fs");
const { pack } = require("msgpackr");
const { encode } = require("@msgpack/msgpack");
const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version;
console.error(`msgpackr ${version("msgpackr")}, @msgpack/msgpack ${version("@msgpack/msgpack")}`);
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const values = [2 ** 32 - 1, 2 ** 32, 1_800_000_000_000, -(2 ** 31), -(2 ** 31) - 1];
console.log(JSON.stringify(values.map((value) => [value, hex(pack(value)), hex(encode(value))])));
JS
cat >check.py <<'PY'
import importlib.metadata
import json
import subprocess
import sys

import msgspec

print("msgspec", importlib.metadata.version("msgspec"), flush=True)
written = subprocess.run(["node", "check.cjs"], check=True, stdout=subprocess.PIPE, timeout=30)


def read(data):
    try:
        return type(msgspec.msgpack.decode(bytes.fromhex(data), type=int)).__name__
    except msgspec.ValidationError as error:
        return str(error)


seen = {}
for value, packed, encoded in json.loads(written.stdout):
    seen[value] = (read(packed), read(encoded))
    print(f"{value}: of msgpackr {seen[value][0]!r}, of @msgpack/msgpack {seen[value][1]!r}")

refused = "Expected `int`, got `float`"
stated = {
    2**32 - 1: ("int", "int"),
    2**32: (refused, "int"),
    1_800_000_000_000: (refused, "int"),
    -(2**31): ("int", "int"),
    -(2**31) - 1: (refused, "int"),
}
if seen != stated:
    sys.exit(f"CHANGED: {stated} was stated")
print("AS STATED: whole numbers beyond 32 bits leave msgpackr as floats")
PY
timeout 60 venv/bin/python check.py
