#!/usr/bin/env bash
# A field of the type "number" in a Colyseus state is documented to find the fitting wire type by
# itself. One expects what JavaScript calls a number, 64 bits, to arrive as it was. With
# @colyseus/schema 5.0.34 every fraction that is within 0.0001 of its 32-bit neighbour is sent as
# 32 bits: 0.1 arrives as 0.10000000149011612, a speed of 1e-50 arrives as 0, and of two clocks a
# microsecond apart the client sees one. 12345678.9 is sent whole, since 32 bits are too far off
# there: the error is bounded, and small values pay for it. A client that predicts with the same
# code as the server never agrees with it to the bit; "float64" does.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts @colyseus/schema@5.0.34
cat >check.cjs <<'JS'
const { schema, t, Encoder, Decoder } = require("@colyseus/schema");
const { version } = JSON.parse(
  require("fs").readFileSync("node_modules/@colyseus/schema/package.json"),
);
console.log(`@colyseus/schema ${version}, Node ${process.versions.node}`);

const State = schema({ value: t.number(), exact: t.float64() });
function arrives(value) {
  const server = new State();
  const encoder = new Encoder(server);
  const client = new Decoder(new State());
  server.value = value;
  server.exact = value;
  client.decode(encoder.encodeAll());
  return [client.state.value, client.state.exact];
}

let changed = false;
for (const [value, stated] of [
  [0.1, 0.10000000149011612],
  [1e-50, 0],
  [1000.000001, 1000],
  [1000.000002, 1000],
  [12345678.9, 12345678.9],
]) {
  const [seen, exact] = arrives(value);
  console.log(`${value}: "number" gives ${seen}, "float64" gives ${exact}`);
  changed ||= seen !== stated || exact !== value;
}
if (changed) {
  console.log("CHANGED: this is not what the top of this script says");
  process.exit(1);
}
console.log('AS STATED: "number" rounds small fractions to 32 bits');
JS
timeout 30 node check.cjs
