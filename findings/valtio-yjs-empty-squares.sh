#!/usr/bin/env bash
# valtio-yjs 0.7.0 binds a page's state to a Yjs document that all players share. A page sets up a
# board as an array with null for each empty square. One expects to read what was set, there and at
# the other players. The squares that are null are gone, at the page itself too, one tick later:
# X, empty, O becomes X, O, so that the O stands one square further to the left, and a board of nine
# empty squares has no square at all. Nothing is raised. A null that is put into an array
# afterwards stays, and so does one in an object, so it depends on how the board came to be.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts \
    valtio-yjs@0.7.0 valtio@2.3.2 yjs@13.6.33
cat >check.mjs <<'JS'
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { proxy } from "valtio/vanilla";
import { bind } from "valtio-yjs";
import * as Y from "yjs";

const versions = ["valtio-yjs", "valtio", "yjs"].map(
  (name) => `${name} ${JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version}`);
console.log(`${versions.join(", ")}, Node ${process.versions.node}`);

// Two pages that share a document.
function pages() {
  const states = [proxy({}), proxy({})];
  const documents = [new Y.Doc(), new Y.Doc()];
  documents.forEach((document, index) => {
    bind(states[index], document.getMap("game"));
    document.on("update", (update, origin) => {
      if (origin !== "other") Y.applyUpdate(documents[1 - index], update, "other");
    });
  });
  return states;
}

// What both pages have in the end, after these changes of the one.
async function change(...changes) {
  const [page, other] = pages();
  for (const make of changes) {
    make(page);
    await sleep(1);
  }
  return [JSON.stringify(page.board), JSON.stringify(other.board)];
}

const cases = {
  "a row, X, empty, O": [
    [(page) => { page.board = ["X", null, "O"]; }], '["X","O"]'],
  "nine empty squares": [
    [(page) => { page.board = Array(9).fill(null); }], "[]"],
  "two rows": [
    [(page) => { page.board = [[null, "X"], [null, null]]; }], '[["X"],[]]'],
  "an empty square put in afterwards": [
    [(page) => { page.board = ["X", "X", "O"]; }, (page) => { page.board[1] = null; }],
    '["X",null,"O"]'],
  "an object with empty squares": [
    [(page) => { page.board = { a1: "X", a2: null }; }], '{"a1":"X","a2":null}'],
};
let asStated = true;
for (const [name, [changes, expected]] of Object.entries(cases)) {
  const [own, other] = await change(...changes);
  console.log(`${name}: the page has ${own}, the other one ${other}`);
  asStated &&= own === expected && other === expected;
}
if (!asStated) {
  console.log("CHANGED: this is not what the top of this script says");
  process.exit(1);
}
console.log("AS STATED: empty squares vanish, and the others move up");
JS
timeout 60 node check.mjs
