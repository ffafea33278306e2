#!/usr/bin/env bash
# amsgpack 0.5.1 writes an aware datetime as MessagePack's timestamp, which is seconds since 1970
# in UTC. One expects 12:00 at +02:00 to be the moment 10:00 UTC, as with msgpack 1.2.4 and
# msgspec 0.23.0. It writes the digits of the clock as if they were UTC, and leaves the zone out:
# with +02:00 each deadline that is sent lies two hours later than it was set, and 12:00 at +02:00
# and at -05:00 become the same bytes. In UTC, and so on most servers and in most tests, all is
# well.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    amsgpack==0.5.1 msgpack==1.2.4 msgspec==0.23.0
cat >check.py <<'PY'
import datetime
import importlib.metadata
import sys

import amsgpack
import msgpack
import msgspec

for name in ("amsgpack", "msgpack", "msgspec"):
    print(name, importlib.metadata.version(name))


def hours_off(encode, zone):
    """By how many hours a deadline is off when another library has read it."""
    deadline = datetime.datetime(
        2026, 6, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=zone))
    )
    read = msgspec.msgpack.decode(encode(deadline), type=datetime.datetime)
    return (read - deadline).total_seconds() / 3600


seen = {}
for zone in (0, 2, -5):
    seen[zone] = (
        hours_off(amsgpack.packb, zone),
        hours_off(lambda when: msgpack.packb(when, datetime=True), zone),
        hours_off(msgspec.msgpack.encode, zone),
    )
    print(f"12:00 at {zone:+}: amsgpack, msgpack, msgspec are off by hours: {seen[zone]}")
if seen != {0: (0, 0, 0), 2: (2, 0, 0), -5: (-5, 0, 0)}:
    sys.exit("CHANGED: this is not what the top of this script says")
print("AS STATED: outside UTC the moment is another one")
PY
timeout 60 venv/bin/python check.py
