#!/usr/bin/env bash
# A server keeps a board as an array of rows and sends its clients what json-diff-ts 4.10.4 finds
# different, as a changeset. One expects `applyChangeset(old, diff(old, new))` to be the new value.
# It is not where a row becomes shorter: the removed entries stay, a line on the console says that
# an element "with the key 'undefined'" was not found, and nothing is raised. The same entries in
# an array that is not inside another one are removed, and a row that grows arrives.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts json-diff-ts@4.10.4
cat >check.mjs <<'JS'
import { readFileSync } from "node:fs";
import { applyChangeset, diff } from "json-diff-ts";

const { version } = JSON.parse(readFileSync("node_modules/json-diff-ts/package.json"));
console.log(`json-diff-ts ${version}, Node ${process.versions.node}`);

// What the library writes to the console instead of raising.
const told = [];
console.error = console.warn = (text) => told.push(text);

// What a client has after the difference between the two was applied to the first.
const cases = [
  ["a row loses its last", { rows: [[1, 2], [3]] }, { rows: [[1], [3]] }, { rows: [[1, 2], [3]] }],
  ["a row is emptied", { rows: [[1, 2], [3]] }, { rows: [[1, 2], []] }, { rows: [[1, 2], [3]] }],
  ["a row loses its first", { rows: [[1, 2]] }, { rows: [[2]] }, { rows: [[2, 2]] }],
  ["a row grows", { rows: [[1], [3]] }, { rows: [[1, 2], [3]] }, { rows: [[1, 2], [3]] }],
  ["a plain array loses its last", { hand: [1, 2] }, { hand: [1] }, { hand: [1] }],
];
let changed = false;
for (const [name, before, after, stated] of cases) {
  const got = JSON.stringify(applyChangeset(structuredClone(before), diff(before, after)));
  console.log(`${name}: server ${JSON.stringify(after)}, client ${got}`);
  changed ||= got !== JSON.stringify(stated);
}
console.log(`console: ${[...new Set(told)].join(" ")}`);
if (changed || told.length !== 3) {
  console.log("CHANGED: this is not what the top of this script says");
  process.exit(1);
}
console.log("AS STATED: what leaves an array within an array stays at the client");
JS
timeout 60 node check.mjs
