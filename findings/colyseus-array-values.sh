#!/usr/bin/env bash
# An array of plain numbers in a Colyseus state (dice, card numbers, a queue) is changed by the
# server. One expects the client to have the same numbers after the patch, whatever they are. With
# @colyseus/schema 5.0.34 it depends on the values: a number put in front of an equal one is never
# sent, so the client's array is one too short from then on; and a 0 (or an empty string) that is
# pushed in the same patch in which the front is shifted off is overwritten by its neighbour.
# Every other value arrives. There is no error on either side.
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

function play(type, ...patches) {
  const State = schema({ row: t.array(type) });
  const server = new State();
  const encoder = new Encoder(server);
  const client = new Decoder(new State());
  client.decode(encoder.encodeAll());
  encoder.discardChanges();
  for (const patch of patches) {
    patch(server.row);
    client.decode(encoder.encode());
    encoder.discardChanges();
  }
  return JSON.stringify([[...server.row], [...client.state.row]]);
}

const cases = [
  ["4 in front of 6", play("number", (row) => row.push(6), (row) => row.unshift(4)),
    [[4, 6], [4, 6]]],
  ["6 in front of 6", play("number", (row) => row.push(6), (row) => row.unshift(6)),
    [[6, 6], [6]]],
  ["6 in front of 6, then 1 behind",
    play("number", (row) => row.push(6), (row) => row.unshift(6), (row) => row.push(1)),
    [[6, 6, 1], [6, 1]]],
  ["push 1, 5, 2, shift", play("number", (row) => { row.push(1, 5, 2); row.shift(); }),
    [[5, 2], [5, 2]]],
  ["push 1, 0, 2, shift", play("number", (row) => { row.push(1, 0, 2); row.shift(); }),
    [[0, 2], [2, 2]]],
  ["push 'a', '', 'b', shift", play("string", (row) => { row.push("a", "", "b"); row.shift(); }),
    [["", "b"], ["b", "b"]]],
];
let changed = false;
for (const [name, seen, stated] of cases) {
  const [server, client] = JSON.parse(seen).map((row) => JSON.stringify(row));
  console.log(`${name}: server ${server}, client ${client}`);
  changed ||= seen !== JSON.stringify(stated);
}
if (changed) {
  console.log("CHANGED: this is not what the top of this script says");
  process.exit(1);
}
console.log("AS STATED: whether a number arrives depends on which number it is");
JS
timeout 30 node check.cjs
