#!/usr/bin/env bash
# A server in Python sends a page a map whose keys are names that players chose, and one of them
# chose "__proto__". One expects the page's decoder to make a key of it, as JSON.parse does, or to
# refuse that name. @msgpack/msgpack 3.1.3 refuses the whole message, so one player's name takes
# the state from everybody. msgpackr 2.1.4 hands the entry out as "__proto_", silently: the player
# is there under a name that nobody has, and stands in the place of a player who really is called
# so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts msgpackr@2.1.4 @msgpack/msgpack@3.1.3
cat >check.cjs <<'JS'
const { readFileSync } = require("fs");
const { unpack } = require("msgpackr");
const { decode } = require("@msgpack/msgpack");
const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version;
console.log(`msgpackr ${version("msgpackr")}, @msgpack/msgpack ${version("@msgpack/msgpack")}`);

// A map of short names to small numbers, byte by byte as the format has it.
function points(entries) {
  const name = (text) => [0xa0 + text.length, ...Buffer.from(text)];
  return Buffer.from([0x80 + entries.length, ...entries.flatMap(([k, v]) => [...name(k), v])]);
}
function attempt(read, entries) {
  try {
    return JSON.stringify(Object.entries(read(points(entries))));
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
}

const sent = [["ada", 1], ["__proto__", 2]];
const clash = [["__proto_", 3], ["__proto__", 2]];
const json = JSON.stringify(Object.entries(JSON.parse('{"ada": 1, "__proto__": 2}')));
const seen = [attempt(decode, sent), attempt(unpack, sent), attempt(unpack, clash)];
console.log(`JSON.parse: ${json}`);
console.log(`@msgpack/msgpack: ${seen[0]}`);
console.log(`msgpackr: ${seen[1]}; with a player called __proto_ beside: ${seen[2]}`);
const stated = [
  "DecodeError: The key __proto__ is not allowed",
  '[["ada",1],["__proto_",2]]',
  '[["__proto_",2]]',
];
if (json !== JSON.stringify(sent) || JSON.stringify(seen) !== JSON.stringify(stated)) {
  console.log("CHANGED: this is not what the top of this script says");
  process.exit(1);
}
console.log("AS STATED: one library refuses the message, the other renames the player");
JS
timeout 30 node check.cjs
