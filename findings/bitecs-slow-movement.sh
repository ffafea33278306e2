#!/usr/bin/env bash
# A server replicates an entity of bitECS 0.4.0 with createSoASerializer and `diff: true`, which
# sends what has changed, with an epsilon of 0.0001 for floats. One expects the client's value to
# stay within about an epsilon of the server's. But each call compares with the value of the call
# before, sent or not: what moves by less than an epsilon a tick is never sent at all. After
# 100,000 ticks of 0.00005 the server's entity is at 5, the client's still where it began, and not
# one byte has been written. The same values, serialized every fourth tick, arrive. A first value
# of 0 is not sent either, and the client has undefined where the server has a number.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts bitecs@0.4.0
cat >check.mjs <<'JS'
import { readFileSync } from "node:fs";
import { createSoADeserializer, createSoASerializer, f32 } from "bitecs/serialization";

const { version } = JSON.parse(readFileSync("node_modules/bitecs/package.json"));
console.log(`bitecs ${version}, Node ${process.versions.node}`);

const ENTITY = 1;
const TICKS = 100_000;

// The places on both sides after all ticks, and how many bytes were written for them.
function play(start, step, ticksForEachCall) {
  const server = { x: f32([]) };
  const client = { x: f32([]) };
  const serialize = createSoASerializer([server], { diff: true });
  const deserialize = createSoADeserializer([client], { diff: true });
  server.x[ENTITY] = start;
  deserialize(serialize([ENTITY]));
  let bytes = 0;
  for (let tick = 1; tick <= TICKS; tick += 1) {
    server.x[ENTITY] += step;
    if (tick % ticksForEachCall) continue;
    const packet = serialize([ENTITY]);
    bytes += packet.byteLength;
    deserialize(packet);
  }
  return { server: server.x[ENTITY], client: client.x[ENTITY], bytes };
}

const near = (value, stated) => Math.abs(value - stated) < 0.01;
const slow = play(10, 0.00005, 1);
console.log("0.00005 a tick, each tick serialized:", slow);
const fewer = play(10, 0.00005, 4);
console.log("0.00005 a tick, each fourth tick serialized:", fewer);
const still = play(0, 0, 1);
console.log("one that stands at 0:", still);
const asStated =
  near(slow.server, 15) && near(slow.client, 10) && slow.bytes === 0 &&
  near(fewer.client, 15) && fewer.bytes > 0 &&
  still.server === 0 && still.client === undefined;
if (!asStated) {
  console.log("CHANGED: this is not what the top of this script says");
  process.exit(1);
}
console.log("AS STATED: what moves slowly never moves for the client");
JS
timeout 60 node check.mjs
