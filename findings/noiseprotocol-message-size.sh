#!/usr/bin/env bash
# A Noise message is at most 65,535 bytes, of which 16 prove that it is genuine. noiseprotocol
# 0.3.1 checks the size of what it encrypts. One expects it to refuse whatever cannot be sent. It
# counts without the 16 bytes: of a text of 65,520 to 65,535 bytes it makes a message that is too
# long, and no peer, its own other end included, takes it. By then the sender has counted it, so
# every later message, however small, fails to authenticate as well: a state that grows by one
# byte ends the connection, and the error stands at the next small message.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check noiseprotocol==0.3.1
cat >check.py <<'PY'
import importlib.metadata
import sys

from noise.connection import NoiseConnection
from noise.exceptions import NoiseInvalidMessage

print("noiseprotocol", importlib.metadata.version("noiseprotocol"))


def connected():
    name = b"Noise_NN_25519_ChaChaPoly_BLAKE2s"
    client, server = NoiseConnection.from_name(name), NoiseConnection.from_name(name)
    client.set_as_initiator()
    server.set_as_responder()
    client.start_handshake()
    server.start_handshake()
    server.read_message(client.write_message())
    client.read_message(server.write_message())
    return client, server


def attempt(step, data):
    try:
        return len(step(data))
    except NoiseInvalidMessage as error:
        return str(error).split(" ")[0] or "refused"


seen = {}
for size in (65_519, 65_520, 65_535, 65_536):
    client, server = connected()
    try:
        message = client.encrypt(bytes(size))
    except NoiseInvalidMessage:
        seen[size] = ("refused", None, None)
    else:
        taken = attempt(server.decrypt, message)
        seen[size] = (len(message), taken, attempt(server.decrypt, client.encrypt(b"next")))
    print(f"text of {size}: message, taken as, next small message: {seen[size]}")

if (
    seen[65_519] != (65_535, 65_519, 4)
    or seen[65_520][0] != 65_536
    or seen[65_535][0] != 65_551
    or any(4 in seen[size] or size in seen[size][1:] for size in (65_520, 65_535))
    or seen[65_536] != ("refused", None, None)
):
    sys.exit("CHANGED: this is not what the top of this script says")
print("AS STATED: texts of 65,520 to 65,535 bytes are encrypted, and nothing after them is read")
PY
timeout 60 venv/bin/python check.py
