#!/usr/bin/env bash
# A Colyseus room keeps its standings in an array of its state: a player joins, is pushed, and the
# array is sorted before the next patch. One expects every client to see the standings that the
# server has. With @colyseus/schema 5.0.34 the clients that are in the room see one entry twice
# and another one never; where one entry leaves and another is inserted in one patch, they see
# them in the wrong order. At most a line in the client's console tells of it, nothing is raised,
# later patches do not mend it, and who joins later sees it right: two players look at different
# standings.
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

const Entry = schema({ score: t.number() });
const State = schema({ standings: t.array(Entry) });
const entry = (score) => Object.assign(new Entry(), { score });
const scores = (state) => [...state.standings].map((each) => each.score).join(" ");

// What the client's library writes to its console instead of raising.
const told = [];
console.warn = console.error = (text) => told.push(String(text).trim());

// Each patch is one function that changes the array; what the three see in the end is returned.
function play(...patches) {
  const server = new State();
  const encoder = new Encoder(server);
  const early = new Decoder(new State());
  early.decode(encoder.encodeAll());
  encoder.discardChanges();
  for (const patch of patches) {
    patch(server.standings);
    early.decode(encoder.encode());
    encoder.discardChanges();
  }
  const late = new Decoder(new State());
  late.decode(encoder.encodeAll());
  return [scores(server), scores(early.state), scores(late.state)];
}

const cases = {
  "push and sort in one patch": [
    play(
      (array) => array.push(entry(30)),
      (array) => { array.push(entry(20)); array.sort((a, b) => a.score - b.score); },
    ),
    ["20 30", "30 30", "20 30"],
  ],
  "push and sort in two patches": [
    play(
      (array) => array.push(entry(30)),
      (array) => array.push(entry(20)),
      (array) => array.sort((a, b) => a.score - b.score),
    ),
    ["20 30", "20 30", "20 30"],
  ],
  "push and sort in one patch, then another push": [
    play(
      (array) => array.push(entry(30)),
      (array) => { array.push(entry(20)); array.sort((a, b) => a.score - b.score); },
      (array) => array.push(entry(40)),
    ),
    ["20 30 40", "30 30 40", "20 30 40"],
  ],
  "one removed and one inserted in one patch": [
    play(
      (array) => array.push(entry(10), entry(20)),
      (array) => { array.splice(0, 1); array.splice(1, 0, entry(30)); },
    ),
    ["20 30", "30 20", "20 30"],
  ],
};
let changed = false;
for (const [name, [seen, stated]] of Object.entries(cases)) {
  console.log(`${name}: server [${seen[0]}], client [${seen[1]}], late client [${seen[2]}]`);
  changed ||= JSON.stringify(seen) !== JSON.stringify(stated);
}
console.log(`console of the clients: ${[...new Set(told)].join("; ")}`);
if (changed) {
  console.log("CHANGED: this is not what the top of this script says");
  process.exit(1);
}
console.log("AS STATED: clients in the room see other standings than the server and late clients");
JS
timeout 30 node check.cjs
